//! Watching one target: what to look at when, in a thread of its own.
//!
//! The numbers are taken on time whatever else goes on: checks of the pages, snapshots and the
//! host's resources each run in a thread of their own, as [`Schedule`] says, and one that overruns
//! its time is reported and not waited for. It measures and sends; it never judges, and it writes
//! nothing to a target. Snapshots go into dbmedic's own state directory.

mod examine;
mod latencies;
mod look;
mod notes;
mod pace;
mod site;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::health::{CheckKind, CheckReport, CheckState, Due, Schedule};
use crate::source::{Observation, Sample};
use crate::sqlite_state::{Integrity, Mode};
use examine::Found;

pub use look::Looker;
pub use pace::Pace;
pub use site::Site;

/// Between the beginnings of two checks, milliseconds.
const SPACING_MS: u64 = 100;

/// Less time between two looks is no gap that people are told of, milliseconds.
const LEAST_GAP_MS: u64 = 2000;

/// How long checks that still run are waited for when the watching ends: their files lie in the
/// state directory, which somebody may want to remove.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the watching thread hears.
enum Word {
    /// A thorough look, now.
    Examine,
    /// A check ended.
    Found(Due, Box<Found>),
    /// The end.
    Stop,
}

/// What the watching thread tells.
#[derive(Debug)]
pub enum Watched {
    /// A look.
    Seen(Box<Observation>),
    /// A check ended, or was cut off.
    Checked(CheckReport),
    /// What a person may want to know: a label and a line.
    Note(&'static str, String),
}

/// A thread that looks. It ends when this is dropped.
pub struct Watcher {
    words: mpsc::Sender<Word>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts looking, the checks spread from `begin_ms` on. `tell` gets what there is, and says
    /// whether anybody still listens.
    pub fn spawn(
        looker: Looker,
        begin_ms: u64,
        tell: impl Fn(Watched) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (words, heard) = mpsc::channel();
        let checked = words.clone();
        let thread = thread::Builder::new()
            .name(format!("watch {}", looker.site.name))
            .spawn(move || {
                let schedule = Schedule::new(&looker.pace.plans(), begin_ms, SPACING_MS);
                let mut watch = Watch {
                    looker,
                    schedule,
                    checked,
                    running: 0,
                    look_ms: begin_ms,
                    looked_ms: None,
                    thorough: true,
                    integrity: None,
                    measured: Vec::new(),
                };
                watch.run(&heard, &tell);
            })?;
        Ok(Self {
            words,
            thread: Some(thread),
        })
    }

    /// Asks for a thorough look, now.
    pub fn examine(&self) {
        // A thread that has ended needs no waking.
        self.words.send(Word::Examine).ok();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.words.send(Word::Stop).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The watching thread's own.
struct Watch {
    looker: Looker,
    schedule: Schedule,
    checked: mpsc::Sender<Word>,
    /// Checks at work, cut off or not.
    running: usize,
    /// When the next look is due.
    look_ms: u64,
    /// When the last one was.
    looked_ms: Option<u64>,
    /// Whether the next look verifies every frame.
    thorough: bool,
    /// What a check found, to go with the next look.
    integrity: Option<(Integrity, u64)>,
    measured: Vec<Sample>,
}

impl Watch {
    fn run(&mut self, heard: &mpsc::Receiver<Word>, tell: &dyn Fn(Watched) -> bool) {
        loop {
            let now = now_ms();
            if now >= self.look_ms && !self.look(now, tell) {
                break;
            }
            for overrun in self.schedule.overruns(now) {
                let timeout_ms = overrun.timeout_ms;
                let state = CheckState::TimedOut { timeout_ms };
                let report = self
                    .looker
                    .report(overrun.check, overrun.begun_ms, state, None);
                if !tell(Watched::Checked(report)) {
                    return;
                }
            }
            if let Some(due) = self.schedule.due(now) {
                self.begin(due, tell);
            }
            let wake = self
                .schedule
                .next_ms()
                .map_or(self.look_ms, |next| next.min(self.look_ms));
            let rest = Duration::from_millis(wake.saturating_sub(now_ms()));
            match heard.recv_timeout(rest) {
                Ok(Word::Examine) => {
                    self.thorough = true;
                    self.integrity = None;
                    self.look_ms = now_ms();
                    self.schedule.demand(CheckKind::Full, now_ms());
                }
                Ok(Word::Found(due, found)) => {
                    self.running -= 1;
                    if !self.take(due, *found, tell) {
                        break;
                    }
                }
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let until = Instant::now() + FAREWELL;
        while self.running > 0 {
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Word::Found(..)) => self.running -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn look(&mut self, now: u64, tell: &dyn Fn(Watched) -> bool) -> bool {
        let repairs = self.looker.site.repairs();
        let integrity = self
            .integrity
            .take()
            // Found before a repair, it tells of what is no more.
            .filter(|(_, before)| *before == repairs)
            .map(|(integrity, _)| integrity);
        if let Some(text) = self.gap(now)
            && !tell(Watched::Note("gap", text))
        {
            return false;
        }
        let thorough = std::mem::take(&mut self.thorough);
        self.looker.follow();
        let measured = std::mem::take(&mut self.measured);
        let seen = self.looker.observe(thorough, integrity, measured);
        // Missed beats are not made up for.
        self.look_ms = now + self.looker.pace.sample_interval_ms.max(1);
        tell(Watched::Seen(Box::new(seen)))
    }

    /// What a person reads when nothing was observed for much longer than it should.
    fn gap(&mut self, now: u64) -> Option<String> {
        let since_ms = now.saturating_sub(self.looked_ms.replace(now)?);
        let is_gap = since_ms
            > self
                .looker
                .pace
                .sample_interval_ms
                .saturating_mul(5)
                .max(LEAST_GAP_MS);
        is_gap.then(|| {
            format!(
                "{}: not observed for {} s (the machine was suspended or too busy, or dbmedic was stopped): the age of every held lock begins again",
                self.looker.site.name,
                since_ms / 1000
            )
        })
    }

    /// Begins a check in a thread of its own.
    fn begin(&mut self, due: Due, tell: &dyn Fn(Watched) -> bool) {
        let work = self.looker.work(due.check);
        let checked = self.checked.clone();
        let name = format!("{} {}", due.check.name(), self.looker.site.name);
        let begun = thread::Builder::new().name(name).spawn(move || {
            // Nobody hears it when the watching has ended.
            checked.send(Word::Found(due, Box::new(work()))).ok();
        });
        match begun {
            Ok(_) => self.running += 1,
            Err(error) => {
                self.schedule.ended(due.check, due.run);
                tell(Watched::Note(
                    "check",
                    format!("{} cannot begin: {error}", due.check.name()),
                ));
            }
        }
    }

    /// Takes what a check found, unless it came too late.
    fn take(&mut self, due: Due, found: Found, tell: &dyn Fn(Watched) -> bool) -> bool {
        let Some(begun_ms) = self.schedule.ended(due.check, due.run) else {
            return true;
        };
        let name = &self.looker.site.name;
        let note = match &found {
            Found::Snapshot(Ok(info)) => {
                Some(format!("{name}: {} checked and kept", info.file.display()))
            }
            Found::Snapshot(Err(error)) => Some(format!("{name}: none taken: {error}")),
            _ => None,
        };
        self.looker.note(&found);
        let report = self
            .looker
            .report(due.check, begun_ms, found.state(), found.proved());
        match found {
            Found::Integrity(integrity, repairs) => {
                if integrity.error.is_none() && integrity.faults.is_empty() {
                    self.looker.proved(integrity.mode);
                }
                // What a part shows, the whole is to confirm.
                let is_whole = matches!(integrity.mode, Mode::Full | Mode::Sliced);
                if !is_whole && !integrity.faults.is_empty() {
                    self.schedule.demand(CheckKind::Full, now_ms());
                }
                self.integrity = Some((integrity, repairs));
                self.look_ms = now_ms();
            }
            Found::Samples(samples) => self.measured.extend(samples),
            Found::ProbeTransaction(Ok(probe)) => {
                self.looker.latencies.add(&probe);
                self.measured.extend(self.looker.latencies.samples());
            }
            Found::ProbeTransaction(Err(_)) | Found::Snapshot(_) => {}
        }
        note.is_none_or(|note| tell(Watched::Note("snapshot", note)))
            && tell(Watched::Checked(report))
    }
}
