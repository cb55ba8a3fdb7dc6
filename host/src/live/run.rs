//! The loop of a live run: watchers, repairs and the gate send, the pipeline is fed.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::preserve::TAKES_LONG_MS;
use super::written::Step;
use super::{Listener, Live, STATE, Told, acts_on};
use crate::clock::{now_ms, wall_clock_note};
use crate::command::Request;
use crate::gate::{GateHandle, GateRecord, Order, Reply, Service};
use crate::guard::ApprovedRepair;
use crate::pipeline::{Carried, Event};
use crate::repair_run::{self, StepReport};
use crate::sqlite::repairs::SqliteRepairs;
use crate::sqlite::worker::Pool;
use crate::state_dir::StateDir;
use crate::store::{JournalEntry, Kept, Row, Store, StoreError, WaitingCommand};
use crate::watch::{Looker, Watched, Watcher};

/// Between two times that the baselines are kept, milliseconds: what a crash forgets at most.
const SAVE_BASELINES_MS: u64 = 600_000;

/// Between two looks whether the state directory is in its place, and between two times that health is kept for
/// others to read, milliseconds.
const IN_PLACE_MS: u64 = 100;
const KEEP_HEALTH_MS: u64 = 500;

/// Repairs that were approved: one is at work at a time, and one that takes long holds up no other.
#[derive(Default)]
struct Repairs {
    waiting: VecDeque<ApprovedRepair>,
    /// Targets of those at work, with the time since when, milliseconds since the Unix epoch.
    running: Vec<(String, u64)>,
}

impl Repairs {
    /// The next to begin, if one may.
    fn next(&mut self) -> Option<ApprovedRepair> {
        let now = now_ms();
        let counts = |since: u64| now.saturating_sub(since) < TAKES_LONG_MS;
        if self.running.iter().any(|(_, since)| counts(*since)) {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running.push((next.target().to_owned(), now));
        Some(next)
    }

    fn ended(&mut self, target: &str) {
        self.running.retain(|(of, _)| of != target);
    }
}

/// What a watcher, a repair, the gate or a person sends.
pub(super) enum Message {
    Watched(String, Watched),
    Step(StepReport),
    RepairEnded {
        target: String,
        ended: Result<repair_run::Ended, StoreError>,
    },
    Gate(Order),
    /// What the gate wants written down.
    OfPolicies(OfPolicies),
    /// A command, and where the answer goes.
    Said(Box<Request>, mpsc::Sender<Reply>),
}

/// What the gate wants written down: steps that policies took, and which are in service where that is new.
pub(super) struct OfPolicies {
    at_ms: u64,
    records: Vec<GateRecord>,
    services: Option<BTreeMap<String, Service>>,
}

impl OfPolicies {
    fn kept(&self) -> Result<Kept, StoreError> {
        let records = self.records.iter().cloned();
        let row = |record| Row::of(self.at_ms, &JournalEntry::Policy(record));
        Ok(Kept {
            entries: records.map(row).collect::<Result<_, _>>()?,
            services: self.services.clone(),
            ..Kept::default()
        })
    }
}

impl From<OfPolicies> for Step {
    fn from(of: OfPolicies) -> Self {
        let entry = |record| (of.at_ms, JournalEntry::Policy(record));
        Self {
            entries: of.records.into_iter().map(entry).collect(),
            services: of.services,
            ..Self::default()
        }
    }
}

/// Gives commands to a live run in this process.
#[derive(Debug, Clone)]
pub struct Commands(mpsc::Sender<Message>);

impl Commands {
    /// Gives a command; says what was written down of it.
    ///
    /// # Errors
    /// It was not: nothing comes of it.
    pub fn give(&self, request: Request) -> anyhow::Result<String> {
        let (send, answer) = mpsc::channel();
        // A run that is over answers nothing.
        drop(self.0.send(Message::Said(Box::new(request), send)));
        match answer.recv() {
            Ok(Reply::Done(text)) => Ok(text),
            Ok(Reply::Error(text)) => bail!(text),
            _ => bail!("dbmedic is stopping"),
        }
    }
}

/// When what is done regularly is done next, milliseconds since the Unix epoch.
struct Next {
    health: u64,
    tick: u64,
    save: u64,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnded {
    /// What the next run must know.
    pub carried: Carried,
    /// Whether its state directory vanished and was made again: another run is to go on at once.
    pub goes_on: bool,
}

impl Live {
    /// Watches all targets until `stop` is set. A repair that has begun is brought to its end first.
    ///
    /// # Errors
    /// When a thread cannot be started, or something cannot be kept for the next run.
    pub fn run(mut self, stop: &AtomicBool, tell: &mut Listener<'_>) -> anyhow::Result<RunEnded> {
        self.catch_up(tell)?;
        let gate = self.start_gate(tell)?;
        let watcher = self.start_watching()?;
        let mut repairs = Repairs::default();
        // Whether what is written down stays.
        let mut is_kept = true;
        let mut next_in_place_ms = 0;
        let mut next = Next {
            health: 0,
            tick: now_ms(),
            save: now_ms() + SAVE_BASELINES_MS,
        };
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            // What was approved and not begun waits for the next run: it will be seen again.
            if stopping && repairs.running.is_empty() {
                break;
            }
            if !stopping && now_ms() >= next_in_place_ms {
                next_in_place_ms = now_ms() + IN_PLACE_MS;
                is_kept = self.written.is_in_place(tell);
                if !is_kept
                    && repairs.running.is_empty()
                    && !self.preserver.is_busy()
                    && let Some(again) = self.written.make_again()
                {
                    drop(watcher);
                    drop(gate);
                    return self.go_on_in(&again, tell);
                }
            }
            let pause = Duration::from_millis(next.tick.saturating_sub(now_ms()).clamp(1, 100));
            let (mut heard, mut events) = match self.receive.recv_timeout(pause) {
                Ok(message) => self.take(message, &mut repairs, is_kept && !stopping, tell)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    (None, Vec::new())
                }
            };
            self.keep_up(&mut next, &mut events, tell);
            for event in events {
                // A command comes first, and alone is of the journal.
                let asked = self.feed_command(&event, heard.take(), tell);
                if let Event::Observed(seen) = &event {
                    self.tell_health(&seen.target, tell);
                }
                if event.is_of_person() {
                    self.tell_health_of_all(tell);
                }
                if let Some(gate) = &gate {
                    gate.made(self.pipeline.take_made());
                    asked
                        .of_policies
                        .iter()
                        .for_each(|effect| gate.hear(effect));
                }
                asked
                    .examine
                    .iter()
                    .for_each(|target| watcher.examine(target));
                repairs.waiting.extend(asked.repairs);
            }
            if !stopping
                && is_kept
                && !self.preserver.is_busy()
                && let Some(repair) = repairs.next()
            {
                self.spawn_repair(repair)?;
            }
        }
        self.end(gate, tell)
    }

    /// What a message comes to: events, and where the first of them is a command its number in the journal. With
    /// `is_kept` commands are taken.
    ///
    /// # Errors
    /// When a repair could not be written down to its end: the next start closes it.
    fn take(
        &mut self,
        message: Message,
        repairs: &mut Repairs,
        is_kept: bool,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<(Option<u64>, Vec<Event>)> {
        let mut event = None;
        match message {
            Message::Watched(target, watched) => event = self.watched(&target, watched, tell),
            Message::Step(step) => tell(step.at_ms, Told::Step(&step)),
            Message::Gate(order) => event = self.obey(order, tell),
            Message::OfPolicies(of) => self.written.keep(of.into(), tell),
            Message::Said(request, answer) => {
                let written = self.write_down(&request, is_kept, tell);
                let (told, said) = match written {
                    Ok((text, said)) => (Reply::Done(text), said),
                    Err(reply) => (reply, None),
                };
                // Who asked may have gone away.
                drop(answer.send(told));
                if let Some((seq, event)) = said {
                    return Ok((Some(seq), vec![event]));
                }
            }
            Message::RepairEnded { target, ended } => {
                repairs.ended(&target);
                let repair_run::Ended { outcome, begun } = ended?;
                event = Some(Event::RepairEnded {
                    target,
                    at_ms: now_ms(),
                    outcome,
                    begun,
                    interrupted: false,
                });
            }
        }
        Ok((None, event.into_iter().collect()))
    }

    /// Gives commands to it while it runs.
    pub fn commands(&self) -> Commands {
        Commands(self.send.clone())
    }

    /// Takes in what the watcher tells of a target; a look is for the pipeline.
    fn watched(
        &mut self,
        target: &str,
        watched: Watched,
        tell: &mut Listener<'_>,
    ) -> Option<Event> {
        match watched {
            Watched::Seen(looked) => {
                self.late.remove(target);
                return Some(Event::Observed(*looked));
            }
            Watched::Unanswered(looked) => return Some(Event::Observed(*looked)),
            Watched::Late(since_ms) => self.is_late(target, since_ms, tell),
            Watched::Checked(report) => self.checked(target, report, tell),
            Watched::Note(label, text) => tell(now_ms(), Told::Note(label, &text)),
        }
        None
    }

    /// Does what is to be done regularly by now; what the pipeline is to hear of it goes to `events`.
    fn keep_up(&mut self, next: &mut Next, events: &mut Vec<Event>, tell: &mut Listener<'_>) {
        self.preserver.report(tell);
        if let Some(text) = wall_clock_note() {
            tell(now_ms(), Told::Note("clock", &text));
        }
        if now_ms() >= next.health {
            next.health = now_ms() + KEEP_HEALTH_MS;
            self.keep_health(tell);
        }
        if now_ms() >= next.save {
            next.save = now_ms() + SAVE_BASELINES_MS;
            self.written.save_baselines(&self.pipeline, tell);
        }
        if now_ms() >= next.tick {
            next.tick = now_ms() + self.pace.tick_interval_ms;
            let health = self.health_of_targets();
            self.written.retry(&self.pipeline, &health, tell);
            events.extend(self.learned(tell));
            events.extend(self.calendar_event());
            events.push(Event::Tick { at_ms: now_ms() });
        }
    }

    /// Begins to watch all targets.
    fn start_watching(&self) -> anyhow::Result<Watcher> {
        let workers = Pool::new(&self.exe);
        let lookers = self
            .sites
            .values()
            .map(|site| Looker::new(Arc::clone(site), self.pace, &self.written.dir, &workers));
        let send = self.send.clone();
        let tell = move |target: &str, watched| {
            let message = Message::Watched(target.to_owned(), watched);
            send.send(message).is_ok()
        };
        Ok(Watcher::spawn(
            lookers.collect::<Result<_, _>>()?,
            &self.written.dir,
            &self.exe,
            now_ms(),
            tell,
        )?)
    }

    /// Writes down what there is to write, for the next run.
    fn end(
        mut self,
        gate: Option<GateHandle>,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<RunEnded> {
        self.keep_health(tell);
        // The gate's last words; whether they could be written, `finish` says.
        drop(gate);
        while let Ok(message) = self.receive.try_recv() {
            match message {
                Message::OfPolicies(of) => self.written.keep(of.into(), tell),
                Message::Said(_, answer) => drop(answer.send(Reply::Stopping)),
                _ => {}
            }
        }
        let finished = self.finish(tell);
        self.written
            .dir
            .save_baselines(&self.pipeline.detectors())?;
        finished?;
        Ok(RunEnded {
            carried: self.pipeline.carried(),
            goes_on: false,
        })
    }

    /// Ends a run whose state directory vanished, with what is known written into the new one.
    fn go_on_in(self, again: &StateDir, tell: &mut Listener<'_>) -> anyhow::Result<RunEnded> {
        let carried = self.pipeline.carried();
        again.save_baselines(&self.pipeline.detectors())?;
        // Its lock may still be there.
        drop(self);
        Store::open(again.root())?.save_carried(carried.clone())?;
        let text = format!(
            "{} was made again: what is known of the targets stands in it; what else was in it is gone",
            again.root().display()
        );
        tell(now_ms(), Told::Note(STATE, &text));
        Ok(RunEnded {
            carried,
            goes_on: true,
        })
    }

    fn start_gate(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<Option<GateHandle>> {
        let Some(gate) = self.gate.take() else {
            return Ok(None);
        };
        for note in gate.notes() {
            tell(now_ms(), Told::Note("policy", note));
        }
        let (send, later) = (self.send.clone(), self.send.clone());
        let order = move |order| send.send(Message::Gate(order)).is_ok();
        let store = Arc::clone(&self.written.store);
        let is_behind = Cell::new(false);
        let write_down = move |records: Vec<GateRecord>, services| {
            let of = OfPolicies {
                at_ms: now_ms(),
                records,
                services,
            };
            let is_kept = !is_behind.get() && of.kept().is_ok_and(|kept| store.keep(&kept).is_ok());
            if !is_kept {
                // It is written when that works again, and all that follows after it.
                is_behind.set(true);
                drop(later.send(Message::OfPolicies(of)));
            }
        };
        let handle = gate
            .start(order, write_down)
            .context("starting the gate of the policies")?;
        self.unheard
            .drain(..)
            .for_each(|effect| handle.hear(&effect));
        Ok(Some(handle))
    }

    /// Does what the gate wants; a swap is an event like any other.
    fn obey(&mut self, order: Order, tell: &mut Listener<'_>) -> Option<Event> {
        match order {
            Order::Signed { digest, signer } if self.pipeline.knows(&digest, &signer) => None,
            Order::Signed { digest, signer } => Some(Event::PolicySigned {
                at_ms: now_ms(),
                digest,
                signer,
            }),
            Order::Swap(swap) => {
                let to = swap.policy.identity();
                self.pipeline.stand_by(&swap.name, swap.policy);
                Some(Event::PolicySwapped {
                    policy: swap.name,
                    at_ms: now_ms(),
                    to,
                    why: swap.why.to_string(),
                    standing: swap.standing,
                })
            }
            Order::Shadow(on) => {
                self.pipeline.keep_telemetry(on);
                None
            }
            Order::Note(text) => {
                tell(now_ms(), Told::Note("policy", &text));
                None
            }
            Order::Said(request, answer) => {
                drop(self.send.send(Message::Said(request, answer)));
                None
            }
        }
    }

    /// What `dbmedic learn` or a person wrote since the last time, as an event: a recording holds it.
    fn learned(&mut self, tell: &mut Listener<'_>) -> Option<Event> {
        let known = self.signatures.changed()?;
        let at_ms = now_ms();
        for error in &known.left_out {
            let text = format!("left out: {error}");
            tell(at_ms, Told::Note("signatures", &text));
        }
        let text = format!("read again: {} are learned", known.signatures.len());
        tell(at_ms, Told::Note("signatures", &text));
        Some(Event::SignaturesLearned {
            at_ms,
            signatures: known.signatures,
        })
    }

    fn spawn_repair(&self, approved: ApprovedRepair) -> anyhow::Result<()> {
        let send = self.send.clone();
        let (site, areas, exe) = (self.site(&approved)?, self.areas(), self.exe.clone());
        let store = Arc::clone(&self.written.store);
        let thread = thread::Builder::new().name(format!("repair {}", approved.target()));
        let work = move || {
            // To follow its path waits for its disk.
            let place = acts_on(&areas, &exe, &site.path, &site.may_end);
            let turn = site.turn_to_repair();
            let steps = send.clone();
            let ended = repair_run::run(
                &store,
                &SqliteRepairs,
                &approved,
                &place,
                &now_ms,
                &mut |step| {
                    drop(steps.send(Message::Step(step.clone())));
                },
            );
            drop(turn);
            drop(store);
            let target = approved.target().to_owned();
            drop(send.send(Message::RepairEnded { target, ended }));
        };
        thread.spawn(work)?;
        Ok(())
    }

    /// Lets the pipeline hear the commands that were written down and nothing has come of.
    fn catch_up(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        for WaitingCommand { seq, request } in self.written.store.unheard()? {
            let at_ms = now_ms();
            match request.event(at_ms) {
                Ok(event) => {
                    tell(at_ms, Told::Note("person", &request.to_string()));
                    let asked = self.feed_command(&event, Some(seq), tell);
                    self.unheard.extend(asked.of_policies);
                }
                Err(why) => {
                    tell(at_ms, Told::Note("person", &format!("{request}: {why}")));
                    let step = Step {
                        heard: Some(seq),
                        ..Step::default()
                    };
                    self.written.keep(step, tell);
                }
            }
        }
        Ok(())
    }

    /// Writes down a command that a person gives, before anything comes of it: what was written, and its number
    /// in the journal with the event that it is. None where it was given before.
    fn write_down(
        &mut self,
        request: &Request,
        is_kept: bool,
        tell: &mut Listener<'_>,
    ) -> Result<(String, Option<(u64, Event)>), Reply> {
        if !is_kept {
            return Err(Reply::Stopping);
        }
        let at_ms = now_ms();
        let refused = |why: &dyn std::fmt::Display| Reply::Error(format!("{request}: {why}"));
        let event = request.event(at_ms).map_err(|why| refused(&why))?;
        let id = request.asker.id.as_deref().unwrap_or_default();
        let known = self.written.store.number_of_command(id);
        if let Some(seq) = known.map_err(|error| refused(&error))? {
            return Ok((written_down(seq, request), None));
        }
        let entry = JournalEntry::Said {
            command: request.command.clone(),
            asker: request.asker.clone(),
        };
        let seq = self.written.write_down(at_ms, &entry, tell);
        let seq = seq.map_err(|error| {
            refused(&format!(
                "it cannot be written down, and nothing comes of it: {error}"
            ))
        })?;
        tell(at_ms, Told::Note("person", &request.to_string()));
        Ok((written_down(seq, request), Some((seq, event))))
    }
}

fn written_down(seq: u64, request: &Request) -> String {
    format!("written down as entry {seq}: {request}")
}
