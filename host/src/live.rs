//! The live driver: real databases, the real clock, effects carried out.
//!
//! Here alone (and in the demo, which drives this) a clock is read. A watcher thread for each
//! target looks and sends what it saw; this thread feeds the pipeline and carries out its effects;
//! a repair runs in a thread of its own. Nothing here decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::clock::now_ms;
use crate::constraint::Constraint;
use crate::decision_log::DecisionLog;
use crate::gate::{Gate, GateHandle, GateRecord, Order};
use crate::guard::ApprovedRepair;
use crate::health::{self, CheckKind, CheckReport, CheckState, Health, Level, Sign, Status};
use crate::journal::{Intent, Journal, JournalEntry, JournalError};
use crate::model::Outcome;
use crate::pipeline::{Carried, Effect, Event, Pipeline, PipelineOptions, Policies};
use crate::policy::{BreakerRecord, PolicyFailure};
use crate::recording::{Header, RecordingWriter};
use crate::repair::{self, StepReport};
use crate::state_dir::{StateDir, StateError};
use crate::target::sqlite::raw::RawProcess;
use crate::watch::{Looker, Pace, Site, Watched, Watcher};

/// Between the beginnings of two watchers, milliseconds.
const APART_MS: u64 = 37;

/// Between two times that the baselines are kept, milliseconds: what a crash forgets at most.
const SAVE_BASELINES_MS: u64 = 600_000;

/// Something to tell, as it happens.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told<'a> {
    /// An effect of the pipeline.
    Effect(&'a Effect),
    /// A step of a repair.
    Step(&'a StepReport),
    /// Something the driver did: what, and a line for a person.
    Note(&'static str, &'a str),
}

/// Something told, with its time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ToldAt<'a> {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub told: Told<'a>,
}

impl<'a> Told<'a> {
    /// The same with its time.
    pub fn at(self, at_ms: u64) -> ToldAt<'a> {
        ToldAt { at_ms, told: self }
    }
}

/// What the pipeline asks the driver for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Repairs to carry out.
    pub repairs: Vec<ApprovedRepair>,
    /// Targets to look at thoroughly.
    pub examine: Vec<String>,
    /// What the gate has to hear.
    pub of_policies: Vec<Effect>,
}

/// Hears what happens, with its time in milliseconds since the Unix epoch.
pub type Listener<'a> = dyn FnMut(u64, Told<'_>) + 'a;

/// Everything a live run needs.
pub struct Setup {
    /// The pipeline's options.
    pub options: PipelineOptions,
    /// The policies that decide.
    pub policies: Policies,
    /// How others come into service while it runs; none for a run that ends by itself.
    pub gate: Option<Gate>,
    /// The databases.
    pub sites: Vec<Site>,
    /// How often what is done.
    pub pace: Pace,
    /// Where dbmedic keeps its own state.
    pub state_dir: StateDir,
    /// The journal, open and exclusive.
    pub journal: Journal,
    /// Where every decision is written down; none when that is switched off.
    pub decision_log: Option<DecisionLog>,
    /// Where to keep a recording, and its header's particulars.
    pub recording: Option<(PathBuf, Header)>,
    /// The binary to run as raw process; this one.
    pub exe: PathBuf,
    /// From when on a resource of the host is scarce.
    pub resource_limits: Vec<Constraint>,
}

/// What a watcher or a repair sends.
enum Message {
    Watched(String, Watched),
    Step(StepReport),
    RepairEnded {
        target: String,
        ended: Result<Outcome, JournalError>,
    },
    Gate(Order),
}

/// A pipeline with its journal, its recording and its carried state.
pub struct Live {
    pipeline: Pipeline,
    sites: BTreeMap<String, Arc<Site>>,
    state_dir: StateDir,
    journal: Arc<Journal>,
    recording: Option<RecordingWriter>,
    decision_log: Option<DecisionLog>,
    exe: PathBuf,
    pace: Pace,
    gate: Option<Gate>,
    /// The last decision that stands in the journal, by incident, so that the same is not written
    /// at each look.
    journalled: BTreeMap<String, String>,
    /// The latest run of each check, by target.
    reports: BTreeMap<String, BTreeMap<CheckKind, CheckReport>>,
    /// How healthy each target was when it was told last.
    health: BTreeMap<String, Health>,
    resource_limits: Vec<Constraint>,
}

impl Live {
    /// Closes what an earlier run left open, and makes ready.
    ///
    /// # Errors
    /// When the journal, the carried state or the recording cannot be read or written, or when an
    /// open repair can neither be finished nor taken back.
    pub fn start(setup: Setup, tell: &mut Listener<'_>) -> anyhow::Result<Self> {
        let mut carried = setup.state_dir.load_carried()?;
        carried.detectors = match setup.state_dir.load_baselines() {
            Ok(learned) => learned,
            // What is normal can be learned anew; the watch must not wait for a person.
            Err(error @ StateError::Damaged { .. }) => {
                let aside = setup.state_dir.set_baselines_aside()?;
                let text = format!("learned anew: {error}; now {}", aside.display());
                tell(now_ms(), Told::Note("baselines", &text));
                BTreeMap::new()
            }
            Err(error) => return Err(error.into()),
        };
        // What an earlier run carried knows how far they are.
        for (name, digest, bounds) in setup.gate.iter().flat_map(Gate::on_probation) {
            let known = carried.breakers.entry(name.to_owned()).or_default();
            known
                .entry(digest.to_owned())
                .or_insert_with(|| BreakerRecord::on_probation(bounds, now_ms()));
        }
        let recording = setup
            .recording
            .map(|(path, mut header)| {
                header.carried = carried.clone();
                RecordingWriter::create(&path, &header)
            })
            .transpose()?;
        let sites: BTreeMap<_, _> = setup
            .sites
            .into_iter()
            .map(|site| (site.name.clone(), Arc::new(site)))
            .collect();
        let mut live = Self {
            pipeline: Pipeline::new(setup.options, setup.policies, carried),
            sites,
            state_dir: setup.state_dir,
            journal: Arc::new(setup.journal),
            recording,
            decision_log: setup.decision_log,
            exe: setup.exe,
            pace: setup.pace,
            gate: setup.gate,
            journalled: BTreeMap::new(),
            reports: BTreeMap::new(),
            health: BTreeMap::new(),
            resource_limits: setup.resource_limits,
        };
        if let Some(log) = &mut live.decision_log {
            live.pipeline.listen(true);
            for note in log.take_notes() {
                tell(now_ms(), Told::Note("decision log", &note));
            }
        }
        live.recover(tell)?;
        Ok(live)
    }

    /// Finishes or takes back each repair that an earlier run left open.
    fn recover(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        let mut steps = Vec::new();
        let site_of = |intent: &Intent| repair::Site {
            path: intent.path.clone(),
            may_end: intent.may_end.clone(),
            copies: self.state_dir.copies(),
            exe: self.exe.clone(),
        };
        let ended = repair::recover(&self.journal, &site_of, &now_ms, &mut |step| {
            steps.push(step.clone());
        })
        .context("closing the repairs that an earlier run left open")?;
        for step in &steps {
            tell(step.at_ms, Told::Step(step));
        }
        for (target, outcome) in ended {
            let at_ms = now_ms();
            let text = format!(
                "{target}: {} was left open by an earlier run",
                outcome.repair
            );
            tell(at_ms, Told::Note("recovered", &text));
            self.feed(
                &Event::RepairEnded {
                    target,
                    at_ms,
                    outcome,
                },
                tell,
            )?;
        }
        Ok(())
    }

    /// What the next run must know.
    pub fn carried(&self) -> Carried {
        self.pipeline.carried()
    }

    /// The pipeline's state, to look at.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Keeps what a check came to, and tells when the target's health changed with it.
    fn checked(
        &mut self,
        target: &str,
        report: CheckReport,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<()> {
        if !matches!(report.state, CheckState::Passed | CheckState::Failed(_)) {
            let text = format!("{target}: {} check {}", report.check.name(), report.state);
            tell(now_ms(), Told::Note("check", &text));
        }
        let reports = self.reports.entry(target.to_owned()).or_default();
        reports.insert(report.check, report);
        self.tell_health(target, tell)
    }

    /// How healthy a target is, given the latest run of each check on it; none when there is no
    /// such target.
    pub fn health(
        &self,
        target: &str,
        reports: &BTreeMap<CheckKind, CheckReport>,
    ) -> Option<Health> {
        let context = self.pipeline.context(target, now_ms())?;
        let series = self.pipeline.series(target)?;
        let mut signs: Vec<Sign> = health::signs_of_checks(reports);
        let latest = |name: &str| Some(series.get(name)?.latest()?.value);
        signs.extend(health::signs_of_limits(
            Level::Subsystem,
            &self.resource_limits,
            &latest,
        ));
        signs.extend(health::signs_of_context(&context));
        if self.pipeline.is_halted(target) {
            signs.push(Sign {
                level: Level::System,
                subject: "halted".into(),
                status: Status::Unhealthy,
                reason: "no repair touches it until a person releases it".into(),
            });
        }
        Some(health::roll_up(signs))
    }

    /// Tells a target's health when it changed, and keeps it for others to read.
    fn tell_health(&mut self, target: &str, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        let none = BTreeMap::new();
        let reports = self.reports.get(target).unwrap_or(&none);
        let Some(health) = self.health(target, reports) else {
            return Ok(());
        };
        let before = self.health.get(target);
        if before == Some(&health) {
            return Ok(());
        }
        let is_told = before.is_some_and(|before| before.status == health.status);
        // Numbers move all the time; written down is which signs there are.
        let is_kept = is_told
            && before.is_some_and(|before| {
                let subjects = |health: &Health| -> Vec<_> {
                    let signs = health.signs.iter();
                    signs
                        .map(|sign| (sign.subject.clone(), sign.status))
                        .collect()
                };
                subjects(before) == subjects(&health)
            });
        if !is_told {
            let text = format!("{target}: {health}");
            tell(now_ms(), Told::Note("health", &text));
        }
        self.health.insert(target.to_owned(), health);
        if !is_kept {
            self.state_dir.save_health(&self.health)?;
        }
        Ok(())
    }

    /// The targets.
    pub fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }

    /// Feeds an event, writes down what came of it, and carries out all but the repairs and the
    /// looks that it asks for, which are returned.
    pub fn feed(&mut self, event: &Event, tell: &mut Listener<'_>) -> anyhow::Result<Asked> {
        let at_ms = event.at_ms();
        let effects = self.pipeline.step(event);
        if let Some(recording) = &mut self.recording {
            recording.write(event, &effects)?;
        }
        // Before the effects, so that a crisis is on disk when they are carried out.
        if let Some(log) = &mut self.decision_log {
            let (made, policies) = self.pipeline.made_mut();
            if let Err(error) = log.note(made, policies) {
                let text = format!("a crisis is not in the decision log: {error}");
                tell(at_ms, Told::Note("decision log", &text));
            }
        }
        let mut asked = Asked::default();
        let mut carry = false;
        for effect in effects {
            if self.is_new(&effect) {
                self.journal.append(
                    at_ms,
                    &JournalEntry::Happened {
                        effect: effect.clone(),
                    },
                )?;
            }
            carry |= !matches!(effect, Effect::Noticed { .. } | Effect::Decided(_));
            tell(at_ms, Told::Effect(&effect));
            match effect {
                Effect::Repair(repair) => asked.repairs.push(*repair),
                Effect::Examine { target } => asked.examine.push(target),
                Effect::PolicySwapped { .. } | Effect::PolicyService { .. } => {
                    asked.of_policies.push(effect);
                }
                Effect::Preserve {
                    target, incident, ..
                } => self.preserve(&target, &incident, tell),
                _ => {}
            }
        }
        if carry {
            self.state_dir.save_carried(&self.pipeline.carried())?;
        }
        Ok(asked)
    }

    /// Whether an effect belongs into the journal: everything but what repeats or is told elsewhere.
    fn is_new(&mut self, effect: &Effect) -> bool {
        match effect {
            // The gate writes down what it swaps.
            Effect::Noticed { .. }
            | Effect::Repair(_)
            | Effect::Examine { .. }
            | Effect::PolicySwapped { .. } => false,
            Effect::Decided(decided) => {
                let Some(incident) = &decided.incident else {
                    // That a policy is out of service stands there once.
                    let out =
                        |why: &PolicyFailure| matches!(why, PolicyFailure::OutOfService { .. });
                    return !decided.failure.as_ref().is_some_and(out);
                };
                let verdict = &decided.verdict;
                let rules: Vec<_> = verdict.reasons.iter().map(|r| &r.rule).collect();
                let essence = format!(
                    "{:?} {:?} {:?} {:?} {rules:?}",
                    decided.asked, verdict.classification, verdict.level, verdict.repair
                );
                self.journalled.insert(incident.clone(), essence.clone()) != Some(essence)
            }
            Effect::IncidentResolved { resolved, .. } => {
                self.journalled.remove(&resolved.incident);
                true
            }
            _ => true,
        }
    }

    /// Copies a halted target's files aside, as they are.
    fn preserve(&self, target: &str, incident: &str, tell: &mut Listener<'_>) {
        let Some(site) = self.sites.get(target) else {
            return;
        };
        let into = self.state_dir.preserved(target, incident);
        let copied = RawProcess::spawn(&self.exe)
            .map_err(anyhow::Error::from)
            .and_then(|mut raw| Ok(raw.copy(&site.path, &into)?));
        // A halt stands even when the copy does not succeed: a full disk must not lift it.
        let text = match copied {
            Ok(_) => format!("{target}: files copied to {}", into.display()),
            Err(error) => format!("{target}: files could NOT be copied aside: {error:#}"),
        };
        tell(now_ms(), Told::Note("preserved", &text));
    }

    /// Runs a repair to its end, in this thread.
    ///
    /// # Errors
    /// When the journal cannot be written, or the target is not configured.
    pub fn repair(
        &self,
        approved: &ApprovedRepair,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<Outcome> {
        let (site, place) = self.place(approved)?;
        let _turn = site.turn_to_repair();
        let on_step = &mut |step: &StepReport| tell(step.at_ms, Told::Step(step));
        Ok(repair::run(
            &self.journal,
            approved,
            &place,
            &now_ms,
            on_step,
        )?)
    }

    /// Where an approved repair acts.
    fn place(&self, approved: &ApprovedRepair) -> anyhow::Result<(Arc<Site>, repair::Site)> {
        let site = self.sites.get(approved.target()).cloned();
        let site =
            site.with_context(|| format!("target {} is not configured", approved.target()))?;
        let place = repair::Site {
            path: site.path.clone(),
            may_end: site.may_end.clone(),
            copies: self.state_dir.copies(),
            exe: self.exe.clone(),
        };
        Ok((site, place))
    }

    /// Watches all targets until `stop` is set. A repair that has begun is brought to its end first.
    pub fn run(mut self, stop: &AtomicBool, tell: &mut Listener<'_>) -> anyhow::Result<Carried> {
        let (send, receive) = mpsc::channel::<Message>();
        let gate = self.start_gate(&send, tell)?;
        let mut watchers = BTreeMap::new();
        for (name, site) in &self.sites {
            let (seen, of) = (send.clone(), name.clone());
            let looker = Looker::new(
                Arc::clone(site),
                self.pace,
                self.state_dir.clone(),
                &self.exe,
            )?;
            // Targets are apart, so that their checks do not begin together.
            let begin_ms = now_ms() + APART_MS * watchers.len() as u64;
            let watcher = Watcher::spawn(looker, begin_ms, move |watched| {
                seen.send(Message::Watched(of.clone(), watched)).is_ok()
            })?;
            watchers.insert(name.clone(), watcher);
        }
        let mut running = 0_usize;
        let mut next_tick_ms = now_ms();
        let mut next_save_ms = now_ms() + SAVE_BASELINES_MS;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping && running == 0 {
                break;
            }
            let mut events = self.inbox(tell)?;
            let pause = Duration::from_millis(next_tick_ms.saturating_sub(now_ms()).clamp(1, 100));
            match receive.recv_timeout(pause) {
                Ok(Message::Watched(_, Watched::Seen(looked))) => {
                    events.push(Event::Observed(*looked));
                }
                Ok(Message::Watched(target, Watched::Checked(report))) => {
                    self.checked(&target, report, tell)?;
                }
                Ok(Message::Watched(_, Watched::Note(label, text))) => {
                    tell(now_ms(), Told::Note(label, &text));
                }
                Ok(Message::Step(step)) => tell(step.at_ms, Told::Step(&step)),
                Ok(Message::Gate(order)) => events.extend(self.obey(order, tell)),
                // Without a journal nothing may be done: the next start closes what is open.
                Ok(Message::RepairEnded { target, ended }) => {
                    running -= 1;
                    events.push(Event::RepairEnded {
                        target,
                        at_ms: now_ms(),
                        outcome: ended?,
                    });
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if now_ms() >= next_save_ms {
                next_save_ms = now_ms() + SAVE_BASELINES_MS;
                self.state_dir.save_baselines(&self.pipeline.detectors())?;
            }
            if now_ms() >= next_tick_ms {
                next_tick_ms = now_ms() + self.pace.tick_interval_ms;
                events.push(Event::Tick { at_ms: now_ms() });
            }
            for event in events {
                let asked = self.feed(&event, tell)?;
                if let Event::Observed(seen) = &event {
                    self.tell_health(&seen.target, tell)?;
                }
                if let Some(gate) = &gate {
                    gate.made(self.pipeline.take_made());
                    asked
                        .of_policies
                        .iter()
                        .for_each(|effect| gate.hear(effect));
                }
                for target in asked.examine {
                    watchers.get(&target).into_iter().for_each(Watcher::examine);
                }
                // What is approved while stopping waits for the next run: it will be seen again.
                for repair in asked.repairs.into_iter().filter(|_| !stopping) {
                    self.spawn_repair(repair, send.clone())?;
                    running += 1;
                }
            }
        }
        let carried = self.pipeline.carried();
        self.state_dir.save_carried(&carried)?;
        self.state_dir.save_baselines(&self.pipeline.detectors())?;
        Ok(carried)
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
        let send = send.clone();
        let order = move |order| send.send(Message::Gate(order)).is_ok();
        let journal = Arc::clone(&self.journal);
        let write_down = move |record: &GateRecord| {
            let entry = JournalEntry::Policy(record.clone());
            if let Err(error) = journal.append(now_ms(), &entry) {
                tracing::error!(%error, "a step of a policy is not in the journal");
            }
        };
        let handle = gate
            .start(order, write_down)
            .context("starting the gate of the policies")?;
        Ok(Some(handle))
    }

    /// Does what the gate wants; a swap is an event like any other.
    fn obey(&mut self, order: Order, tell: &mut Listener<'_>) -> Option<Event> {
        match order {
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

    fn spawn_repair(
        &self,
        approved: ApprovedRepair,
        send: mpsc::Sender<Message>,
    ) -> anyhow::Result<()> {
        let (site, place) = self.place(&approved)?;
        let journal = Arc::clone(&self.journal);
        let thread = thread::Builder::new().name(format!("repair {}", approved.target()));
        let work = move || {
            let turn = site.turn_to_repair();
            let steps = send.clone();
            let ended = repair::run(&journal, &approved, &place, &now_ms, &mut |step| {
                drop(steps.send(Message::Step(step.clone())));
            });
            drop(turn);
            let target = approved.target().to_owned();
            drop(send.send(Message::RepairEnded { target, ended }));
        };
        thread.spawn(work)?;
        Ok(())
    }

    /// What people said since the last look, as events.
    fn inbox(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<Vec<Event>> {
        let mut events = Vec::new();
        for word in self.state_dir.take_words()? {
            let at_ms = now_ms();
            self.journal
                .append(at_ms, &JournalEntry::Said { word: word.clone() })?;
            tell(at_ms, Told::Note("person", &word.to_string()));
            events.push(word.into_event(at_ms));
        }
        Ok(events)
    }
}
