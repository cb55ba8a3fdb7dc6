//! `check` and `repair`: one visit to one database.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Ended, PolicyArgs, complain, say, say_json, somebody_looks_on};
use crate::assemble::assemble;
use crate::clock::now_ms;
use crate::config::{Config, DEFAULT_STATE_DIR, ROOTS_STATE_DIR, Target, is_root};
use crate::digest::hex;
use crate::guard::Mode;
use crate::health::{CheckReport, Health};
use crate::live::{HALT, Live, OPEN_REPAIR, STATE, Setup, Told};
use crate::model::{Finding, Outcome, OutcomeResult, Verdict};
use crate::pipeline::{Effect, Event, RulingSummary};
use crate::report::{Narrator, outcome_line, plan_lines, seconds, verdict_line};
use crate::source::State;
use crate::sqlite::worker::Pool;
use crate::sqlite_state::set::NOT_JUDGEABLE;
use crate::watch::Looker;

/// What both visits take.
#[derive(Debug, Args)]
struct VisitArgs {
    /// The database: a path, or `sqlite:PATH`
    target: String,
    /// How long to watch, milliseconds: a held lock is told from a busy one by watching
    #[arg(long, default_value_t = 1500, value_name = "MS")]
    watch_ms: u64,
    /// Name of a process that a repair may end; may be given several times
    #[arg(long, value_name = "NAME")]
    may_end: Vec<String>,
    /// Take guard, constraints and the policy's parameters from this config file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    visit: VisitArgs,
}

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    visit: VisitArgs,
    /// Do it; without this only the plan is shown
    #[arg(long)]
    apply: bool,
    /// Where dbmedic keeps its own state: journal, copies, snapshots (default: dbmedic-state, for
    /// root a directory for each database in /var/lib/dbmedic/repairs)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Committed transactions that a repair may lose at most
    #[arg(long, value_name = "N")]
    max_loss_commits: Option<u64>,
    /// End this very process with SIGKILL right before the Nth write of its state (crash tests)
    #[arg(long, hide = true, value_name = "N")]
    kill_before: Option<u64>,
    /// End this very process with SIGKILL right after the Nth write of its state (crash tests)
    #[arg(long, hide = true, value_name = "N")]
    kill_after: Option<u64>,
}

/// Whether a visit takes a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    None,
    Taken,
}

/// What a visit came to, for `--json`.
#[derive(Debug, Default, Serialize)]
struct Visit {
    v: u32,
    target: String,
    healthy: bool,
    /// How healthy it is on each level, with the reasons.
    health: Health,
    /// The checks that were made.
    checks: Vec<CheckReport>,
    problems: Vec<Problem>,
    /// What is worth knowing although it is no problem: what could not be judged, and why.
    notes: Vec<String>,
    repairs: Vec<Outcome>,
    /// Why the content was not checked, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchecked: Option<String>,
    /// Why it could not be kept for the next visit.
    #[serde(skip)]
    unkept: Option<anyhow::Error>,
}

/// A problem with what was said to it.
#[derive(Debug, Serialize)]
struct Problem {
    finding: Finding,
    verdict: Option<Verdict>,
    ruling: Option<RulingSummary>,
}

impl Problem {
    fn new(finding: &Finding) -> Self {
        Self {
            finding: finding.clone(),
            verdict: None,
            ruling: None,
        }
    }
}

pub(crate) fn check(args: &CheckArgs) -> Ended {
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    let config = config_for(&args.visit, Mode::Observe, scratch.path().join("state"))?;
    let mut setup = assemble(&config, None, 0)?;
    setup.keeps_copies = false;
    // A snapshot would be gone with the scratch directory.
    let visit = visit(setup, &args.visit, Snapshots::None)?;
    if args.visit.json {
        say_json(&visit)?;
    } else {
        if visit.healthy {
            say(&format!("{}: healthy", visit.target))?;
        }
        for problem in &visit.problems {
            say_problem(problem)?;
        }
        visit.say_notes()?;
    }
    if let Some(code) = visit.not_judged() {
        return Ok(code);
    }
    Ok(if visit.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

pub(crate) fn repair(args: &RepairArgs) -> Ended {
    let mode = if args.apply {
        Mode::Enforce
    } else {
        Mode::Observe
    };
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    let state_dir = if args.apply {
        match &args.state_dir {
            Some(named) => named.clone(),
            None if is_root() => roots_state_dir(&args.visit)?,
            None => DEFAULT_STATE_DIR.into(),
        }
    } else {
        scratch.path().join("state")
    };
    let mut config = config_for(&args.visit, mode, state_dir)?;
    // A person stands by: what was asked for is not held back by rates.
    config.guard.cool_down_ms = 0;
    if let Some(commits) = args.max_loss_commits {
        config.guard.max_loss_commits = commits;
    }
    let mut setup = assemble(&config, None, 0)?;
    setup.keeps_copies = args.apply;
    setup.store.kill_at(args.kill_before, args.kill_after);
    let visit = visit(setup, &args.visit, Snapshots::Taken)?;
    if args.visit.json {
        say_json(&visit)?;
    } else {
        for problem in &visit.problems {
            say_problem(problem)?;
        }
        for outcome in &visit.repairs {
            say(&outcome_line(outcome))?;
        }
        visit.say_notes()?;
        if visit.healthy {
            say(&format!("{}: healthy", visit.target))?;
        } else if visit
            .problems
            .iter()
            .all(|problem| problem.ruling.is_none())
        {
            if visit.repairs.is_empty() {
                complain(
                    "nothing was done: no repair is chosen for what is left; see what is suggested",
                );
            }
        } else if !args.apply {
            complain("nothing was done; `--apply` does it");
        }
    }
    if let Some(code) = visit.not_judged() {
        return Ok(code);
    }
    if let Some(error) = visit.unkept {
        return Err(error);
    }
    let failed = visit
        .repairs
        .iter()
        .any(|o| o.outcome_result == OutcomeResult::Failed);
    Ok(if visit.healthy && !failed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// What lets others pass through a directory.
const PASSABLE: u32 = 0o011;

/// Where root's state of a database is kept when nobody says where. Not in the current directory,
/// which may be anybody's, and apart from that of other databases of the same name.
fn roots_state_dir(args: &VisitArgs) -> anyhow::Result<PathBuf> {
    let path = path_of(args)?;
    let place = path
        .canonicalize()
        .with_context(|| format!("target {}", path.display()))?;
    let digest = hex(&Sha256::digest(place.as_os_str().as_encoded_bytes()));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = name_of(&place)
        .chars()
        .filter(|&c| plain(c))
        .take(64)
        .collect();
    let name = format!("{name}-{}", &digest[..16]);
    let dir = Path::new(ROOTS_STATE_DIR).join("repairs").join(name);
    let above = dir.parent().unwrap_or(Path::new(ROOTS_STATE_DIR));
    std::fs::create_dir_all(above).with_context(|| format!("making {}", above.display()))?;
    // A worker with the rights of the database's owner passes through to its own directory.
    for part in [Path::new(ROOTS_STATE_DIR), above] {
        let meta = std::fs::symlink_metadata(part).with_context(|| part.display().to_string())?;
        let mode = meta.mode() & 0o7777;
        if meta.is_dir() && meta.uid() == 0 && mode & PASSABLE != PASSABLE {
            std::fs::set_permissions(part, Permissions::from_mode(mode | PASSABLE))
                .with_context(|| part.display().to_string())?;
        }
    }
    complain(&format!("state and copies are kept in {}", dir.display()));
    Ok(dir)
}

/// The database that was typed.
fn path_of(args: &VisitArgs) -> anyhow::Result<PathBuf> {
    let path = args.target.strip_prefix("sqlite:").unwrap_or(&args.target);
    if let Some((scheme, _)) = path.split_once("://") {
        bail!(
            "target {}: `{scheme}` is not supported; give a path or sqlite:PATH",
            args.target
        );
    }
    Ok(path.into())
}

/// What a database is called in what is told of it.
fn name_of(path: &Path) -> String {
    path.file_stem()
        .map_or_else(|| "target".into(), |s| s.to_string_lossy().into_owned())
}

/// A configuration for one visit to one database.
fn config_for(args: &VisitArgs, mode: Mode, state_dir: PathBuf) -> anyhow::Result<Config> {
    let path = path_of(args)?;
    let meta = std::fs::metadata(&path).with_context(|| format!("target {}", path.display()))?;
    if !meta.is_file() {
        bail!("target {}: not a file", path.display());
    }
    let name = name_of(&path);
    let mut config = match &args.config {
        Some(file) => Config::load(file)?.config,
        None => Config::default(),
    };
    config.mode = mode;
    config.state_dir = state_dir;
    config.observation.sample_interval_ms = 100;
    config.observation.decide_interval_ms = 100;
    // Half the time to tell a held lock from a busy one, half for what follows.
    config.observation.lock_hold_ms = (args.watch_ms / 2).min(1000);
    config.observation.reader_hold_ms = config.observation.lock_hold_ms;
    config.targets = vec![Target {
        name,
        sqlite: path,
        may_end: args.may_end.clone(),
        policies: crate::pipeline::only_default(),
        mode,
        constraints: config.constraints.clone(),
        maintenance: Vec::new(),
    }];
    args.policy.lay_over(&mut config)?;
    Ok(config)
}

/// Looks for a while, lets repairs run to their end, and looks again until nothing more comes of it.
fn visit(setup: Setup, args: &VisitArgs, snapshots: Snapshots) -> anyhow::Result<Visit> {
    let pace = setup.pace;
    let (state_dir, exe) = (setup.state_dir.clone(), setup.exe.clone());
    let mut narrator = Narrator::default();
    let talk = somebody_looks_on() && !args.json;
    let mut visit = Visit {
        v: 1,
        ..Visit::default()
    };
    let mut tell = |at_ms: u64, told: Told<'_>| {
        let lines = narrator.told(at_ms, &told);
        // What nobody may miss.
        if talk || matches!(told, Told::Note(OPEN_REPAIR | STATE | HALT, _)) {
            for line in &lines {
                complain(line);
            }
        }
    };
    let mut live = Live::start(setup, &mut tell)?;
    let site = live.sites().next().cloned().context("no target")?;
    visit.target.clone_from(&site.name);
    let mut looker = Looker::new(site, pace, &state_dir, &Pool::new(&exe))?;
    let mut until_ms = None;
    let mut thorough = true;
    loop {
        let seen = looker.look(std::mem::take(&mut thorough));
        if let State::Unreachable { reason } = &seen.state {
            bail!("could not look at {}: {reason}", visit.target);
        }
        if let State::Sqlite(state) = &seen.state
            && let Some(integrity) = &state.integrity
        {
            visit.unchecked.clone_from(&integrity.error);
        }
        if snapshots == Snapshots::Taken
            && let Some(Err(error)) = looker.snapshot_if_due()
        {
            tell(
                now_ms(),
                Told::Note("snapshot", &format!("none taken: {error}")),
            );
        }
        let mut repaired = false;
        let mut tell = |at_ms: u64, told: Told<'_>| {
            if let Told::Effect(effect) = &told {
                visit.take(effect);
            }
            tell(at_ms, told);
        };
        let event = Event::Observed(seen);
        let mut heard = vec![(live.feed(&event, &mut tell), event)];
        while let Some((asked, event)) = heard.pop() {
            // What was refused may be refused for ever: it is not waited for.
            thorough |= !is_refused(&event) && !asked.examine.is_empty();
            for approved in asked.repairs {
                let (event, asked) = live.repair(&approved, &mut tell)?;
                repaired |= !is_refused(&event);
                heard.push((asked, event));
            }
        }
        if repaired {
            until_ms = Some(now_ms() + args.watch_ms);
        } else if now_ms() >= *until_ms.get_or_insert(now_ms() + args.watch_ms) && !thorough {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(pace.sample_interval_ms));
    }
    visit.unkept = live.finish(&mut tell).err();
    // A problem that was found may be what keeps it from being checked.
    if let Some(error) = visit
        .unchecked
        .as_ref()
        .filter(|_| visit.problems.is_empty())
    {
        bail!("could not check {}: {error}", visit.target);
    }
    visit.healthy = visit.problems.is_empty();
    visit.health = live
        .health(&visit.target, looker.reports())
        .unwrap_or_default();
    visit.checks = looker.reports().values().cloned().collect();
    visit.notes = looker.notes();
    visit.health.notes.clone_from(&visit.notes);
    Ok(visit)
}

/// Whether it is the end of a repair that was refused.
fn is_refused(event: &Event) -> bool {
    matches!(event, Event::RepairEnded { outcome, .. } if outcome.outcome_result == OutcomeResult::Refused)
}

impl Visit {
    /// The exit code of a database that cannot be judged, after saying so.
    fn not_judged(&self) -> Option<ExitCode> {
        let mut problems = self.problems.iter();
        let problem = problems.find(|p| p.finding.kind == NOT_JUDGEABLE)?;
        complain(&format!("{}: {}", self.target, problem.finding.summary));
        Some(ExitCode::from(2))
    }

    fn say_notes(&self) -> anyhow::Result<()> {
        for note in &self.notes {
            say(&format!("note: {note}"))?;
        }
        Ok(())
    }

    /// Keeps what stands at the end: problems that were not resolved, with the last word to each.
    fn take(&mut self, effect: &Effect) {
        let of = |problems: &[Problem], incident: &str| {
            problems.iter().position(|p| p.finding.incident == incident)
        };
        match effect {
            Effect::IncidentOpened { finding, .. } => self.problems.push(Problem::new(finding)),
            Effect::Decided(decided) => {
                let Some(finding) = &decided.finding else {
                    return;
                };
                let known = of(&self.problems, &finding.incident);
                // One that an earlier visit left open is seen again.
                let i = known.unwrap_or(self.problems.len());
                if known.is_none() {
                    self.problems.push(Problem::new(finding));
                }
                self.problems[i].finding = finding.clone();
                self.problems[i].verdict = Some(decided.verdict.clone());
            }
            Effect::Ruled {
                incident, ruling, ..
            } => {
                if let Some(i) = of(&self.problems, incident) {
                    self.problems[i].ruling = Some(ruling.clone());
                }
            }
            Effect::IncidentResolved { resolved, .. } => {
                if let Some(i) = of(&self.problems, &resolved.incident) {
                    self.problems.remove(i);
                }
            }
            Effect::RepairEnded { outcome, .. } => self.repairs.push(outcome.clone()),
            _ => {}
        }
    }
}

fn say_problem(problem: &Problem) -> anyhow::Result<()> {
    for line in plan_lines(&problem.finding) {
        say(&line)?;
    }
    if let Some(verdict) = &problem.verdict {
        say(&format!("  policy: {}", verdict_line(verdict)))?;
        for reason in &verdict.reasons {
            say(&format!("    because {} ({})", reason.text, reason.rule))?;
        }
        for suggestion in &verdict.suggestions {
            say(&format!("    suggests: {suggestion}"))?;
        }
    }
    match &problem.ruling {
        // The mode of a visit that only shows what would be done.
        Some(RulingSummary::Refused { law, .. }) if law == "guard.mode" => {
            say("  guard: nothing is written without `--apply`")?;
        }
        Some(RulingSummary::Refused { law, reason }) => {
            say(&format!("  guard: no: {reason} ({law})"))?;
        }
        Some(RulingSummary::Approved) => say("  guard: go")?,
        Some(RulingSummary::AwaitsPerson) => say("  guard: waits for a person")?,
        None => {}
    }
    let lasted = problem
        .finding
        .last_seen_ms
        .saturating_sub(problem.finding.first_seen_ms);
    Ok(say(&format!(
        "  seen {} times in {}",
        problem.finding.sightings,
        seconds(lasted)
    ))?)
}
