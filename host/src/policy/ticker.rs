//! Moves the engine's epoch on when a call is over its time, so that a policy that never returns
//! is looked at: at the very end of its time, and each millisecond from then on until it is gone.
//! Sleeps otherwise; a call that ends in time is never disturbed. It decides nothing: whether a
//! call is over its time is judged where it is interrupted, by the wall clock.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// How soon a call that did not heed its interruption, or sat in the host, is looked at again.
const AGAIN: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    sooner: Condvar,
}

#[derive(Default)]
struct Calls {
    /// The calls that run, by number, and when each is over its time. Few: searched one by one.
    running: Vec<(u64, Instant)>,
    next: u64,
    /// Until when the ticker sleeps; none while it sleeps until it is woken.
    asleep_until: Option<Instant>,
    stop: bool,
}

impl Shared {
    /// A panic elsewhere leaves the list as good as it was.
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Ticker {
    shared: Arc<Shared>,
    /// Taken only when dropped.
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("policy-ticker".into()).spawn({
            let shared = Arc::clone(&shared);
            move || tick(&shared, &engine)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches a call until what is returned is dropped.
    pub(super) fn watch(&self, due: Instant) -> Watched<'_> {
        let mut calls = self.shared.lock();
        let number = calls.next;
        calls.next += 1;
        calls.running.push((number, due));
        // The ticker wakes up soon enough by itself while calls follow on each other.
        if calls.asleep_until.is_none_or(|until| due < until) {
            self.shared.sooner.notify_one();
        }
        Watched {
            shared: &self.shared,
            number,
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.sooner.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the policy ticker had panicked");
        }
    }
}

/// A call that runs.
pub(super) struct Watched<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let running = &mut self.shared.lock().running;
        if let Some(at) = running
            .iter()
            .position(|(number, _)| *number == self.number)
        {
            running.swap_remove(at);
        }
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    let mut calls = shared.lock();
    while !calls.stop {
        let now = Instant::now();
        let first = calls.running.iter().map(|(_, due)| *due).min();
        let until = first.map(|due| if due > now { due } else { now + AGAIN });
        if first.is_some_and(|due| due <= now) {
            engine.increment_epoch();
        }
        calls.asleep_until = until;
        calls = match until {
            None => shared
                .sooner
                .wait(calls)
                .unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                shared
                    .sooner
                    .wait_timeout(calls, until - now)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
    }
}
