//! The loop of a live run: watchers, repairs and the gate send, the pipeline is fed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::preserve::TAKES_LONG_MS;
use super::{Listener, Live, Told, acts_on};
use crate::clock::{now_ms, wall_clock_note};
use crate::gate::{GateHandle, GateRecord, Order};
use crate::guard::ApprovedRepair;
use crate::journal::{JournalEntry, JournalError, JournalledCommand};
use crate::pipeline::{Carried, Event};
use crate::repair_run::{self, StepReport};
use crate::sqlite::repairs::SqliteRepairs;
use crate::sqlite::worker::Pool;
use crate::state_dir::{StateDir, Waiting};
use crate::watch::{Looker, Watched, Watcher};

/// Between two times that the baselines are kept, milliseconds: what a crash forgets at most.
const SAVE_BASELINES_MS: u64 = 600_000;

/// Between two times that words of people are looked for, and that health is kept for others to read,
/// milliseconds.
const INBOX_MS: u64 = 100;
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

/// What a watcher or a repair sends.
enum Message {
    Watched(String, Watched),
    Step(StepReport),
    RepairEnded {
        target: String,
        ended: Result<repair_run::Ended, JournalError>,
    },
    Gate(Order),
    /// A step of a policy that could not be written down when it was taken.
    Unwritten(u64, Box<GateRecord>),
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
        let (send, receive) = mpsc::channel::<Message>();
        self.catch_up(tell)?;
        let gate = self.start_gate(&send, tell)?;
        let watcher = self.start_watching(&send)?;
        let mut repairs = Repairs::default();
        // Whether what is written down stays.
        let mut is_kept = true;
        let mut next_inbox_ms = 0;
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
            let mut events = Vec::new();
            // What is said while it stops is heard by the next run.
            let mut commands = Vec::new();
            if !stopping && now_ms() >= next_inbox_ms {
                next_inbox_ms = now_ms() + INBOX_MS;
                is_kept = self.written.is_in_place(tell);
                if is_kept {
                    commands = self.commands(tell)?;
                } else if repairs.running.is_empty()
                    && !self.preserver.is_busy()
                    && let Some(again) = self.written.make_again()
                {
                    return self.go_on_in(&again, tell);
                }
            }
            let pause = Duration::from_millis(next.tick.saturating_sub(now_ms()).clamp(1, 100));
            match receive.recv_timeout(pause) {
                Ok(Message::Watched(target, watched)) => {
                    events.extend(self.watched(&target, watched, tell));
                }
                Ok(Message::Step(step)) => tell(step.at_ms, Told::Step(&step)),
                Ok(Message::Gate(order)) => events.extend(self.obey(order, tell)),
                Ok(Message::Unwritten(at_ms, record)) => {
                    let entry = JournalEntry::Policy(*record);
                    self.written.append(at_ms, entry, tell)?;
                }
                // Without a journal nothing may be done: the next start closes what is open.
                Ok(Message::RepairEnded { target, ended }) => {
                    repairs.ended(&target);
                    let repair_run::Ended { outcome, begun } = ended?;
                    events.push(Event::RepairEnded {
                        target,
                        at_ms: now_ms(),
                        outcome,
                        begun,
                        interrupted: false,
                    });
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.keep_up(&mut next, &mut events, tell)?;
            let commands = commands.into_iter().map(|(seq, event)| (Some(seq), event));
            let events = events.into_iter().map(|event| (None, event));
            for (command, event) in commands.chain(events) {
                if let Some(seq) = command {
                    self.written.commands_done = seq;
                }
                let asked = self.feed(&event, tell)?;
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
                self.begin_repair(repair, &send)?;
            }
        }
        self.end(gate, &receive, tell)
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
    fn keep_up(
        &mut self,
        next: &mut Next,
        events: &mut Vec<Event>,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<()> {
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
            self.written.retry(&self.pipeline, &health, tell)?;
            events.extend(self.learned(tell));
            events.extend(self.calendar_event());
            events.push(Event::Tick { at_ms: now_ms() });
        }
        Ok(())
    }

    /// Begins to watch all targets.
    fn start_watching(&self, send: &mpsc::Sender<Message>) -> anyhow::Result<Watcher> {
        let workers = Pool::new(&self.exe);
        let lookers = self
            .sites
            .values()
            .map(|site| Looker::new(Arc::clone(site), self.pace, &self.written.dir, &workers));
        let send = send.clone();
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
        receive: &mpsc::Receiver<Message>,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<RunEnded> {
        self.keep_health(tell);
        // The gate's last words; whether they could be written, `finish` says.
        drop(gate);
        for message in receive.try_iter() {
            if let Message::Unwritten(at_ms, record) = message {
                let entry = JournalEntry::Policy(*record);
                drop(self.written.append(at_ms, entry, tell));
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
        again.save_carried(&carried, self.written.commands_heard())?;
        again.save_baselines(&self.pipeline.detectors())?;
        let text = format!(
            "{} was made again: what is known of the targets stands in it; what else was in it is gone",
            again.root().display()
        );
        tell(now_ms(), Told::Note("state", &text));
        Ok(RunEnded {
            carried,
            goes_on: true,
        })
    }

    fn start_gate(
        &mut self,
        send: &mpsc::Sender<Message>,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<Option<GateHandle>> {
        let Some(gate) = self.gate.take() else {
            return Ok(None);
        };
        for note in gate.notes() {
            tell(now_ms(), Told::Note("policy", note));
        }
        let (send, later) = (send.clone(), send.clone());
        let order = move |order| send.send(Message::Gate(order)).is_ok();
        let journal = Arc::clone(&self.written.journal);
        let write_down = move |record: &GateRecord| {
            let at_ms = now_ms();
            let entry = JournalEntry::Policy(record.clone());
            if journal.append(at_ms, &entry).is_err() {
                // It is written when that works again.
                drop(later.send(Message::Unwritten(at_ms, Box::new(record.clone()))));
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
    fn begin_repair(
        &self,
        approved: ApprovedRepair,
        send: &mpsc::Sender<Message>,
    ) -> anyhow::Result<()> {
        let send = send.clone();
        if let Some(why) = self.pipeline.objection_since(&approved, now_ms()) {
            let target = approved.target().to_owned();
            let ended = Ok(repair_run::withdrawn(&approved, why));
            send.send(Message::RepairEnded { target, ended }).ok();
            return Ok(());
        }
        let (site, areas, exe) = (self.site(&approved)?, self.areas(), self.exe.clone());
        let journal = Arc::clone(&self.written.journal);
        let thread = thread::Builder::new().name(format!("repair {}", approved.target()));
        let work = move || {
            // To follow its path waits for its disk.
            let place = acts_on(&areas, &exe, &site.path, &site.may_end);
            let turn = site.turn_to_repair();
            let steps = send.clone();
            let ended = repair_run::run(
                &journal,
                &SqliteRepairs,
                &approved,
                &place,
                &now_ms,
                &mut |step| {
                    drop(steps.send(Message::Step(step.clone())));
                },
            );
            drop(turn);
            let target = approved.target().to_owned();
            drop(send.send(Message::RepairEnded { target, ended }));
        };
        thread.spawn(work)?;
        Ok(())
    }

    /// Lets the pipeline hear what an earlier run wrote down and was killed before anything came of it.
    fn catch_up(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        let done = self.written.commands_done;
        for JournalledCommand {
            seq,
            request,
            is_used,
        } in self.written.journal.commands_after(done)
        {
            self.written.commands_done = seq;
            // Its repair began: the approval was used.
            if is_used {
                continue;
            }
            let at_ms = now_ms();
            match request.event(at_ms) {
                Ok(event) => {
                    tell(at_ms, Told::Note("person", &request.to_string()));
                    let asked = self.feed(&event, tell)?;
                    self.unheard.extend(asked.of_policies);
                }
                Err(why) => tell(at_ms, Told::Note("person", &format!("{request}: {why}"))),
            }
        }
        self.written.save_carried(&self.pipeline.carried(), tell);
        Ok(())
    }

    /// The commands that people gave since the last look, with their numbers in the journal, as events.
    /// Each is in the journal before its file goes: a kill loses none, and none is heard twice.
    fn commands(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<Vec<(u64, Event)>> {
        let mut events = Vec::new();
        for Waiting { file, request } in self.written.dir.waiting_commands()? {
            let at_ms = now_ms();
            let is_known = |id: &String| self.written.journal.knows_command(id);
            if request.asker.id.as_ref().is_some_and(is_known) {
                self.written.dir.remove_command(&file)?;
                continue;
            }
            let event = match request.event(at_ms) {
                Ok(event) => event,
                Err(why) => {
                    tell(at_ms, Told::Note("person", &format!("{request}: {why}")));
                    self.written.dir.remove_command(&file)?;
                    continue;
                }
            };
            let entry = JournalEntry::Said {
                command: request.command.clone(),
                asker: request.asker.clone(),
            };
            let Some(seq) = self.written.append_now(at_ms, &entry, tell)? else {
                // It waits until it can be written down.
                break;
            };
            self.written.dir.remove_command(&file)?;
            tell(at_ms, Told::Note("person", &request.to_string()));
            events.push((seq, event));
        }
        Ok(events)
    }
}
