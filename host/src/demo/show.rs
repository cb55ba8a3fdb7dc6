//! `dbmedic demo`: one fault after another, each noticed, judged, healed (or rightly left alone),
//! and at the end the proof.
//!
//! It drives the same live driver as `dbmedic run`. What the right answer to a fault is, it knows
//! from the injector and never from dbmedic.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::faults::{
    Fingerprint, WalPlace, damage_index, damage_wal, hold_write_lock, read_without_end,
};
use super::proof::{Proof, prove};
use super::workload::{Pace, Workload};
use super::{Acknowledged, Scene};
use crate::assemble::assemble;
use crate::clock::now_ms;
use crate::command::{Command, Request};
use crate::config::{Config, Target};
use crate::escape::{escaped, escaped_json};
use crate::guard::Mode;
use crate::live::{Commands, Live, Told};
use crate::model::{Classification, OutcomeResult, Setting, Value, Verdict};
use crate::pipeline::Effect;
use crate::repair_run::StepReport;
use crate::report::{Narrator, result_name, seconds, verdict_line};

/// The target's name.
const TARGET: &str = "orders";

/// Frames that a log must hold before it is damaged.
const LOG_FRAMES: u32 = 400;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long a wish to stop may go unheard.
const ATTENTION: Duration = Duration::from_millis(200);

/// The policy's parameters for a show: production waits 300 s before it ends a lock's holder.
const PARAMETERS: [(&str, i64); 4] = [
    ("stale_lock_age_ms", 2_000),
    ("reader_age_ms", 2_000),
    ("watch_return_ms", 5_000),
    ("warn_return_ms", 5_000),
];

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Repeat a run: rows, places of damage and the writers' pauses follow from it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keep a recording in this file, for `dbmedic replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
    /// Leave the database and dbmedic's state in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Writer processes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    writers: u32,
    /// Rows at the beginning
    #[arg(long, default_value_t = 30_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    rows: u32,
}

/// What came of one fault.
#[derive(Debug, Serialize)]
struct Row {
    fault: &'static str,
    kind: &'static str,
    detect_ms: u64,
    verdict: String,
    repair: Option<String>,
    repair_ms: Option<u64>,
    lost_commits: u64,
    result: String,
    right: bool,
}

/// What came of the whole, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    v: u32,
    seed: u64,
    faults: Vec<Row>,
    proof: Proof,
    right: bool,
}

/// Something heard from the live driver.
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
enum Heard {
    Effect(Effect),
    Step(StepReport),
    Note(&'static str, String),
}

/// Runs the demo.
///
/// # Errors
/// When a part of it cannot be set up, or something that must happen does not.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let scratch = tempfile::Builder::new()
        .prefix("dbmedic-demo-")
        .tempdir()
        .context("making a scratch directory")?;
    let dir = match &args.keep {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
            ensure!(
                is_empty(dir)?,
                "{} is not empty; name a new directory",
                dir.display()
            );
            dir.canonicalize()?
        }
        None => scratch.path().to_owned(),
    };
    let mut show = Show::open(args, &dir, seed)?;
    show.tell(&format!(
        "dbmedic demo, seed {seed}: a SQLite database of {} rows, {} writer processes",
        args.rows, args.writers
    ))?;
    let rows = show.faults()?;
    let proof = show.close()?;
    let right = proof.holds && rows.iter().all(|row| row.right);
    show_table(&mut show, &rows, &proof, right)?;
    if args.json {
        let report = Report {
            v: 1,
            seed,
            faults: rows,
            proof,
            right,
        };
        let report = serde_json::to_string(&report)?;
        writeln!(std::io::stdout().lock(), "{}", escaped_json(&report))?;
    }
    if args.keep.is_some() {
        show.tell(&format!("left in {}", dir.display()))?;
    }
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    Ok(std::fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .next()
        .is_none())
}

/// A show in progress.
struct Show {
    scene: Scene,
    workload: Workload,
    commands: mpsc::Receiver<Commands>,
    heard: Receiver<(u64, Heard)>,
    narrator: Narrator,
    stop: Arc<AtomicBool>,
    live: Option<thread::JoinHandle<anyhow::Result<()>>>,
    announced: Vec<Acknowledged>,
    quiet: bool,
    /// Ctrl-C or SIGTERM.
    interrupted: Arc<AtomicBool>,
}

impl Show {
    fn open(args: &DemoArgs, dir: &Path, seed: u64) -> anyhow::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .context("listening for signals")?;
        }
        let scene = Scene::new(dir.join("database"), seed, args.writers, args.rows);
        std::fs::create_dir_all(&scene.directory)
            .with_context(|| format!("making {}", dir.display()))?;
        let workload = Workload::start(&scene, Pace::default())?;
        let config = config(&scene, dir.join("dbmedic-state"));
        let setup = assemble(&config, args.record.clone(), seed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (send, heard) = mpsc::channel();
        let (hand_over, commands) = mpsc::channel();
        let told_to_stop = Arc::clone(&stop);
        let live = thread::Builder::new()
            .name("dbmedic".into())
            .spawn(move || {
                let mut listen = move |at_ms: u64, told: Told<'_>| {
                    let owned = match told {
                        Told::Effect(effect) => Heard::Effect(effect.clone()),
                        Told::Step(step) => Heard::Step(step.clone()),
                        Told::Note(label, text) => Heard::Note(label, text.to_owned()),
                    };
                    // Nobody listens any more when the show is being closed.
                    drop(send.send((at_ms, owned)));
                };
                let live = Live::start(setup, &mut listen)?;
                drop(hand_over.send(live.commands()));
                live.run(&told_to_stop, &mut listen)?;
                Ok(())
            })?;
        Ok(Self {
            scene,
            workload,
            commands,
            heard,
            narrator: Narrator::default(),
            stop,
            live: Some(live),
            announced: Vec::new(),
            quiet: args.json,
            interrupted,
        })
    }

    /// A line of the show. With `--json` the data alone goes to standard output.
    fn tell(&self, line: &str) -> std::io::Result<()> {
        if self.quiet {
            Ok(())
        } else {
            writeln!(std::io::stdout().lock(), "{}", escaped(line))
        }
    }

    fn headline(&self, fault: &str) -> std::io::Result<()> {
        self.tell("")?;
        self.tell(&format!(
            "── {fault} {}",
            "─".repeat(76_usize.saturating_sub(fault.chars().count()))
        ))
    }

    /// Listens until `found` says what it was waiting for, and tells everything meanwhile.
    fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(u64, &Effect) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            ensure!(
                !self.interrupted.load(Ordering::Relaxed),
                "interrupted; everything is cleaned up"
            );
            let left = deadline.saturating_duration_since(Instant::now());
            let (at_ms, heard) = match self.heard.recv_timeout(left.min(ATTENTION)) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => continue,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("waited {} s in vain for {what}", PATIENCE.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.end_live().context("dbmedic stopped by itself")?;
                    bail!("dbmedic stopped by itself");
                }
            };
            let lines = match &heard {
                Heard::Effect(effect) => self.narrator.tell(at_ms, effect),
                Heard::Step(step) => self.narrator.note(at_ms, "step", &step.to_string()),
                Heard::Note(label, text) => self.narrator.note(at_ms, label, text),
            };
            for line in lines {
                self.tell(&line)?;
            }
            if let Heard::Effect(effect) = &heard
                && let Some(it) = found(at_ms, effect)
            {
                return Ok(it);
            }
        }
    }

    fn faults(&mut self) -> anyhow::Result<Vec<Row>> {
        self.headline("learning what is normal")?;
        self.until("a baseline", |_, effect| {
            matches!(effect, Effect::BaselineEstablished { .. }).then_some(())
        })?;
        Ok(vec![
            self.lock_holder()?,
            self.endless_reader()?,
            self.corrupt_index()?,
            self.damaged_log_end()?,
            self.damaged_log_start()?,
        ])
    }

    fn lock_holder(&mut self) -> anyhow::Result<Row> {
        self.headline("a process takes the write lock and does nothing")?;
        let begun_ms = now_ms();
        let holder = hold_write_lock(&self.scene)?;
        let row = self.healed(
            "idle lock holder",
            "lock.stale-holder",
            "lock.end-holder",
            begun_ms,
            0,
        )?;
        ensure!(!holder.is_running(), "the holder still runs");
        Ok(row)
    }

    fn endless_reader(&mut self) -> anyhow::Result<Row> {
        self.headline("a reader never ends, the log grows")?;
        let usual = self.workload.pace();
        let begun_ms = now_ms();
        let reader = read_without_end(&self.scene)?;
        self.workload.set_pace(Pace {
            note_bytes: 16_384,
            ..usual
        })?;
        let row = self.healed(
            "endless reader",
            "wal.checkpoint-starved",
            "wal.release-reader",
            begun_ms,
            0,
        )?;
        self.workload.set_pace(usual)?;
        ensure!(!reader.is_running(), "the reader still runs");
        Ok(row)
    }

    fn corrupt_index(&mut self) -> anyhow::Result<Row> {
        self.headline("bytes of an index are damaged in the file")?;
        let damage = damage_index(&mut self.workload, None)?;
        self.tell(&format!(
            "{:25} {} entries of `{}` on page {}",
            "",
            damage.cells.len(),
            damage.index,
            damage.page
        ))?;
        self.healed(
            "corrupt index",
            "index.corrupt",
            "index.rebuild",
            now_ms(),
            0,
        )
    }

    fn damaged_log_end(&mut self) -> anyhow::Result<Row> {
        self.headline("writers are killed, a frame near the log's end is damaged")?;
        let damage = damage_wal(&mut self.workload, WalPlace::NearEnd, LOG_FRAMES)?;
        self.tell(&format!(
            "{:25} frame {} of {}, {} commits at or behind it",
            "", damage.frame, damage.frames, damage.lost_commits
        ))?;
        let row = self.healed(
            "damaged log, near its end",
            "wal.corrupt-frame",
            "wal.keep-valid-prefix",
            now_ms(),
            damage.lost_commits,
        )?;
        self.announced.extend(damage.lost);
        self.workload.resume()?;
        Ok(row)
    }

    fn damaged_log_start(&mut self) -> anyhow::Result<Row> {
        self.headline("writers are killed, a frame early in the log is damaged")?;
        let damage = damage_wal(&mut self.workload, WalPlace::Early, LOG_FRAMES)?;
        self.tell(&format!(
            "{:25} frame {} of {}, {} commits at or behind it",
            "", damage.frame, damage.frames, damage.lost_commits
        ))?;
        let begun_ms = now_ms();
        let (incident, seen_ms) = self.opened("wal.corrupt-frame")?;
        let verdict = self.verdict(&incident)?;
        self.until("the halt", |_, effect| {
            matches!(effect, Effect::Preserve { incident: of, .. } if *of == incident).then_some(())
        })?;
        // The halt has to hold while the policy is asked again.
        self.until("a second verdict", |_, effect| {
            matches!(effect, Effect::Decided(d) if d.incident.as_deref() == Some(incident.as_str()))
                .then_some(())
        })?;
        let untouched = Fingerprint::of(&self.scene)? == damage.damaged;
        self.tell(&format!(
            "{:25} files are {} by dbmedic",
            "",
            if untouched { "untouched" } else { "CHANGED" }
        ))?;
        self.tell(&format!(
            "{:25} a person puts the good copy back and releases the target",
            ""
        ))?;
        damage.undo(&self.scene)?;
        let release = Command::Release {
            target: TARGET.to_owned(),
        };
        let request = Request::new(now_ms().to_string(), "the demo".to_owned(), None, release);
        let commands = self.commands.recv().context("dbmedic has ended")?;
        commands.give(request)?;
        self.workload.resume()?;
        self.resolved(&incident)?;
        let right = untouched
            && verdict.classification == Some(Classification::Crisis)
            && verdict.repair.is_none()
            && verdict.halt;
        Ok(Row {
            fault: "damaged log, early",
            kind: "wal.corrupt-frame",
            detect_ms: seen_ms.saturating_sub(begun_ms),
            verdict: verdict_line(&verdict),
            repair: None,
            repair_ms: None,
            lost_commits: 0,
            result: if right {
                "left alone, a person called"
            } else {
                "NOT left alone"
            }
            .to_owned(),
            right,
        })
    }

    /// Follows a fault whose right answer is a repair.
    fn healed(
        &mut self,
        fault: &'static str,
        kind: &'static str,
        repair: &str,
        begun_ms: u64,
        lost_commits: u64,
    ) -> anyhow::Result<Row> {
        let (incident, seen_ms) = self.opened(kind)?;
        let mut verdict = None;
        let outcome = self.until(&format!("the repair of {kind}"), |_, effect| match effect {
            Effect::Decided(d)
                if d.incident.as_deref() == Some(incident.as_str()) && d.finding.is_some() =>
            {
                verdict = Some(d.verdict.clone());
                None
            }
            Effect::RepairEnded { outcome, .. } if outcome.incident == incident => {
                Some(outcome.clone())
            }
            _ => None,
        })?;
        if outcome.outcome_result == OutcomeResult::Verified {
            self.resolved(&incident)?;
        }
        let right = outcome.outcome_result == OutcomeResult::Verified
            && outcome.repair == repair
            && outcome.loss.commits == lost_commits;
        Ok(Row {
            fault,
            kind,
            detect_ms: seen_ms.saturating_sub(begun_ms),
            verdict: verdict.as_ref().map(verdict_line).unwrap_or_default(),
            repair: Some(outcome.repair),
            repair_ms: Some(outcome.duration_ms),
            lost_commits: outcome.loss.commits,
            result: result_name(outcome.outcome_result).to_owned(),
            right,
        })
    }

    fn opened(&mut self, kind: &str) -> anyhow::Result<(String, u64)> {
        self.until(
            &format!("{kind} to be noticed"),
            |at_ms, effect| match effect {
                Effect::IncidentOpened { finding, .. } if finding.kind == kind => {
                    Some((finding.incident.clone(), at_ms))
                }
                _ => None,
            },
        )
    }

    fn verdict(&mut self, incident: &str) -> anyhow::Result<Verdict> {
        self.until("the verdict", |_, effect| match effect {
            Effect::Decided(d) if d.incident.as_deref() == Some(incident) => {
                Some(d.verdict.clone())
            }
            _ => None,
        })
    }

    fn resolved(&mut self, incident: &str) -> anyhow::Result<()> {
        self.until(&format!("{incident} to be over"), |_, effect| {
            matches!(effect, Effect::IncidentResolved { resolved, .. } if resolved.incident == incident)
                .then_some(())
        })
    }

    /// Stops the writers and dbmedic, and compares every acknowledged row with the database.
    fn close(&mut self) -> anyhow::Result<Proof> {
        self.headline("the proof")?;
        self.workload.stop()?;
        self.stop.store(true, Ordering::Relaxed);
        self.end_live()?;
        Ok(prove(&self.scene, &self.announced)?)
    }

    fn end_live(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(live) = self.live.take() else {
            return Ok(());
        };
        live.join()
            .map_err(|_| anyhow::anyhow!("dbmedic's thread panicked"))?
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        // On the way out of an error; what went wrong is told already.
        drop(self.end_live());
    }
}

/// The configuration of the show: as in production, only faster.
fn config(scene: &Scene, state_dir: PathBuf) -> Config {
    let mut config = Config {
        state_dir,
        mode: Mode::Enforce,
        ..Config::default()
    };
    config.observation.sample_interval_ms = 100;
    config.observation.tick_interval_ms = 1_000;
    config.observation.decide_interval_ms = 250;
    config.observation.lock_hold_ms = 500;
    config.observation.reader_hold_ms = 500;
    config.observation.wal_scan_interval_ms = 1_000;
    config.observation.quick_check_interval_ms = 2_000;
    config.observation.integrity_interval_ms = 2_000;
    config.snapshots.interval_ms = 15_000;
    config.guard.cool_down_ms = 0;
    // On a machine that is busy with other things the rebuild of an index takes its time, and the
    // writers of the demo wait for it.
    config.guard.max_lock_ms = 20_000;
    config.policy.parameters = PARAMETERS
        .iter()
        .map(|(name, value)| Setting {
            name: (*name).to_owned(),
            value: Value::Integer(*value),
        })
        .collect();
    config.targets = vec![Target {
        name: TARGET.to_owned(),
        sqlite: scene.database(),
        may_end: vec!["demo-holder".to_owned(), "demo-reader".to_owned()],
        policies: crate::pipeline::only_default(),
        mode: Mode::Enforce,
        constraints: config.constraints.clone(),
        maintenance: Vec::new(),
    }];
    config
}

fn show_table(show: &mut Show, rows: &[Row], proof: &Proof, right: bool) -> std::io::Result<()> {
    show.tell(&format!(
        "acknowledged {} commits, {} of them announced as lost; expected {} rows, found {}",
        proof.acknowledged_commits, proof.announced_commits, proof.expected_rows, proof.found_rows
    ))?;
    show.tell(&format!(
        "missing {}, different {}, unexpected {}; committed but not acknowledged before a kill: {}",
        proof.missing, proof.different, proof.unexpected, proof.unacknowledged
    ))?;
    show.tell(&format!("expected sha256 {}", proof.expected_digest))?;
    show.tell(&format!("found    sha256 {}", proof.found_digest))?;
    for offender in &proof.offenders {
        show.tell(&format!("row {}: {}", offender.row, offender.what))?;
    }
    for fault in &proof.integrity_faults {
        show.tell(&format!("integrity check: {fault}"))?;
    }
    show.tell("")?;
    let line = |cells: [&str; 6]| {
        let [fault, detect, verdict, repair, took, result] = cells;
        format!("{fault:<26} {detect:>9}  {verdict:<38} {repair:<22} {took:>8}  {result}")
    };
    show.tell(&line([
        "fault", "detected", "verdict", "repair", "took", "result",
    ]))?;
    for row in rows {
        let verdict = row.verdict.split(", repair").next().unwrap_or_default();
        let verdict = verdict.split(", no repair").next().unwrap_or_default();
        show.tell(&line([
            row.fault,
            &seconds(row.detect_ms),
            verdict,
            row.repair.as_deref().unwrap_or("none"),
            &row.repair_ms.map(seconds).unwrap_or_default(),
            &format!("{}{}", row.result, if row.right { "" } else { " (WRONG)" }),
        ]))?;
    }
    show.tell("")?;
    show.tell(if right {
        "every fault got the right answer; no acknowledged row is missing but the announced ones"
    } else {
        "NOT every fault got the right answer, or rows are missing"
    })
}
