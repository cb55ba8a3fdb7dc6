//! The live driver: real databases, the real clock, effects carried out.
//!
//! Here alone (and in the demo, which drives this) a clock is read. The watcher looks at all targets
//! and sends what it saw; this thread feeds the pipeline and carries out its effects;
//! a repair runs in a thread of its own. Nothing here decides.

mod health;
mod preserve;
mod run;
mod told;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;

use crate::calendar::Calendar;
use crate::clock::{now_ms, wall_ms};
use crate::constraint::Constraint;
use crate::decision_log::DecisionLog;
use crate::detect::Detector;
use crate::gate::{Gate, KnownStanding};
use crate::guard::ApprovedRepair;
use crate::health::{CheckKind, CheckReport, Health};
use crate::pipeline::{
    BreakerRecords, Carried, Effect, Event, Pipeline, PipelineOptions, Policies,
};
use crate::policy::{BreakerRecord, BreakerState, PolicyFailure, ServiceChange};
use crate::recording::{Header, RecordingWriter};
use crate::repair::{self, Intent};
use crate::repair_run::{self, RecoveredRepair, StepReport};
use crate::signature_dir::SignatureWatch;
use crate::sqlite::raw::RawProcess;
use crate::sqlite::repairs::SqliteRepairs;
use crate::sqlite::worker::{Areas, Place};
use crate::state_dir::{StateDir, StateError};
use crate::store::{CarriedOver, JournalEntry, Store};
use crate::watch::{Pace, Site};

use preserve::{OfTarget, Preserver};
use run::{Message, OfGate};
use written::{Step, Written};

pub use run::{Commands, RunEnded};
pub use told::{HALT, Listener, OPEN_REPAIR, STATE, Told, ToldAt};

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
    /// The state, open and exclusive.
    pub store: Store,
    /// Where every decision is written down; none when that is switched off.
    pub decision_log: Option<DecisionLog>,
    /// Where to keep a recording, and its header's particulars.
    pub recording: Option<(PathBuf, Header)>,
    /// The binary to run as raw process; this one.
    pub exe: PathBuf,
    /// Where learned signatures are kept; what is in the options was read from there.
    pub signatures: SignatureWatch,
    /// From when on a resource of the host is scarce.
    pub resource_limits: Vec<Constraint>,
    /// The local time, and when the maintenance windows of the configuration open.
    pub calendar: Calendar,
    /// Whether the files of a target may be copied into the state directory. A visit that only says
    /// what it finds copies nothing.
    pub keeps_copies: bool,
}

/// A pipeline with its journal, its recording and its carried state.
pub struct Live {
    pipeline: Pipeline,
    sites: BTreeMap<String, Arc<Site>>,
    written: Written,
    preserver: Preserver,
    recording: Option<RecordingWriter>,
    decision_log: Option<DecisionLog>,
    exe: PathBuf,
    pace: Pace,
    gate: Option<Gate>,
    /// What the gate has to hear when it starts.
    unheard: Vec<Effect>,
    of_gate: OfGate,
    /// The last decision that stands in the journal, by incident, so that the same is not written
    /// at each look.
    journalled: BTreeMap<String, String>,
    /// The latest run of each check, by target.
    reports: BTreeMap<String, BTreeMap<CheckKind, CheckReport>>,
    /// How healthy each target was when it was told last.
    health: BTreeMap<String, Health>,
    /// Whether that is still to be kept for others to read.
    health_is_new: bool,
    /// Targets whose looks do not end, with the time since when, milliseconds since the Unix epoch.
    late: BTreeMap<String, u64>,
    signatures: SignatureWatch,
    resource_limits: Vec<Constraint>,
    calendar: Calendar,
    keeps_copies: bool,
    send: mpsc::Sender<Message>,
    receive: mpsc::Receiver<Message>,
}

impl Live {
    /// Closes what an earlier run left open, and makes ready.
    ///
    /// # Errors
    /// When the state or the recording cannot be read or written, or when an
    /// open repair can neither be finished nor taken back.
    pub fn start(setup: Setup, tell: &mut Listener<'_>) -> anyhow::Result<Self> {
        setup.state_dir.clear_unfinished()?;
        for note in setup.store.notes() {
            tell(now_ms(), Told::Note(STATE, note));
        }
        let CarriedOver {
            mut carried,
            moved_ms,
        } = setup.store.carried()?;
        if let Some(text) = set_between_runs(moved_ms) {
            tell(now_ms(), Told::Note("clock", &text));
        }
        carried.detectors = load_baselines(&setup.state_dir, tell)?;
        let halted = halt_lost(&setup.store, &setup.sites, &mut carried, tell);
        let begun_anew = setup.store.begun_anew().is_some();
        if begun_anew {
            halt_unknown(&setup.sites, &mut carried, tell);
        }
        carried.signers = setup.policies.signers();
        let unheard = setup
            .gate
            .iter()
            .flat_map(Gate::standings)
            .filter_map(|known| {
                let change = missed(&known, &mut carried.breakers)?;
                Some(Effect::PolicyService {
                    policy: known.policy.to_owned(),
                    of: setup.policies.get(known.policy).identity(),
                    change,
                })
            })
            .collect();
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
        let (send, receive) = mpsc::channel();
        let mut live = Self {
            pipeline: Pipeline::new(setup.options, setup.policies, carried),
            sites,
            written: Written::new(setup.store, setup.state_dir),
            preserver: Preserver::new(),
            recording,
            decision_log: setup.decision_log,
            exe: setup.exe,
            pace: setup.pace,
            gate: setup.gate,
            unheard,
            of_gate: OfGate::default(),
            journalled: BTreeMap::new(),
            reports: BTreeMap::new(),
            health: BTreeMap::new(),
            health_is_new: false,
            late: BTreeMap::new(),
            signatures: setup.signatures,
            resource_limits: setup.resource_limits,
            calendar: setup.calendar,
            keeps_copies: setup.keeps_copies,
            send,
            receive,
        };
        // Times that were moved, halts, and what the gate found at its start.
        let step = Step {
            carried: Some(live.pipeline.carried()),
            services: live.gate.as_ref().map(Gate::services),
            ..Step::default()
        };
        live.written.keep(step, tell);
        if live.written.is_up_to_date() {
            for repair_id in halted {
                live.written.store.settle(&repair_id)?;
            }
            // A visit knows one target; a run knows all of them.
            if begun_anew
                && live.gate.is_some()
                && let Err(error) = live.written.store.told_begun_anew()
            {
                // The next run tells it again; its targets are halted already.
                tracing::warn!("{error}");
            }
        }
        if let Some(log) = &mut live.decision_log {
            live.pipeline.listen(true);
            for note in log.take_notes() {
                tell(now_ms(), Told::Note("decision log", &note));
            }
        }
        live.clear_scratch();
        if let Some(event) = live.calendar_event() {
            live.feed(&event, tell);
        }
        live.hear_of_ends(tell)?;
        live.recover(tell)?;
        Ok(live)
    }

    /// Lets the pipeline hear how repairs ended that were closed right before an earlier run was cut off.
    fn hear_of_ends(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        for closed in self.written.store.unheard_ends()? {
            let at_ms = now_ms();
            let target = closed.target.unwrap_or_default();
            let text = format!(
                "{target}: {} had ended when an earlier run was cut off",
                closed.outcome.repair
            );
            tell(at_ms, Told::Note("recovered", &text));
            let event = Event::RepairEnded {
                target,
                at_ms,
                outcome: closed.outcome,
                begun: true,
                interrupted: closed.interrupted,
            };
            let asked = self.feed_numbered(&event, Some(closed.seq), tell);
            self.unheard.extend(asked.of_policies);
        }
        Ok(())
    }

    /// The local time and the maintenance windows, when that is another than the pipeline was told.
    fn calendar_event(&mut self) -> Option<Event> {
        let at_ms = now_ms();
        let plan = self.calendar.changed(wall_ms(), at_ms)?;
        Some(Event::Calendar {
            at_ms,
            local_time: plan.local_time,
            windows: plan.windows,
        })
    }

    /// Finishes or takes back each repair that an earlier run left open.
    fn recover(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        let mut steps = Vec::new();
        // Only what is configured now is touched: a state gives nobody a right to other files, or to
        // end other processes.
        let site_of = |intent: &Intent| {
            let mut sites = self.sites.values();
            let site = sites.find(|site| is_same_file(&site.path, &intent.path))?;
            let may_end: Vec<String> = intent
                .may_end
                .iter()
                .filter(|name| site.may_end.contains(name))
                .cloned()
                .collect();
            Some(acts_on(&self.areas(), &self.exe, &site.path, &may_end))
        };
        let recovered = repair_run::recover(
            &self.written.store,
            &SqliteRepairs,
            &site_of,
            &now_ms,
            &mut |step| {
                steps.push(step.clone());
            },
        )
        .context("closing the repairs that an earlier run left open")?;
        for step in &steps {
            tell(step.at_ms, Told::Step(step));
        }
        for intent in recovered.left {
            let text = format!(
                "{} of {} ({}) was left open by an earlier run and is left as it is: this database \
                 is not a target here; configure it to have the repair finished or taken back",
                intent.candidate.id,
                intent.target,
                intent.path.display()
            );
            tell(now_ms(), Told::Note(OPEN_REPAIR, &text));
        }
        for RecoveredRepair {
            target,
            outcome,
            interrupted,
            closed,
        } in recovered.ended
        {
            let at_ms = now_ms();
            let text = format!(
                "{target}: {} was left open by an earlier run",
                outcome.repair
            );
            tell(at_ms, Told::Note("recovered", &text));
            let event = Event::RepairEnded {
                target,
                at_ms,
                outcome,
                begun: true,
                interrupted,
            };
            let asked = self.feed_numbered(&event, Some(closed), tell);
            self.unheard.extend(asked.of_policies);
        }
        Ok(())
    }

    /// Waits for the copies under way, and writes what could not be written before; here a failure
    /// is one.
    ///
    /// # Errors
    /// When something cannot be kept for the next run.
    pub fn finish(&mut self, tell: &mut Listener<'_>) -> anyhow::Result<()> {
        self.preserver.finish(tell);
        self.written.finish(&self.pipeline)
    }

    /// What the next run must know.
    pub fn carried(&self) -> Carried {
        self.pipeline.carried()
    }

    /// The pipeline's state, to look at.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The targets.
    pub fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }

    /// Feeds an event, writes down what came of it, and carries out all but the repairs and the
    /// looks that it asks for, which are returned.
    pub fn feed(&mut self, event: &Event, tell: &mut Listener<'_>) -> Asked {
        self.feed_numbered(event, None, tell)
    }

    /// The same of an event that stands in the journal until it is heard, by its number there: a command, or the end of
    /// a repair.
    fn feed_numbered(
        &mut self,
        event: &Event,
        heard: Option<u64>,
        tell: &mut Listener<'_>,
    ) -> Asked {
        let at_ms = event.at_ms();
        let effects = self.pipeline.step(event);
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.write(event, &effects)
        {
            self.recording = None;
            let text = format!("it ends here: {error}");
            tell(at_ms, Told::Note("recording", &text));
        }
        // Before the effects, so that a crisis is on disk when they are carried out.
        if let Some(log) = &mut self.decision_log {
            let (made, policies) = self.pipeline.made_mut();
            if let Err(error) = log.note(made, policies) {
                let text = format!("a crisis is not in the decision log: {error}");
                tell(at_ms, Told::Note("decision log", &text));
            }
        }
        self.keep_step(event, &effects, heard, tell);
        let mut asked = Asked::default();
        for effect in effects {
            tell(at_ms, Told::Effect(&effect));
            match effect {
                Effect::Repair(repair) => asked.repairs.push(*repair),
                Effect::Examine { target } => asked.examine.push(target),
                Effect::PolicySwapped { .. } | Effect::PolicyService { .. } => {
                    asked.of_policies.push(effect);
                }
                Effect::Preserve {
                    target, incident, ..
                }
                | Effect::CopyAside { target, incident }
                    if self.keeps_copies =>
                {
                    self.preserve(&target, &incident);
                }
                _ => {}
            }
        }
        asked
    }

    /// Keeps what came of an event, before any of it is carried out.
    fn keep_step(
        &mut self,
        event: &Event,
        effects: &[Effect],
        heard: Option<u64>,
        tell: &mut Listener<'_>,
    ) {
        let at_ms = event.at_ms();
        let changes =
            |effect: &Effect| !matches!(effect, Effect::Noticed { .. } | Effect::Decided(_));
        // What a person said comes only once.
        let carry = event.is_of_person() || effects.iter().any(changes);
        let new = effects.iter().filter(|effect| self.is_new(effect));
        let entry = |effect: &Effect| JournalEntry::Happened {
            effect: effect.clone(),
        };
        let step = Step {
            entries: new.map(|effect| (at_ms, entry(effect))).collect(),
            heard,
            carried: carry.then(|| self.pipeline.carried()),
            services: None,
        };
        self.written.keep(step, tell);
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

    /// Begins to copy a target's files aside, as they are, once for an incident; what comes of it is
    /// reported when it is done.
    fn preserve(&mut self, target: &str, incident: &str) {
        if let Some(site) = self.sites.get(target) {
            let of = OfTarget {
                target: target.to_owned(),
                incident: incident.to_owned(),
                database: site.path.clone(),
                most_lock: Duration::from_millis(self.pace.snapshot_max_lock_ms),
            };
            self.preserver.begin(of, self.areas(), &self.exe);
        }
    }

    /// Runs a repair to its end, in this thread, and lets the pipeline hear how it ended.
    ///
    /// # Errors
    /// When the journal cannot be written, or the target is not configured.
    pub fn repair(
        &mut self,
        approved: &ApprovedRepair,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<(Event, Asked)> {
        let site = self.site(approved)?;
        let place = acts_on(&self.areas(), &self.exe, &site.path, &site.may_end);
        let _turn = site.turn_to_repair();
        let store = Arc::clone(&self.written.store);
        let begin = &mut |intent: &Intent| self.may_begin(approved, intent);
        let on_step = &mut |step: &StepReport| tell(step.at_ms, Told::Step(step));
        let ended = repair_run::run_begun_by(
            begin,
            &store,
            &SqliteRepairs,
            approved,
            &place,
            &now_ms,
            on_step,
        )?;
        let (event, closed) = ended_event(approved.target().to_owned(), ended);
        let asked = self.feed_numbered(&event, closed, tell);
        Ok((event, asked))
    }

    /// Writes down that a repair begins, with what must be kept when it does, unless something came to speak against
    /// it. Where it says no, nothing was done.
    fn may_begin(&mut self, approved: &ApprovedRepair, intent: &Intent) -> Result<(), String> {
        let at_ms = now_ms();
        if let Some(why) = self.pipeline.objection_since(approved, at_ms) {
            return Err(why);
        }
        // From here on its approval is used, and it counts.
        self.pipeline.begun(approved.target());
        let begun = self
            .written
            .begin_repair(at_ms, intent, self.pipeline.carried());
        begun.map_err(|error| repair_run::cannot_be_written(&error))
    }

    /// Where workers put files.
    fn areas(&self) -> Areas {
        Areas::at(self.written.dir.root())
    }

    /// The database that an approved repair is about.
    fn site(&self, approved: &ApprovedRepair) -> anyhow::Result<Arc<Site>> {
        let site = self.sites.get(approved.target()).cloned();
        site.with_context(|| format!("target {} is not configured", approved.target()))
    }

    /// Removes the copies that checks of a killed run made to read. No target is asked for: its disk may
    /// not answer.
    fn clear_scratch(&self) {
        for (rights, area) in self.areas().all() {
            let scratch = area.scratch();
            if scratch.symlink_metadata().is_ok() {
                // What stays only takes room; the next start tries again.
                let removed = RawProcess::spawn(&self.exe)
                    .and_then(|mut raw| raw.discard_as(rights, &scratch));
                if let Err(error) = removed {
                    tracing::warn!("{}: {error}", scratch.display());
                }
            }
        }
    }
}

/// What was learned to be normal; nothing where it cannot be read any more.
fn load_baselines(
    state_dir: &StateDir,
    tell: &mut Listener<'_>,
) -> Result<BTreeMap<String, Detector>, StateError> {
    match state_dir.load_baselines() {
        // What is normal can be learned anew; the watch must not wait for a person.
        Err(error @ StateError::Damaged { .. }) => {
            let aside = state_dir.set_baselines_aside()?;
            let text = format!("learned anew: {error}; now {}", aside.display());
            tell(now_ms(), Told::Note("baselines", &text));
            Ok(BTreeMap::new())
        }
        loaded => loaded,
    }
}

/// Halts each target that a repair was at work on, as another database knew that is damaged or gone. Says which
/// repairs these were.
fn halt_lost(
    store: &Store,
    sites: &[Site],
    carried: &mut Carried,
    tell: &mut Listener<'_>,
) -> Vec<String> {
    let mut halted = Vec::new();
    for intent in store.lost() {
        let (repair, id) = (&intent.candidate.id, &intent.repair_id);
        let mut is_target = false;
        for site in sites
            .iter()
            .filter(|site| is_same_file(&site.path, &intent.path))
        {
            is_target = true;
            let why = format!(
                "{repair} ({id}) was under way when the state was lost: what it did is not known; look at the \
                 database, then `dbmedic release {}`",
                site.name
            );
            tell(now_ms(), Told::Note(HALT, &format!("{}: {why}", site.name)));
            let target = carried.targets.entry(site.name.clone()).or_default();
            target.guard.halted.get_or_insert(why);
        }
        if is_target {
            halted.push(id.clone());
        } else {
            let text = format!(
                "{repair} of {} ({}) was under way when the state was lost, and is left as it is: this database \
                 is not a target here",
                intent.target,
                intent.path.display()
            );
            tell(now_ms(), Told::Note(OPEN_REPAIR, &text));
        }
    }
    halted
}

/// Halts each target of which an earlier state may have known what nobody knows any more.
fn halt_unknown(sites: &[Site], carried: &mut Carried, tell: &mut Listener<'_>) {
    for site in sites {
        if carried.targets.contains_key(&site.name) {
            continue;
        }
        let why = format!(
            "the state was begun anew: whether a person, a policy or the guard had stopped repairs is not known; \
             look at the database, then `dbmedic release {}`",
            site.name
        );
        tell(now_ms(), Told::Note(HALT, &format!("{}: {why}", site.name)));
        let target = carried.targets.entry(site.name.clone()).or_default();
        target.guard.halted.get_or_insert(why);
    }
}

/// What the pipeline hears of how a repair ended, and the number of that in the journal.
fn ended_event(target: String, ended: repair_run::Ended) -> (Event, Option<u64>) {
    let event = Event::RepairEnded {
        target,
        at_ms: now_ms(),
        begun: ended.begun(),
        outcome: ended.outcome,
        interrupted: false,
    };
    (event, ended.closed)
}

/// Where a repair of a database acts. Where there can be no copies, the repair says so.
fn acts_on(areas: &Areas, exe: &Path, path: &Path, may_end: &[String]) -> repair::Site {
    let rights = Place::of(path).ok().and_then(|place| place.rights());
    let area = areas.of(rights.as_ref());
    repair::Site {
        path: path.to_owned(),
        may_end: may_end.to_vec(),
        copies: area
            .unwrap_or_else(|_| areas.existing(rights.as_ref()))
            .copies(),
        exe: exe.to_owned(),
    }
}

/// What a person reads where times of the last run were moved; none where they were not.
fn set_between_runs(moved_ms: i64) -> Option<String> {
    let way = if moved_ms < 0 { "back" } else { "forward" };
    let by = Duration::from_millis(moved_ms.unsigned_abs()).as_secs_f64();
    (moved_ms != 0).then(|| {
        format!(
            "the wall clock was set {way} by {by:.0} s since the last run began: the times of open incidents, \
             approvals and earlier repairs were moved with it, so that their ages stay what they are"
        )
    })
}

/// Whether two paths lead to the same file; where one is missing, whether they are the same path.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.to_owned())
    };
    place(one) == place(other)
}

/// What a gate has not heard of a policy: a run that ended before it could write everything may have
/// carried over what its breaker said, and not what its gate made of it. A policy that its gate knows
/// to be on probation, and its breaker does not, begins it here.
fn missed(known: &KnownStanding<'_>, breakers: &mut BreakerRecords) -> Option<ServiceChange> {
    let records = breakers.entry(known.policy.to_owned()).or_default();
    let record = match known.probation {
        Some(bounds) => records
            .entry(known.digest.to_owned())
            .or_insert_with(|| BreakerRecord::on_probation(bounds, now_ms())),
        None => records.get_mut(known.digest)?,
    };
    match record.state() {
        BreakerState::Open { until_ms } => (!known.is_out).then(|| ServiceChange::OutOfService {
            until_ms,
            reason: "it kept failing before dbmedic ended".to_owned(),
            on_probation: known.probation.is_some(),
        }),
        BreakerState::Closed if known.is_out => Some(ServiceChange::BackInService),
        BreakerState::Closed | BreakerState::HalfOpen => {
            (known.probation.is_some() && record.is_proven()).then_some(ServiceChange::Proved)
        }
    }
}
