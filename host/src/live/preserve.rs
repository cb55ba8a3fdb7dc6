//! Copying a halted target's files aside, as they are, while everything else goes on.
//!
//! Each copy is made in a thread of its own by a helper process of its own, one after the other. One that
//! takes long, as of a large database or on a disk that does not answer, holds up no other. A halt stands
//! even when the copy does not succeed: a full disk must not lift it.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Listener, Told};
use crate::clock::now_ms;
use crate::sqlite::raw::RawProcess;
use crate::sqlite::worker::{Areas, Place};

/// A copy or a repair that takes longer holds up the next one no more, milliseconds.
pub(super) const TAKES_LONG_MS: u64 = 60_000;

/// Copies under way, and what came of those that ended.
pub(super) struct Preserver {
    /// Those that wait for their turn.
    waiting: VecDeque<(OfTarget, Areas, PathBuf)>,
    /// Those under way, with the time since when, milliseconds since the Unix epoch.
    threads: Vec<(JoinHandle<()>, u64)>,
    /// Targets and incidents of which copies were begun: an incident that is opened and halts its
    /// target asks twice.
    begun: BTreeSet<(String, String)>,
    send: Sender<String>,
    ended: Receiver<String>,
}

/// What is to be copied aside.
pub(super) struct OfTarget {
    pub(super) target: String,
    pub(super) incident: String,
    pub(super) database: PathBuf,
    /// How long its writers may be kept waiting, in rollback mode.
    pub(super) most_lock: Duration,
}

impl OfTarget {
    /// Copies it; says where to, and whether nothing changed meanwhile.
    fn copy(&self, areas: &Areas, exe: &Path) -> anyhow::Result<(PathBuf, bool)> {
        let rights = Place::of(&self.database)?.rights();
        let area = areas.of(rights.as_ref())?;
        let into = area.preserved(&self.target, &self.incident);
        let copy = RawProcess::spawn(exe)?.copy(&self.database, &into, Some(self.most_lock))?;
        Ok((into, copy.stable))
    }
}

impl Preserver {
    pub(super) fn new() -> Self {
        let (send, ended) = channel();
        Self {
            waiting: VecDeque::new(),
            threads: Vec::new(),
            begun: BTreeSet::new(),
            send,
            ended,
        }
    }

    /// Copies a database and its companions aside when its turn comes, once for an incident.
    pub(super) fn begin(&mut self, of: OfTarget, areas: Areas, exe: &Path) {
        if self.begun.insert((of.target.clone(), of.incident.clone())) {
            self.waiting.push_back((of, areas, exe.to_owned()));
            self.begin_next();
        }
    }

    /// Whether a copy is under way for which others wait.
    pub(super) fn is_busy(&self) -> bool {
        let now = now_ms();
        let counts = |since: u64| now.saturating_sub(since) < TAKES_LONG_MS;
        let mut threads = self.threads.iter();
        threads.any(|(thread, since)| !thread.is_finished() && counts(*since))
    }

    fn begin_next(&mut self) {
        while !self.is_busy()
            && let Some((of, areas, exe)) = self.waiting.pop_front()
        {
            self.start(of, areas, exe);
        }
    }

    fn start(&mut self, of: OfTarget, areas: Areas, exe: PathBuf) {
        let send = self.send.clone();
        let target = of.target.clone();
        let name = format!("preserve {target}");
        let failed = format!("{target}: files could NOT be copied aside");
        let work = move || {
            let copied = of.copy(&areas, &exe);
            let text = match copied {
                Ok((into, true)) => format!("{target}: files copied to {}", into.display()),
                Ok((into, false)) => format!(
                    "{target}: files copied to {}, but they changed meanwhile: they may not fit \
                     together",
                    into.display()
                ),
                Err(error) => format!("{target}: files could NOT be copied aside: {error:#}"),
            };
            // Nobody hears it when dbmedic ends without waiting.
            send.send(text).ok();
        };
        match thread::Builder::new().name(name).spawn(work) {
            Ok(thread) => self.threads.push((thread, now_ms())),
            Err(error) => {
                self.send.send(format!("{failed}: {error}")).ok();
            }
        }
    }

    /// Reports the copies that ended since the last time.
    pub(super) fn report(&mut self, tell: &mut Listener<'_>) {
        for text in self.ended.try_iter() {
            tell(now_ms(), Told::Note("preserved", &text));
        }
        self.threads.retain(|(thread, _)| !thread.is_finished());
        self.begin_next();
    }

    /// Waits for the copies under way, and reports them.
    pub(super) fn finish(&mut self, tell: &mut Listener<'_>) {
        loop {
            self.begin_next();
            let Some((thread, _)) = self.threads.pop() else {
                break;
            };
            // A thread that panicked copied nothing, and has said so on standard error.
            thread.join().ok();
        }
        self.report(tell);
    }
}
