//! One run: neighbours beside a database, dbmedic in mode `enforce`, and what came of it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use crate::kind::Kind;
use crate::log::{Log, claims_damage};
use crate::process::Neighbour;
use crate::program::{ChildArguments, Fault};
use crate::promised;
use crate::scene::{Scene, Settings};

/// How long dbmedic may take to end after SIGTERM: it brings a repair to its end first.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the control waits for the repair of a real fault.
const REPAIR_WITHIN: Duration = Duration::from_secs(40);
/// How often the run looks at its processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Names of processes that only the control has.
const FAULT_NAMES: [&str; 2] = ["idle-holder", "endless-reader"];

/// What one run is made of; all of it follows from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) fault: Option<Fault>,
    /// Whether the application writes rarely, and much at once.
    pub(crate) quiet: bool,
    pub(crate) settings: Settings,
    pub(crate) time: Duration,
    /// Whether dbmedic runs in a container of its own.
    pub(crate) dbmedic_contained: bool,
}

impl Plan {
    /// The run with this seed. `kind` is what it is about; others are chosen to go with it.
    pub(crate) fn of(seed: u64, kind: Kind, others: &[Kind], with_fault: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut kinds = vec![kind];
        let quiet = !with_fault && kind.likes_quiet() && random.random_bool(0.5);
        if kind.needs_short_connections() {
            kinds.push(Kind::Cron);
        } else if !kind.is_alone() {
            let companions: Vec<_> = others
                .iter()
                .copied()
                .filter(|other| !other.is_alone() && !other.needs_short_connections())
                .filter(|other| !other.is_contained() && *other != kind)
                .filter(|other| !quiet || other.likes_quiet())
                .collect();
            for _ in 0..random.random_range(0..=2) {
                if companions.is_empty() {
                    break;
                }
                let other = companions[random.random_range(0..companions.len())];
                if !kinds.contains(&other) {
                    kinds.push(other);
                }
            }
        }
        let fault = with_fault.then(|| {
            if random.random_bool(0.5) {
                Fault::IdleHolder
            } else {
                Fault::EndlessReader
            }
        });
        if fault == Some(Fault::EndlessReader) && !kinds.contains(&Kind::BulkLoad) {
            // A reader is in the way of the log only when the log grows.
            kinds.push(Kind::BulkLoad);
        }
        let wal = fault.is_some()
            || kind.needs_short_connections()
            || kinds.iter().any(|kind| kind.needs_wal())
            || random.random_bool(0.7);
        let journal_mode = if wal {
            "wal"
        } else {
            ["delete", "truncate", "persist"][random.random_range(0..3)]
        };
        let settings = Settings {
            journal_mode,
            threshold_ms: random.random_range(1500..=2500),
            interval_ms: [100, 200, 400][random.random_range(0..3)],
            check_interval_ms: [700, 2000, 5000][random.random_range(0..3)],
        };
        Self {
            seed,
            kinds,
            fault,
            quiet,
            settings,
            time: Duration::from_millis(random.random_range(6000..=10_000)),
            dbmedic_contained: kind == Kind::Containers,
        }
    }

    /// Its parts in one line.
    pub(crate) fn describe(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        let fault = match self.fault {
            None => "",
            Some(Fault::IdleHolder) => " + idle holder",
            Some(Fault::EndlessReader) => " + endless reader",
        };
        let quiet = if self.quiet { " in quiet times" } else { "" };
        format!(
            "seed {} {}{fault}{quiet} ({}, threshold {} ms, observed every {} ms)",
            self.seed,
            kinds.join(" + "),
            self.settings.journal_mode,
            self.settings.threshold_ms,
            self.settings.interval_ms,
        )
    }
}

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
    let mut watcher = Watcher::start(dbmedic, &config, &scene, plan.dbmedic_contained)?;
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
        loop {
            std::thread::sleep(LOOK_EVERY);
            let passed = begin.elapsed();
            if let Some(status) = watcher.child.try_wait()? {
                outcome.faults.push(format!("dbmedic ended with {status}"));
                return Ok(());
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
                None if passed >= plan.time => return Ok(()),
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

/// The dbmedic that watches.
struct Watcher {
    child: Child,
    contained: bool,
}

impl Watcher {
    fn start(
        dbmedic: &Path,
        config: &Path,
        scene: &Scene,
        contained: bool,
    ) -> anyhow::Result<Self> {
        let mut command = if contained {
            let mut unshare = Command::new("unshare");
            unshare
                .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
                .arg(dbmedic);
            unshare
        } else {
            Command::new(dbmedic)
        };
        let output = File::create(scene.output())?;
        let child = command
            .arg("run")
            .arg("-c")
            .arg(config)
            .arg("--record")
            .arg(scene.recording())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start dbmedic")?;
        Ok(Self { child, contained })
    }

    /// The process id of dbmedic itself, as seen from here.
    fn pid(&self) -> anyhow::Result<Pid> {
        let mut pid = self.child.id();
        if self.contained {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(&path)?;
            pid = children
                .trim()
                .parse()
                .with_context(|| format!("{path}: {children:?}"))?;
        }
        Pid::from_raw(i32::try_from(pid)?).context("no process id")
    }

    /// Stops it with SIGTERM and waits. An ending other than a clean one is told.
    fn stop(&mut self) -> anyhow::Result<Option<String>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(format!("ended too early with {status}")));
        }
        kill_process(self.pid()?, Signal::TERM)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok((!status.success()).then(|| format!("ended with {status}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Some("does not end on SIGTERM".into()))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
