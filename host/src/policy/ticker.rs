//! Moves the engine's epoch on while a call runs, so that a policy that never returns is looked
//! at each millisecond. Sleeps while no call runs. It decides nothing: whether a call is over its
//! time is judged where it is interrupted, by the wall clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

const TICK: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
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

    /// Ticks until what is returned is dropped.
    pub(super) fn hold(&self) -> Ticking<'_> {
        // The token of `unpark` is kept when the thread is not parked yet: no wake-up is lost.
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the policy ticker had panicked");
            }
        }
    }
}

pub(super) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) == 0 {
            thread::park();
        } else {
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}
