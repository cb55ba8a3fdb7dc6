//! The loop of a live run: watchers, repairs and the gate send, the pipeline is fed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::preserve::TAKES_LONG_MS;
use super::written::Step;
use super::{Listener, Live, STATE, Told, acts_on, ended_event};
use crate::clock::{now_ms, wall_clock_note};
use crate::command::Request;
use crate::gate::{GateHandle, GateRecord, Order, Reply, Service};
use crate::guard::ApprovedRepair;
use crate::pipeline::{Carried, Event};
use crate::repair::Intent;
use crate::repair_run::{self, StepReport};
use crate::sqlite::repairs::SqliteRepairs;
use crate::sqlite::worker::Pool;
use crate::store::{JournalEntry, Kept, Row, StoreError, WaitingCommand};
use crate::watch::{Looker, Watched, Watcher};

/// Between two times that the baselines are kept, milliseconds: what a crash forgets at most.
const SAVE_BASELINES_MS: u64 = 600_000;

/// Between two looks whether the state directory is in its place, and between two times that health is kept for
/// others to read, milliseconds.
const IN_PLACE_MS: u64 = 100;
const KEEP_HEALTH_MS: u64 = 500;

/// The attempt to make a state again that vanished at which it is told that it does not succeed: some seconds.
const TOLD_ATTEMPT: u64 = 50;

/// Why a repair that is ready does not begin now. Nobody is told: it waits.
const PUT_OFF: &str = "dbmedic is stopping, or its state directory is gone";

/// What is told of a repair whose steps cannot be written down.
const NOT_CLOSED: &str = "a repair could not be written down to its end; no other begins, dbmedic ends when none is \
    under way, and the next start finishes this one or takes it back";

/// Repairs that were approved: one is at work at a time, and one that takes long holds up no other.
#[derive(Default)]
struct Repairs {
    waiting: VecDeque<ApprovedRepair>,
    /// Targets of those at work, with the time since when, milliseconds since the Unix epoch.
    running: Vec<(String, u64)>,
    /// Those that were made ready and may not begin in this run, by their targets.
    put_off: BTreeMap<String, ApprovedRepair>,
    /// Why one that had begun could not be written down any more: no other begins.
    broken: Option<StoreError>,
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

    /// One is over; says whether it is put off. Then it waits, with what approved it, for its turn or the next run.
    fn ended(&mut self, target: &str) -> bool {
        self.running.retain(|(of, _)| of != target);
        let put_off = self.put_off.remove(target);
        let is_put_off = put_off.is_some();
        if let Some(approved) = put_off {
            self.waiting.push_front(approved);
        }
        is_put_off
    }
}

/// What a watcher, a repair, the gate or a person sends.
pub(super) enum Message {
    Watched(String, Watched),
    Step(StepReport),
    /// A repair is ready and asks whether it may begin.
    Ready {
        approved: Arc<ApprovedRepair>,
        intent: Box<Intent>,
        answer: mpsc::Sender<Result<(), String>>,
    },
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

/// How far what the gate wants written down is behind, because it could not be written at once.
#[derive(Debug, Default)]
pub(super) struct OfGate {
    /// Messages that the gate sent and that are not written yet: what follows must not come before them.
    behind: Arc<AtomicU64>,
    /// Those of them that were taken.
    taken: u64,
}

/// Gives commands to a live run in this process, from any thread but the one that runs it: that one would wait for
/// itself. What is given before it runs is answered when it does.
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
            _ => bail!("dbmedic is stopping, or its state directory is gone: nothing comes of it"),
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
        let mut attempts_to_make_again: u64 = 0;
        let mut next = Next {
            health: 0,
            tick: now_ms(),
            save: now_ms() + SAVE_BASELINES_MS,
        };
        loop {
            let stopping = stop.load(Ordering::Relaxed) || repairs.broken.is_some();
            // What was approved and not begun waits for the next run, its approval with it.
            if stopping && repairs.running.is_empty() {
                break;
            }
            if !stopping && now_ms() >= next_in_place_ms {
                next_in_place_ms = now_ms() + IN_PLACE_MS;
                is_kept = self.written.is_in_place(tell);
                if !is_kept && repairs.running.is_empty() && !self.preserver.is_busy() {
                    match self.written.make_again(&self.pipeline) {
                        Ok(()) => {
                            drop(watcher);
                            drop(gate);
                            return Ok(self.went_on(tell));
                        }
                        Err(error) => {
                            attempts_to_make_again += 1;
                            if attempts_to_make_again == TOLD_ATTEMPT {
                                let text = format!(
                                    "the state cannot be made again: {error:#}; no repair begins, no command is \
                                     taken, and it is tried again"
                                );
                                tell(now_ms(), Told::Note(STATE, &text));
                            }
                        }
                    }
                }
            }
            let pause = Duration::from_millis(next.tick.saturating_sub(now_ms()).clamp(1, 100));
            let (mut heard, mut events) = match self.receive.recv_timeout(pause) {
                Ok(message) => self.take(message, &mut repairs, is_kept && !stopping, tell),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    (None, Vec::new())
                }
            };
            self.keep_up(&mut next, &mut events, tell);
            for event in events {
                // What stands in the journal comes first, and alone.
                let asked = self.feed_numbered(&event, heard.take(), tell);
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
            self.gate_catches_up();
            // Where something waits to be written, the repair may be approved by it.
            if !stopping
                && is_kept
                && self.written.is_up_to_date()
                && !self.preserver.is_busy()
                && let Some(repair) = repairs.next()
            {
                self.begin_repair(repair)?;
            }
        }
        let ended = self.end(gate, tell)?;
        match repairs.broken {
            Some(error) => Err(error).context(NOT_CLOSED),
            None => Ok(ended),
        }
    }

    /// Lets the gate write down itself what it wants, once all that it left to this thread is written.
    fn gate_catches_up(&mut self) {
        if self.of_gate.taken > 0 && self.written.is_up_to_date() {
            let taken = std::mem::take(&mut self.of_gate.taken);
            self.of_gate.behind.fetch_sub(taken, Ordering::SeqCst);
        }
    }

    /// What a message comes to: events, and the number of the first of them where it stands in the journal. With
    /// `is_kept` commands are taken and repairs begin.
    fn take(
        &mut self,
        message: Message,
        repairs: &mut Repairs,
        is_kept: bool,
        tell: &mut Listener<'_>,
    ) -> (Option<u64>, Vec<Event>) {
        let mut event = None;
        let mut number = None;
        match message {
            Message::Watched(target, watched) => event = self.watched(&target, watched, tell),
            Message::Step(step) => tell(step.at_ms, Told::Step(&step)),
            Message::Gate(order) => event = self.obey(order, tell),
            Message::OfPolicies(of) => {
                self.of_gate.taken += 1;
                self.written.keep(of.into(), tell);
            }
            Message::Said(request, answer) => {
                let written = self.write_down(&request, is_kept, tell);
                let (told, said) = match written {
                    Ok((text, said)) => (Reply::Done(text), said),
                    Err(reply) => (reply, None),
                };
                // Who asked may have gone away.
                drop(answer.send(told));
                if let Some((seq, said)) = said {
                    (number, event) = (Some(seq), Some(said));
                }
            }
            Message::Ready {
                approved,
                intent,
                answer,
            } => {
                let may_begin = if is_kept {
                    self.may_begin(&approved, &intent)
                } else {
                    let target = approved.target().to_owned();
                    repairs.put_off.insert(target, (*approved).clone());
                    Err(PUT_OFF.to_owned())
                };
                drop(answer.send(may_begin));
            }
            Message::RepairEnded { target, ended } => {
                let is_put_off = repairs.ended(&target);
                match ended {
                    Ok(_) if is_put_off => {}
                    Ok(ended) => {
                        let (ended, closed) = ended_event(target, ended);
                        (number, event) = (closed, Some(ended));
                    }
                    Err(error) => {
                        let text = format!("{target}: {NOT_CLOSED}: {error}");
                        tell(now_ms(), Told::Note(STATE, &text));
                        repairs.broken.get_or_insert(error);
                    }
                }
            }
        }
        (number, event.into_iter().collect())
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

    /// Ends a run whose state directory vanished, and was made again with what is known written into it.
    fn went_on(self, tell: &mut Listener<'_>) -> RunEnded {
        let text = format!(
            "{} was made again: what is known of the targets stands in it; what else was in it is gone",
            self.written.dir.root().display()
        );
        tell(now_ms(), Told::Note(STATE, &text));
        RunEnded {
            carried: self.pipeline.carried(),
            goes_on: true,
        }
    }

    fn start_gate(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<Option<GateHandle>> {
        let Some(gate) = self.gate.take() else {
            return Ok(None);
        };
        for note in gate.notes() {
            tell(now_ms(), Told::Note("policy", note));
        }
        let (send, later) = (self.send.clone(), self.send.clone());
        let order = move |order| {
            let message = match order {
                Order::Said(request, answer) => Message::Said(request, answer),
                order => Message::Gate(order),
            };
            send.send(message).is_ok()
        };
        let store = Arc::clone(&self.written.store);
        let behind = Arc::clone(&self.of_gate.behind);
        let write_down = move |records: Vec<GateRecord>, services| {
            let of = OfPolicies {
                at_ms: now_ms(),
                records,
                services,
            };
            let is_behind = behind.load(Ordering::SeqCst) > 0;
            let is_kept = !is_behind && of.kept().is_ok_and(|kept| store.keep(&kept).is_ok());
            if !is_kept {
                // It is written when that works again, and all that follows after it.
                behind.fetch_add(1, Ordering::SeqCst);
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

    /// Begins a repair whose turn it is, unless something came to speak against it while it waited.
    fn begin_repair(&self, approved: ApprovedRepair) -> anyhow::Result<()> {
        let send = self.send.clone();
        if let Some(why) = self.pipeline.objection_since(&approved, now_ms()) {
            let target = approved.target().to_owned();
            let ended = Ok(repair_run::withdrawn(&approved, why));
            send.send(Message::RepairEnded { target, ended }).ok();
            return Ok(());
        }
        let (site, areas, exe) = (self.site(&approved)?, self.areas(), self.exe.clone());
        let store = Arc::clone(&self.written.store);
        let thread = thread::Builder::new().name(format!("repair {}", approved.target()));
        let approved = Arc::new(approved);
        let work = move || {
            // To follow its path waits for its disk.
            let place = acts_on(&areas, &exe, &site.path, &site.may_end);
            let turn = site.turn_to_repair();
            let (steps, asks) = (send.clone(), send.clone());
            let begin = &mut |intent: &Intent| {
                let (answer, may_begin) = mpsc::channel();
                let ready = Message::Ready {
                    approved: Arc::clone(&approved),
                    intent: Box::new(intent.clone()),
                    answer,
                };
                // A run that is over answers nothing.
                drop(asks.send(ready));
                may_begin.recv().unwrap_or_else(|_| Err(PUT_OFF.to_owned()))
            };
            let ended = repair_run::run_begun_by(
                begin,
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
                    let asked = self.feed_numbered(&event, Some(seq), tell);
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
        let known = self.written.store.number_of(request);
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
