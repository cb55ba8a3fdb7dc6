//! One run: neighbours beside a database, dbmedic in mode `enforce`, and what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;
use rustix::process::Signal;

use crate::kind::Kind;
use crate::log::{Log, claims_damage};
use crate::plan::{Interruption, Plan};
use crate::process::Neighbour;
use crate::program::{ChildArguments, Fault};
use crate::promised;
use crate::scene::Scene;
use crate::watcher::Watcher;

/// How long the control waits for the repair of a real fault.
const REPAIR_WITHIN: Duration = Duration::from_secs(40);
/// How often a long run reports.
const REPORT_EVERY: Duration = Duration::from_mins(10);
/// How often the clock is set in a run in which it is.
const CLOCK_EVERY: Duration = Duration::from_millis(600);
/// How often the run looks at its processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Names of processes that only the control has.
const FAULT_NAMES: [&str; 2] = ["idle-holder", "endless-reader"];

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) log: Log,
    /// Rows that writers were promised and that are there.
    pub(crate) rows: i64,
    /// Neighbours that the run itself killed and started again.
    pub(crate) kills: u32,
    /// Neighbours that ended without being asked to.
    pub(crate) ended: Vec<String>,
    /// Whether the faulty process was ended, where there was one.
    pub(crate) fault_ended: bool,
    /// Everything else that is wrong.
    pub(crate) faults: Vec<String>,
}

impl Outcome {
    /// What is wrong with this outcome, one line each; empty when nothing is.
    pub(crate) fn wrong(&self, plan: &Plan) -> Vec<String> {
        let mut wrong = self.faults.clone();
        wrong.extend(self.ended.iter().map(|who| format!("ended: {who}")));
        wrong.extend(self.log.halts.iter().map(|why| format!("halt: {why}")));
        wrong.extend(self.log.crises.iter().map(|what| format!("crisis: {what}")));
        let claims = self.log.incidents.keys().filter(|kind| claims_damage(kind));
        wrong.extend(claims.map(|kind| format!("incident: {kind}")));
        let repair = match plan.fault {
            None => {
                wrong.extend(self.log.approved.iter().map(|r| format!("repair: {r}")));
                return wrong;
            }
            Some(Fault::IdleHolder) => "lock.end-holder",
            // Without a log it keeps writers from committing.
            Some(Fault::EndlessReader) if plan.settings.journal_mode != "wal" => "lock.end-holder",
            Some(Fault::EndlessReader) => "wal.release-reader",
        };
        if !self.fault_ended {
            wrong.push("control: the faulty process was not ended".into());
        }
        if !self.log.verified.iter().any(|done| done == repair) {
            wrong.push(format!("control: no {repair} was verified"));
        }
        wrong
    }
}

/// Runs a plan in a directory.
pub(crate) fn run(plan: &Plan, dbmedic: &Path, dir: &Path) -> anyhow::Result<Outcome> {
    let scene = Scene::create(dir, plan.settings.clone())?;
    let mut stage = Stage::set(plan, &scene)?;
    let names = stage.names();
    let config = scene.configure(&names)?;
    let mut watcher = Watcher::start(
        dbmedic,
        &config,
        &scene,
        plan.dbmedic_contained,
        plan.interruption,
    )?;
    let mut outcome = Outcome::default();
    stage.play(plan, &scene, &mut watcher, &mut outcome)?;
    if let Some(wrong) = watcher.stop()? {
        outcome.faults.push(format!("dbmedic {wrong}"));
    }
    stage.clear(&mut outcome)?;
    if !scene.recording().exists() {
        let told = std::fs::read_to_string(scene.output()).unwrap_or_default();
        anyhow::bail!("dbmedic made no recording: {}", told.trim());
    }
    outcome.log = Log::read(&scene.recording())?;
    if outcome.log.observations < 8 {
        let seen = outcome.log.observations;
        outcome.faults.push(format!("only {seen} observations"));
    }
    if plan.interruption == Interruption::Clock {
        let told = std::fs::read_to_string(scene.output()).unwrap_or_default();
        if !told.contains("clock was set") {
            let fault = "dbmedic does not report that its clock was set";
            outcome.faults.push(fault.into());
        }
    }
    let database = Connection::open(scene.database())?;
    let kept = promised::compare(&database, &scene.logs(), plan.seed, &stage.writers())?;
    outcome.rows = kept.rows;
    outcome.faults.extend(kept.faults);
    Ok(outcome)
}

/// The processes of a run.
struct Stage {
    neighbours: Vec<Neighbour>,
    fault: Option<Neighbour>,
    random: StdRng,
}

impl Stage {
    fn set(plan: &Plan, scene: &Scene) -> anyhow::Result<Self> {
        let mut stage = Self {
            neighbours: Vec::new(),
            fault: None,
            random: StdRng::seed_from_u64(!plan.seed),
        };
        if !plan
            .kinds
            .iter()
            .any(|kind| kind.is_alone() || kind.needs_short_connections())
        {
            stage.start(plan, scene, "app", None, false)?;
        }
        for &kind in &plan.kinds {
            for _ in 0..kind.processes() {
                let contained = kind.is_contained();
                stage.start(plan, scene, &kind.process_name(), Some(kind), contained)?;
            }
        }
        if let Some(fault) = plan.fault {
            let name = match fault {
                Fault::IdleHolder => FAULT_NAMES[0],
                Fault::EndlessReader => FAULT_NAMES[1],
            };
            let mut arguments = stage.arguments(plan, scene, name);
            arguments.fault = Some(fault);
            stage.fault = Some(Neighbour::start(
                arguments,
                scene.dir.join("fault.err"),
                false,
            )?);
        }
        Ok(stage)
    }

    fn arguments(&self, plan: &Plan, scene: &Scene, name: &str) -> ChildArguments {
        ChildArguments {
            name: name.to_owned(),
            database: scene.database(),
            dir: scene.logs(),
            writer: u32::try_from(self.neighbours.len()).unwrap_or(u32::MAX),
            seed: plan.seed,
            threshold_ms: plan.settings.threshold_ms,
            journal_mode: plan.settings.journal_mode.to_owned(),
            kind: None,
            fault: None,
            quiet: plan.quiet,
            steady: false,
            soak: plan.soak,
            once: false,
        }
    }

    fn start(
        &mut self,
        plan: &Plan,
        scene: &Scene,
        name: &str,
        kind: Option<Kind>,
        contained: bool,
    ) -> anyhow::Result<()> {
        let mut arguments = self.arguments(plan, scene, name);
        arguments.kind = kind;
        let stderr = scene.dir.join(format!("{name}-{}.err", arguments.writer));
        self.neighbours
            .push(Neighbour::start(arguments, stderr, contained)?);
        Ok(())
    }

    /// Every name that a process of this run may have.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .neighbours
            .iter()
            .map(|neighbour| neighbour.arguments().name.clone())
            .collect();
        names.extend(FAULT_NAMES.map(str::to_owned));
        names.extend(["unshare", "neighbours", "cp"].map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    /// Lets the time of the run pass. The control ends when the fault is repaired.
    fn play(
        &mut self,
        plan: &Plan,
        scene: &Scene,
        watcher: &mut Watcher,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut next_crash = self.crash_in();
        let mut interruption_at = plan.time.mul_f64(self.random.random_range(0.3..0.5));
        let mut next_report = REPORT_EVERY;
        loop {
            std::thread::sleep(LOOK_EVERY);
            let passed = begin.elapsed();
            if let Some(how) = watcher.ended()? {
                outcome.faults.push(format!("dbmedic ended with {how}"));
                return Ok(());
            }
            if passed >= interruption_at {
                self.interrupt(plan, watcher)?;
                // A clock is set again and again, so that each kind of hold meets it.
                interruption_at = match plan.interruption {
                    Interruption::Clock => passed + CLOCK_EVERY,
                    _ => Duration::MAX,
                };
            }
            if passed >= next_report {
                next_report = passed + REPORT_EVERY;
                report(passed, scene);
            }
            if passed >= next_crash {
                next_crash = passed + self.crash_in();
                for neighbour in &mut self.neighbours {
                    if neighbour.arguments().kind == Some(Kind::Crash) {
                        neighbour.crash()?;
                    }
                }
            }
            match &mut self.fault {
                None if passed >= plan.whole_time() => return Ok(()),
                None => {}
                Some(fault) => {
                    outcome.fault_ended = fault.ended()?.is_some();
                    let told = std::fs::read_to_string(scene.output()).unwrap_or_default();
                    if (outcome.fault_ended && told.contains(" verified in "))
                        || passed >= REPAIR_WITHIN
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Stops dbmedic, or everybody, for a while; or sets dbmedic's clock.
    fn interrupt(&mut self, plan: &Plan, watcher: &Watcher) -> anyhow::Result<()> {
        match plan.interruption {
            Interruption::None => {}
            Interruption::Clock => {
                let hours = self.random.random_range(-1..=1);
                watcher.shift_clock(hours * 3600)?;
            }
            Interruption::Stop => {
                watcher.signal(Signal::STOP)?;
                std::thread::sleep(plan.stop_time);
                watcher.signal(Signal::CONT)?;
            }
            Interruption::Suspend => {
                for neighbour in &self.neighbours {
                    neighbour.signal(Signal::STOP)?;
                }
                watcher.signal_all(Signal::STOP)?;
                std::thread::sleep(plan.stop_time);
                watcher.signal_all(Signal::CONT)?;
                for neighbour in &self.neighbours {
                    neighbour.signal(Signal::CONT)?;
                }
            }
        }
        Ok(())
    }

    fn crash_in(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(300..1500))
    }

    /// Ends all neighbours. Whoever had ended before, or ends with an error, is told.
    fn clear(&mut self, outcome: &mut Outcome) -> anyhow::Result<()> {
        // The faulty one first: it may keep others from ending.
        self.fault = None;
        for neighbour in &mut self.neighbours {
            if let Some(how) = neighbour.stop()? {
                let errors = neighbour.errors();
                let name = &neighbour.arguments().name;
                outcome
                    .ended
                    .push(format!("{name} {how} {}", errors.trim()));
            }
            outcome.kills += neighbour.kills;
        }
        Ok(())
    }

    /// Each process that may have written promised rows, and how often it was killed.
    fn writers(&self) -> Vec<(u32, u32)> {
        self.neighbours
            .iter()
            .filter(|neighbour| {
                neighbour
                    .arguments()
                    .kind
                    .is_none_or(|kind| !kind.only_reads())
            })
            .map(|neighbour| (neighbour.arguments().writer, neighbour.kills))
            .collect()
    }
}

/// Says how a long run goes.
fn report(passed: Duration, scene: &Scene) {
    let minutes = passed.as_secs() / 60;
    match Log::read(&scene.recording()) {
        Ok(log) => println!(
            "{minutes} min: {} observations, incidents {:?}, repairs {:?}",
            log.observations, log.incidents, log.approved
        ),
        // Its last line may be half written.
        Err(error) => println!("{minutes} min: {error:#}"),
    }
}
