//! The thread that writes, and what is handed to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::value::to_raw_value;

use super::DecisionLogError;
use super::line::{Answer, Begin, Cost, Decided, Dropped, PolicyLine, Sum, VERSION};
use super::making_way::Room;
use super::writer::{Item, Writer};
use crate::clock::now_ms;
use crate::digest::hex;
use crate::model::{Classification, Context, EscalationLevel, PolicyEvent, Setting, Verdict};
use crate::pipeline::{Made, Policies};
use crate::policy::{HeardTelemetry, Limits, Part};

/// Decisions that wait to be written at most; more are counted as lost.
const WAITING: usize = 1024;
/// How long a crisis may take to reach the disk before its effects go on without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is not a crisis reaches the disk after this.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// With nothing to sync, there is no hurry to look up.
const IDLE: Duration = Duration::from_mins(1);

/// What a log says of the run that it is kept of.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The limits that policies are held to.
    pub limits: Limits,
    /// The limits of those that are held to others, by their configured names.
    pub named_limits: BTreeMap<String, Limits>,
    /// The parameters that the operator set, by the policies' configured names.
    pub parameters: BTreeMap<String, Vec<Setting>>,
}

struct Message {
    items: Vec<Item>,
    /// Where a crisis waits to be on disk.
    answer: Option<SyncSender<io::Result<()>>>,
}

/// Decisions that were not taken by the writer, and how many crises are among them.
#[derive(Debug, Default)]
struct Untaken {
    decisions: AtomicU64,
    crises: AtomicU64,
}

/// A decision log that is being kept. When it is dropped, all is on disk.
#[derive(Debug)]
pub struct DecisionLog {
    send: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    untaken: Arc<Untaken>,
    notes: Vec<String>,
}

impl DecisionLog {
    /// Opens the log of a directory, goes on after its last whole line, and begins to write.
    ///
    /// # Errors
    /// When it cannot be written, or another dbmedic does.
    pub fn open(dir: &Path, room: Room, about: &About) -> Result<Self, DecisionLogError> {
        let begin = Begin {
            dbmedic_decisions: VERSION,
            dbmedic: env!("CARGO_PKG_VERSION").to_owned(),
            at_ms: now_ms(),
            limits: about.limits.clone(),
            named_limits: about.named_limits.clone(),
            parameters: about.parameters.clone(),
            dropped: Dropped::default(),
        };
        let mut notes = Vec::new();
        let writer = Writer::open(dir, room, begin, &mut notes)?;
        let (send, receive) = mpsc::sync_channel(WAITING);
        let untaken = Arc::new(Untaken::default());
        let keeper = Keeper {
            writer,
            untaken: Arc::clone(&untaken),
            ill: false,
        };
        let thread = thread::Builder::new()
            .name("decision log".into())
            .spawn(move || keeper.keep(&receive))
            .map_err(|source| DecisionLogError::Io {
                path: dir.to_owned(),
                source,
            })?;
        Ok(Self {
            send: Some(send),
            thread: Some(thread),
            untaken,
            notes,
        })
    }

    /// What was mended when it was opened, for a person.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Hands over what was decided. When this returns, a crisis is on disk; an error says that it is
    /// not, and why. Then the effects go on all the same: the patient comes first.
    ///
    /// # Errors
    /// When a crisis could not be written, in time or at all.
    pub fn note(&mut self, made: &mut [Made], policies: &Policies) -> io::Result<()> {
        let mut items = Vec::new();
        for made in made {
            let mut heard = std::mem::take(&mut made.heard).into_iter();
            for part in &mut made.parts {
                let heard = heard.next().unwrap_or_default();
                let settings = std::mem::take(&mut part.context.settings);
                let item = item(made.at_ms, &made.event, part, heard, &settings, policies);
                part.context.settings = settings;
                items.push(item?);
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        self.hand_over(items)
    }

    /// Waits until all that was handed over is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        let (answer, answered) = mpsc::sync_channel(1);
        let message = Message {
            items: Vec::new(),
            answer: Some(answer),
        };
        let gone = || io::Error::other("the thread that writes is gone");
        let send = self.send.as_ref().ok_or_else(gone)?;
        send.send(message).map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    fn hand_over(&self, items: Vec<Item>) -> io::Result<()> {
        let Some(send) = &self.send else {
            return Ok(());
        };
        let (decisions, crises) = count(&items);
        let (answer, answered) = mpsc::sync_channel(1);
        let message = Message {
            items,
            answer: (crises > 0).then_some(answer),
        };
        if send.try_send(message).is_err() {
            self.untaken.decisions.fetch_add(decisions, Relaxed);
            self.untaken.crises.fetch_add(crises, Relaxed);
            if crises == 0 {
                return Ok(());
            }
            return Err(io::Error::other("it fell behind; a crisis is only counted"));
        }
        if crises == 0 {
            return Ok(());
        }
        answered
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        drop(self.send.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was told by the thread itself.
            drop(thread.join());
        }
    }
}

/// How many decisions, and how many of them are crises.
fn count(items: &[Item]) -> (u64, u64) {
    let crises = items.iter().filter(|item| item.crisis).count();
    (items.len() as u64, crises as u64)
}

/// A decision as text. The context comes without its settings.
fn item(
    at_ms: u64,
    event: &PolicyEvent,
    part: &Part,
    heard: HeardTelemetry,
    settings: &[u8],
    policies: &Policies,
) -> io::Result<Item> {
    let settings_sum = Sum::of(settings).hex();
    let decision = &part.decision;
    let decided = Decided {
        at_ms,
        target: Cow::Borrowed(&part.context.target),
        policy: Cow::Borrowed(&part.policy),
        digest: Cow::Borrowed(&part.digest),
        settings: Cow::Borrowed(&settings_sum),
        event: Cow::Borrowed(event),
        context: Cow::Borrowed(&part.context),
        telemetry: heard.heard,
        telemetry_cut: heard.cut,
        answer: to_raw_value(&Answer::from(decision))?,
        notes: Cow::Borrowed(&decision.log),
        cost: Cost {
            us: u64::try_from(decision.duration.as_micros()).unwrap_or(u64::MAX),
            fuel: decision.fuel,
            // None where the policy was not asked.
            memory_bytes: (decision.memory_bytes > 0).then_some(decision.memory_bytes),
        },
    };
    let decided = serde_json::to_vec(&decided)?;
    let present = policies.get(&part.policy);
    let called = (present.digest() == &*part.digest)
        .then(|| format!("{} {}", present.name(), present.version()));
    Ok(Item {
        crisis: is_crisis(event, &part.context, &decision.verdict),
        policy: PolicyLine {
            called,
            digest: part.digest.to_string(),
            settings: settings_sum,
            packed: hex(settings),
        },
        decided,
        at_ms,
    })
}

/// What never makes way: a crisis, a halt, and level escalate, except where a tick only finds it
/// still in force.
fn is_crisis(event: &PolicyEvent, context: &Context, verdict: &Verdict) -> bool {
    let escalated = verdict.level == EscalationLevel::Escalate;
    let still = context.level == EscalationLevel::Escalate && *event == PolicyEvent::Tick;
    verdict.classification == Some(Classification::Crisis) || verdict.halt || (escalated && !still)
}

struct Keeper {
    writer: Writer,
    untaken: Arc<Untaken>,
    /// Whether the last write failed: told once, not each time.
    ill: bool,
}

impl Keeper {
    /// Writes until nobody hands over any more.
    fn keep(mut self, receive: &Receiver<Message>) {
        let mut unsynced = false;
        loop {
            let pause = if unsynced { SYNC_EVERY } else { IDLE };
            match receive.recv_timeout(pause) {
                Ok(message) => {
                    let mut written = self.write(&message.items);
                    unsynced = true;
                    if let Some(answer) = message.answer {
                        if written.is_ok() && message.items.is_empty() {
                            written = self.writer.sync();
                        }
                        // Whoever waited may have lost patience.
                        drop(answer.send(written));
                    }
                }
                Err(RecvTimeoutError::Timeout) if unsynced => {
                    let synced = self.writer.sync();
                    self.tell(&synced);
                    unsynced = false;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take_untaken();
        let closed = self.writer.close();
        self.tell(&closed);
    }

    fn write(&mut self, items: &[Item]) -> io::Result<()> {
        self.take_untaken();
        for (written, item) in items.iter().enumerate() {
            let result = self.writer.append(item);
            self.tell(&result);
            if let Err(error) = result {
                let (decisions, crises) = count(&items[written..]);
                self.writer.count_lost(decisions, crises, error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_untaken(&mut self) {
        let decisions = self.untaken.decisions.swap(0, Relaxed);
        let crises = self.untaken.crises.swap(0, Relaxed);
        if decisions > 0 {
            let why = "the log fell behind".to_owned();
            self.writer.count_lost(decisions, crises, why);
        }
    }

    fn tell(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.ill = false,
            Err(error) if !self.ill => {
                self.ill = true;
                tracing::error!("the decision log cannot be written: {error}");
            }
            Err(_) => {}
        }
    }
}
