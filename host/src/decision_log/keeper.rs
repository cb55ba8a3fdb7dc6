//! The thread that writes, and what is handed to it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::value::to_raw_value;

use super::DecisionLogError;
use super::line::{Answer, Begin, Cost, Decided, Dropped, Losses, PolicyLine, Sum, VERSION};
use super::making_way::Room;
use super::writer::{Item, Writer};
use crate::clock::now_ms;
use crate::digest::hex;
use crate::gate::Essence;
use crate::model::{Classification, EscalationLevel, PolicyEvent, Setting};
use crate::pipeline::{Made, Policies};
use crate::policy::{HeardTelemetry, Limits, Part};

/// Steps whose decisions wait to be written at most; those of more are counted as lost.
const WAITING: usize = 1024;
/// Steps with a crisis that find room beyond that.
const WAITING_CRISES: usize = 1024;
/// Crises at most that could not be written and are tried again; more are counted as lost.
pub(super) const UNWRITTEN: usize = 256;
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

/// What both ends of the queue know.
#[derive(Debug, Default)]
struct Shared {
    /// Steps that wait.
    waiting: AtomicUsize,
    /// Decisions for which there was no room, not told in the log yet.
    untaken: AtomicU64,
    /// How many of them are crises.
    untaken_crises: AtomicU64,
    /// Crises that will never be written, ever.
    lost_crises: AtomicU64,
}

/// A decision log that is being kept. When it is dropped, all is on disk.
#[derive(Debug)]
pub struct DecisionLog {
    send: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    said: Said,
    notes: Vec<String>,
}

impl DecisionLog {
    /// Opens the log of a directory, goes on after its last whole line, and begins to write.
    ///
    /// # Errors
    /// When its files cannot be opened, or another dbmedic writes it.
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
        let (send, receive) = mpsc::sync_channel(WAITING + WAITING_CRISES);
        let shared = Arc::new(Shared::default());
        let keeper = Keeper {
            writer,
            shared: Arc::clone(&shared),
            unwritten: VecDeque::new(),
            sync_due: None,
            unsynced: false,
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
            shared,
            said: Said::default(),
            notes,
        })
    }

    /// What was mended when it was opened or cannot be written yet, for a person.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Hands over what was decided. When this returns, a crisis is on disk; an error says that it is
    /// not, why, and whether it is written later. Then the effects go on all the same: the patient
    /// comes first.
    ///
    /// # Errors
    /// When a crisis could not be written, in time or at all.
    pub fn note(&mut self, made: &mut [Made], policies: &Policies) -> io::Result<()> {
        self.said
            .forget_after(self.shared.lost_crises.load(Relaxed));
        let mut items = Vec::new();
        for made in made {
            let mut heard = std::mem::take(&mut made.heard).into_iter();
            for part in &mut made.parts {
                let heard = heard.next().unwrap_or_default();
                let crisis = self.said.is_crisis(&made.event, part);
                let settings = std::mem::take(&mut part.context.settings);
                let item = item(
                    made.at_ms,
                    &made.event,
                    part,
                    crisis,
                    heard,
                    &settings,
                    policies,
                );
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
        self.shared.waiting.fetch_add(1, Relaxed);
        send.send(message).map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    pub(super) fn hand_over(&self, items: Vec<Item>) -> io::Result<()> {
        let Some(send) = &self.send else {
            return Ok(());
        };
        let shared = &self.shared;
        let (decisions, crises) = count(&items);
        let (answer, answered) = mpsc::sync_channel(1);
        let message = Message {
            items,
            answer: (crises > 0).then_some(answer),
        };
        let has_room = crises > 0 || shared.waiting.load(Relaxed) < WAITING;
        // Counted before it can be taken.
        shared.waiting.fetch_add(1, Relaxed);
        if !has_room || send.try_send(message).is_err() {
            shared.waiting.fetch_sub(1, Relaxed);
            shared.untaken.fetch_add(decisions, Relaxed);
            shared.untaken_crises.fetch_add(crises, Relaxed);
            shared.lost_crises.fetch_add(crises, Relaxed);
            if crises == 0 {
                return Ok(());
            }
            return Err(io::Error::other(
                "it fell behind, and there is no room for more crises; it is only counted",
            ));
        }
        if crises == 0 {
            return Ok(());
        }
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let why = format!(
                "the disk did not answer within {} s; it waits to be written",
                PATIENCE.as_secs()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
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
    crisis: bool,
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
    let present = policies.get(&part.policy).identity();
    let called =
        (*present.digest == *part.digest).then(|| format!("{} {}", present.name, present.version));
    Ok(Item {
        crisis,
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

/// The last crisis of each policy and incident that went into the log: where nothing changed since,
/// an incident that stays open is not told for good each time it is looked at.
#[derive(Debug, Default)]
struct Said {
    /// By target, policy and incident, or none for a tick.
    last: HashMap<(String, Arc<str>, Option<String>), Word>,
    /// Crises that were lost when this was last looked at.
    lost_crises: u64,
}

/// What has to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    digest: Arc<str>,
    essence: Essence,
    rules: Vec<String>,
}

impl Said {
    /// What never makes way: a crisis, a halt, and level escalate, except where a tick only finds it
    /// still in force, and where the same was said of the same incident the last time. Repairs end
    /// once, so what is said of that is never the same.
    fn is_crisis(&mut self, event: &PolicyEvent, part: &Part) -> bool {
        let (context, verdict) = (&part.context, &part.decision.verdict);
        let incident = match event {
            PolicyEvent::Finding(finding) => Some(&finding.incident),
            PolicyEvent::Outcome(outcome) => Some(&outcome.incident),
            PolicyEvent::Tick => None,
        };
        // Incidents that were resolved do not come again.
        self.last.retain(|(target, _, incident), _| {
            let open = |id: &String| context.incidents.iter().any(|open| open.id == *id);
            *target != context.target || incident.as_ref().is_none_or(open)
        });
        let key = (
            context.target.clone(),
            Arc::clone(&part.policy),
            incident.cloned(),
        );
        let escalated = verdict.level == EscalationLevel::Escalate;
        let still = context.level == EscalationLevel::Escalate && *event == PolicyEvent::Tick;
        let is_crisis = verdict.classification == Some(Classification::Crisis)
            || verdict.halt
            || (escalated && !still);
        if !is_crisis {
            self.last.remove(&key);
            return false;
        }
        let word = Word {
            digest: Arc::clone(&part.digest),
            essence: Essence::from(verdict),
            rules: verdict.reasons.iter().map(|r| r.rule.clone()).collect(),
        };
        let before = self.last.insert(key, word.clone());
        before != Some(word) || matches!(event, PolicyEvent::Outcome(_))
    }

    /// What was said may be among the crises that were lost.
    fn forget_after(&mut self, lost_crises: u64) {
        if lost_crises != self.lost_crises {
            self.lost_crises = lost_crises;
            self.last.clear();
        }
    }
}

struct Keeper {
    writer: Writer,
    shared: Arc<Shared>,
    /// Crises that could not be written, in their order.
    unwritten: VecDeque<Item>,
    /// When what was handed over is to reach the disk, or to be tried again; none when it did.
    sync_due: Option<Instant>,
    /// Whether a decision was written since the last sync.
    unsynced: bool,
    /// Whether a failure was told and no decision reached the disk since: told once, not each time.
    ill: bool,
}

impl Keeper {
    /// Writes until nobody hands over any more.
    fn keep(mut self, receive: &Receiver<Message>) {
        loop {
            let pause = self
                .sync_due
                .map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            match receive.recv_timeout(pause) {
                Ok(message) => {
                    self.shared.waiting.fetch_sub(1, Relaxed);
                    let written = self.write(message.items, message.answer.is_some());
                    if let Some(answer) = message.answer {
                        // Whoever waited may have lost patience.
                        drop(answer.send(written));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.sync_due.is_some_and(|due| due <= Instant::now()) {
                let synced = self.sync();
                self.tell(&synced);
            }
        }
        self.end();
    }

    /// Writes what could not be written before, then these. With `sync` all of it is on disk when
    /// there is no error.
    fn write(&mut self, items: Vec<Item>, sync: bool) -> io::Result<()> {
        self.take_untaken();
        let mut result = self.write_unwritten();
        let mut lost_crises = 0;
        for item in items {
            if result.is_ok() {
                result = self.append(&item);
            }
            if let Err(error) = &result {
                let why = error.to_string();
                lost_crises += self.put_off(item, why);
            }
        }
        if result.is_ok() && sync {
            result = self.sync();
        }
        self.tell(&result);
        result.map_err(|error| {
            let then = if lost_crises > 0 {
                "too many wait to be written already; it is only counted"
            } else {
                "it is written as soon as that works again"
            };
            io::Error::new(error.kind(), format!("{error}; {then}"))
        })
    }

    fn append(&mut self, item: &Item) -> io::Result<()> {
        let result = self.writer.append(item);
        self.unsynced |= result.is_ok();
        self.sync_due
            .get_or_insert_with(|| Instant::now() + SYNC_EVERY);
        result
    }

    fn write_unwritten(&mut self) -> io::Result<()> {
        while let Some(item) = self.unwritten.pop_front() {
            if let Err(error) = self.append(&item) {
                self.unwritten.push_front(item);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A decision that could not be written: a crisis is tried again, while there is room for it.
    /// What is not is counted; the crises among it.
    fn put_off(&mut self, item: Item, why: String) -> u64 {
        if item.crisis && self.unwritten.len() < UNWRITTEN {
            self.unwritten.push_back(item);
            return 0;
        }
        let crises = u64::from(item.crisis);
        self.writer.count_lost(1, crises, why);
        self.shared.lost_crises.fetch_add(crises, Relaxed);
        crises
    }

    fn sync(&mut self) -> io::Result<()> {
        let written = self.write_unwritten();
        let result = self.writer.sync().and(written);
        if result.is_ok() && std::mem::take(&mut self.unsynced) {
            self.ill = false;
        }
        self.sync_due = result.is_err().then(|| Instant::now() + SYNC_EVERY);
        result
    }

    fn take_untaken(&mut self) {
        let decisions = self.shared.untaken.swap(0, Relaxed);
        let crises = self.shared.untaken_crises.swap(0, Relaxed);
        if decisions > 0 {
            let why = "the log fell behind".to_owned();
            self.writer.count_lost(decisions, crises, why);
        }
    }

    /// The last attempt at what could not be written; what still cannot is told.
    fn end(mut self) {
        self.take_untaken();
        let written = self.write_unwritten();
        self.tell(&written);
        let unwritten = self.unwritten.len() as u64;
        if unwritten > 0 {
            let why = "it could not be written until dbmedic ended".to_owned();
            self.writer.count_lost(unwritten, unwritten, why);
        }
        let closed = self.writer.close();
        self.tell(&closed);
        let Losses {
            decisions, crises, ..
        } = self.writer.untold();
        if decisions > 0 {
            tracing::error!(
                "{decisions} decisions, {crises} of them crises, are not in the decision log, and it \
                 could not be told there"
            );
        }
    }

    fn tell(&mut self, result: &io::Result<()>) {
        if let Err(error) = result
            && !self.ill
        {
            self.ill = true;
            tracing::error!("the decision log cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::item;
    use super::*;

    #[test]
    fn a_crisis_finds_room_where_others_do_not() {
        let (send, receive) = mpsc::sync_channel(WAITING + WAITING_CRISES);
        let log = DecisionLog {
            send: Some(send),
            thread: None,
            shared: Arc::default(),
            said: Said::default(),
            notes: Vec::new(),
        };
        for _ in 0..WAITING + 10 {
            log.hand_over(vec![item(1, false), item(2, false)]).unwrap();
        }
        assert_eq!(log.shared.untaken.load(Relaxed), 20);
        let slow_disk = thread::spawn(move || {
            let mut crises = 0;
            for message in receive {
                crises += count(&message.items).1;
                if let Some(answer) = message.answer {
                    answer.send(Ok(())).unwrap();
                }
            }
            crises
        });
        log.hand_over(vec![item(3, true)]).unwrap();
        assert_eq!(log.shared.untaken_crises.load(Relaxed), 0);
        drop(log);
        assert_eq!(slow_disk.join().unwrap(), 1);
    }
}
