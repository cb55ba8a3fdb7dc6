//! Health of a target: which check is due when, and what all of them come to. Sections 1.1, 1.3
//! and 7.1 of the specification.
//!
//! Pure: time is handed in, checks are run by whoever asks what is due. It sums up what others
//! found; it decides nothing and repairs nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::constraint::Constraint;
use crate::model::{Classification, ConstraintStatus, Context, Maintenance};

mod schedule;

pub use schedule::{CheckPlan, Due, Lane, Overrun, Schedule, is_stale};

/// What a check is for. The names stand in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Integrity of a sample of the rows.
    Quick,
    /// Integrity of what changed since it was last proven.
    Incremental,
    /// Integrity of everything.
    Full,
    /// The host's resources.
    Resource,
    /// A transaction that tells how long an application would wait for one.
    ProbeTransaction,
    /// A snapshot, checked before it is kept.
    Snapshot,
}

impl CheckKind {
    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Incremental => "incremental",
            Self::Full => "full",
            Self::Resource => "resource",
            Self::ProbeTransaction => "probe transaction",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What became of the latest run of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong: what.
    Failed(String),
    /// It could not be made: why. Says nothing about the target.
    NotDone(String),
    /// It took longer than it may and was cut off.
    TimedOut {
        /// What it may take, milliseconds.
        timeout_ms: u64,
    },
}

/// The latest run of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Which check.
    pub check: CheckKind,
    /// When it began, milliseconds since the Unix epoch.
    pub begun_ms: u64,
    /// How long it took, or was waited for, milliseconds.
    pub took_ms: u64,
    /// What became of it.
    pub state: CheckState,
    /// What a person may want to know although nothing is wrong with it: what could not be judged
    /// and why, space that could be given back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What it proved, when it passed and looks at the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Proved>,
}

/// What a check that passed proved of the content of a database, each for a share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// Rows and entries of indexes can be read, and agree both ways.
    pub rows_and_entries: Share,
    /// Each page belongs to exactly one object, or to the free pages.
    pub page_accounting: Share,
}

/// Of how much something was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Of everything.
    All,
    /// Of everything, but for some of it.
    AllBut {
        /// Rows of which a value is too long to be read in a moment.
        rows: u64,
        /// Tables, indexes and other objects that could not be judged; the notes name them.
        #[serde(default)]
        objects: u64,
    },
    /// Of the tables that were written to since they were proven.
    Changed {
        /// How many.
        tables: u64,
    },
    /// Of rows that were drawn at random.
    Sample {
        /// How many.
        rows: u64,
    },
    /// Of nothing.
    None,
}

impl fmt::Display for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rows and entries of indexes: {}; page accounting: {}",
            self.rows_and_entries, self.page_accounting
        )
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all proven"),
            Self::AllBut { rows, objects: 0 } => {
                write!(f, "all proven but {rows} rows with long values")
            }
            Self::AllBut { rows: 0, objects } => {
                write!(f, "all proven but {objects} objects that were not judged")
            }
            Self::AllBut { rows, objects } => write!(
                f,
                "all proven but {rows} rows with long values and {objects} objects that were not \
                 judged"
            ),
            Self::Changed { tables } => write!(f, "{tables} changed tables proven"),
            Self::Sample { rows } => write!(f, "a sample of {rows} rows"),
            Self::None => f.write_str("not proven"),
        }
    }
}

/// The four levels of section 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Single operations.
    Operation,
    /// Operational metrics and their bounds.
    Metric,
    /// Parts of the target: its pages, its log, its host.
    Subsystem,
    /// The target as a whole.
    System,
}

impl Level {
    /// All of them, the finest first.
    pub const ALL: [Self; 4] = [Self::Operation, Self::Metric, Self::Subsystem, Self::System];
}

/// How healthy something is; the later, the worse.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All that was looked at is well.
    #[default]
    Healthy,
    /// Nothing is known to be wrong, but not everything was looked at yet.
    Checking,
    /// Something is not as it should be, and the target does its work.
    Degraded,
    /// Something is broken, or will be soon.
    Unhealthy,
}

impl Status {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Checking => "checking",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One thing that is not simply healthy, or one that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// On which level it shows.
    pub level: Level,
    /// What it is about: a check, a constraint, an incident.
    pub subject: String,
    /// How healthy that is.
    pub status: Status,
    /// Why, in one line; empty when it is healthy.
    pub reason: String,
}

/// How healthy a target is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The worst of the four levels.
    pub status: Status,
    /// By level.
    pub levels: Levels,
    /// Everything that is not healthy, the worst first.
    pub signs: Vec<Sign>,
    /// What is worth knowing although it makes nothing unhealthy; see [`notes_of_checks`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its maintenance: what is open, and what comes next.
    #[serde(default, skip_serializing_if = "Maintenance::is_none")]
    pub maintenance: Maintenance,
}

/// How healthy each level is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Single operations.
    pub operation: Status,
    /// Operational metrics and their bounds.
    pub metric: Status,
    /// Parts of the target.
    pub subsystem: Status,
    /// The target as a whole.
    pub system: Status,
}

/// Sums signs up: each level is as healthy as its worst sign, the whole as its worst level.
///
/// The rule of section 7.1 counts instead: no violation is healthy, one is degraded, more are
/// unhealthy, and what is left is "checking". So a full disk alone is only degraded, two mild
/// warnings are unhealthy, a failed full integrity check is called "checking", and a target that
/// was never looked at is healthy. Here the weight of each sign counts: a warning degrades, however
/// many there are; damage, a critical bound or an unreachable target is unhealthy; and "checking"
/// is what was not looked at yet.
pub fn roll_up(mut signs: Vec<Sign>) -> Health {
    let mut levels = Levels::default();
    for sign in &signs {
        let level = match sign.level {
            Level::Operation => &mut levels.operation,
            Level::Metric => &mut levels.metric,
            Level::Subsystem => &mut levels.subsystem,
            Level::System => &mut levels.system,
        };
        *level = (*level).max(sign.status);
    }
    signs.retain(|sign| sign.status != Status::Healthy);
    signs.sort_by(|a, b| b.status.cmp(&a.status).then(a.level.cmp(&b.level)));
    Health {
        status: signs.first().map_or(Status::Healthy, |worst| worst.status),
        levels,
        signs,
        notes: Vec::new(),
        maintenance: Maintenance::default(),
    }
}

/// What the checks say, from the latest run of each.
///
/// A full check that passed has seen what one of a part would. What was not made yet says nothing
/// once there was a full check: then it is not part of this run, or its turn comes.
pub fn signs_of_checks(
    plans: &[CheckPlan],
    reports: &BTreeMap<CheckKind, CheckReport>,
    now_ms: u64,
) -> Vec<Sign> {
    let full = reports.get(&CheckKind::Full);
    let sign = |plan: &CheckPlan| {
        let own = reports.get(&plan.check);
        let report = match plan.check {
            CheckKind::Full | CheckKind::Resource => own,
            // Its values are held against bounds. That none was made says nothing of the target.
            CheckKind::ProbeTransaction => return None,
            CheckKind::Snapshot => Some(own).filter(|own| own.is_some() || full.is_none())?,
            CheckKind::Quick | CheckKind::Incremental => {
                let whole = full.filter(|full| full.state == CheckState::Passed);
                let newest = own.into_iter().chain(whole).max_by_key(|one| one.begun_ms);
                Some(newest).filter(|newest| newest.is_some() || full.is_none())?
            }
        };
        Some(sign_of(plan, report, now_ms))
    };
    plans.iter().filter_map(sign).collect()
}

/// What a check says about a target; `report` is none when it never ran. One that was not made for
/// three of its intervals is no longer known to be well, whatever keeps it.
pub fn sign_of(plan: &CheckPlan, report: Option<&CheckReport>, now_ms: u64) -> Sign {
    let mut sign = sign_of_report(plan.check, report);
    if let Some(report) = report
        && sign.status == Status::Healthy
        && plan.is_stale(report.begun_ms, now_ms)
    {
        let age_ms = now_ms.saturating_sub(report.begun_ms);
        sign.status = Status::Checking;
        sign.reason = format!("looked at last {} s ago", age_ms / 1000);
    }
    sign
}

/// What a report says, however old it is.
///
/// Damage that was found makes a target unhealthy. A check that could not be made leaves it unknown: a
/// program that keeps others out on purpose (`locking_mode=EXCLUSIVE`) is healthy, and lets nobody see
/// it. One that was cut off says nothing about the data either, but that nobody can tell in time is not
/// as it should be. That there is no snapshot, for the size of the database or for want of room, says
/// nothing of the database: it is a note.
fn sign_of_report(check: CheckKind, report: Option<&CheckReport>) -> Sign {
    let sign = |status, reason| Sign {
        level: Level::Subsystem,
        subject: check.name().into(),
        status,
        reason,
    };
    match report.map(|report| &report.state) {
        None => sign(Status::Checking, "not looked at yet".into()),
        Some(CheckState::Passed) => sign(Status::Healthy, String::new()),
        Some(CheckState::Failed(_)) if check == CheckKind::Snapshot => {
            sign(Status::Healthy, String::new())
        }
        Some(CheckState::Failed(what)) => sign(Status::Unhealthy, what.clone()),
        // What was written is not always known: then the full check looks at it.
        Some(CheckState::NotDone(_)) if check == CheckKind::Incremental => {
            sign(Status::Healthy, String::new())
        }
        Some(CheckState::NotDone(why)) => {
            sign(Status::Checking, format!("could not be made: {why}"))
        }
        Some(CheckState::TimedOut { timeout_ms }) => {
            sign(Status::Degraded, format!("cut off after {timeout_ms} ms"))
        }
    }
}

/// What is worth knowing although it makes nothing unhealthy: what the latest full check noted, and why
/// there is no snapshot.
pub fn notes_of_checks(reports: &BTreeMap<CheckKind, CheckReport>) -> Vec<String> {
    let full = reports.get(&CheckKind::Full);
    let mut notes = full.map(|full| full.notes.clone()).unwrap_or_default();
    if let Some(CheckState::Failed(why)) = reports.get(&CheckKind::Snapshot).map(|one| &one.state) {
        notes.push(format!("no snapshot was taken: {why}"));
    }
    notes
}

/// How a bound stands.
fn status_of(status: ConstraintStatus) -> Status {
    match status {
        ConstraintStatus::Ok => Status::Healthy,
        ConstraintStatus::Warning => Status::Degraded,
        ConstraintStatus::Critical => Status::Unhealthy,
    }
}

/// What is only slow when it is used up: everything that was asked for is still being done, so a busy
/// processor alone degrades no database.
const BUSY: [&str; 2] = ["cpu_percent", "load_1m"];

/// What bounds say about a target, given the latest value of a series. One whose series was never
/// measured says nothing.
pub fn signs_of_limits(
    level: Level,
    limits: &[Constraint],
    latest: &dyn Fn(&str) -> Option<f64>,
) -> Vec<Sign> {
    let sign = |limit: &Constraint| {
        let value = latest(&limit.metric)?;
        let status = match status_of(limit.check(value).0) {
            _ if BUSY.contains(&limit.metric.as_str()) => Status::Healthy,
            status => status,
        };
        Some(Sign {
            level,
            subject: limit.name.clone(),
            status,
            reason: if status == Status::Healthy {
                String::new()
            } else {
                format!("`{}` is {value:.0} ({})", limit.metric, limit.description)
            },
        })
    };
    limits.iter().filter_map(sign).collect()
}

/// What is known of a target when nothing new is looked at: its bounds and its open incidents.
pub fn signs_of_context(context: &Context) -> Vec<Sign> {
    let bounds = context.constraints.iter().map(|constraint| {
        let status = status_of(constraint.status);
        Sign {
            level: Level::Metric,
            subject: constraint.name.clone(),
            status,
            reason: if status == Status::Healthy {
                String::new()
            } else {
                let used = constraint.utilization * 100.0;
                format!(
                    "`{}` is {:.0}, its bound used to {used:.0} %",
                    constraint.metric, constraint.value
                )
            },
        }
    });
    let incidents = context.incidents.iter().map(|incident| Sign {
        level: Level::System,
        subject: incident.id.clone(),
        // What it means is the policy's word; before it spoke it is at least not healthy.
        status: match incident.classification {
            Some(Classification::Wall | Classification::Crisis) => Status::Unhealthy,
            _ if incident.kind == "target.unreachable" => Status::Unhealthy,
            _ => Status::Degraded,
        },
        reason: format!(
            "{}: {}{}",
            incident.kind,
            incident.subject,
            incident.what_people_said()
        ),
    });
    let looked_at = context.metrics.is_empty() && context.incidents.is_empty();
    let unknown = looked_at.then(|| Sign {
        level: Level::System,
        subject: "target".into(),
        status: Status::Checking,
        reason: "not looked at yet".into(),
    });
    bounds.chain(incidents).chain(unknown).collect()
}

/// That a target is in maintenance, until when, and why.
pub fn note_of_maintenance(context: &Context) -> Option<String> {
    context.maintenance.open.as_ref().map(ToString::to_string)
}

impl CheckState {
    /// In a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::NotDone(_) => "not made",
            Self::TimedOut { .. } => "cut off",
        }
    }
}

impl fmt::Display for CheckState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "passed"),
            Self::Failed(what) => write!(f, "failed: {what}"),
            Self::NotDone(why) => write!(f, "not made: {why}"),
            Self::TimedOut { timeout_ms } => write!(f, "cut off after {timeout_ms} ms"),
        }
    }
}

impl fmt::Display for Health {
    /// The status and its worst reason, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.name())?;
        match self.signs.as_slice() {
            [] if self.notes.is_empty() => Ok(()),
            [] => write!(f, " ({})", self.notes.join("; ")),
            [sign] => write!(f, ": {}: {}", sign.subject, sign.reason),
            [sign, rest @ ..] => {
                write!(
                    f,
                    ": {}: {}, and {} more",
                    sign.subject,
                    sign.reason,
                    rest.len()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
