//! The records of dbmedic: in the pipeline, the journal, the recordings and the answers to `--json`.
//!
//! They are the host's own and outlive a version of the contract. What a policy sees of them is defined
//! in `wit/`, and made of them where a policy is called (module `policy`, one file for each version of the
//! contract). Times are milliseconds since the Unix epoch unless their name says otherwise.

mod people;

use serde::{Deserialize, Serialize};

pub use people::{
    Attribution, LocalTime, Maintenance, MaintenanceWindow, OffsetChange, RepairAnswer, Silence,
    SilenceScope, is_in_group,
};

/// A typed value. Integers stay below 2^53 in magnitude, so that every language keeps them whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// Text, UTF-8.
    Text(String),
    /// Several whole numbers, for example the processes that wait.
    Integers(Vec<i64>),
    /// Several texts, for example the tables that are concerned.
    Texts(Vec<String>),
}

/// One particular of a finding, for example `age_ms = 4200`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Stable name in `snake_case`, its unit as suffix.
    pub name: String,
    /// What was seen.
    pub value: Value,
}

/// The four ways of noticing that something is not normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetectionMethod {
    /// Deviation of a value from its baseline.
    Statistical,
    /// Likeness to a known signature.
    Pattern,
    /// Shift of the recent distribution against the reference.
    Behavior,
    /// Violation of a configured bound.
    Constraint,
}

/// The score that one method gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MethodScore {
    /// The method.
    pub method: DetectionMethod,
    /// 0 is normal, 1 is certainly not normal.
    pub score: f64,
}

/// How strongly an anomaly deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Worth noting.
    Low,
    /// Worth a look.
    Medium,
    /// Worth acting on.
    High,
}

/// Evidence: several metrics that left their normal range together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// When it was noticed, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The series that carry it, strongest first.
    pub series: Vec<String>,
    /// The score of each method that ran.
    pub scores: Vec<MethodScore>,
    /// 0 is certainly normal, 1 is certainly anomalous.
    pub confidence: f64,
    /// How strongly it deviates.
    pub severity: Severity,
    /// What a person reads, for example "`commits_per_s` 0, normal 180 to 240".
    pub reasons: Vec<String>,
}

/// How deep a repair goes, the fastest and least invasive first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CascadeLevel {
    /// Mend in place.
    InPlace,
    /// Restore a snapshot.
    Snapshot,
    /// Replay a log up to a point.
    Replay,
    /// Build anew from what is left.
    Rebuild,
}

/// What is lost, announced beforehand or measured afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DataLoss {
    /// Committed transactions.
    pub commits: u64,
    /// Rows; none when they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The moment after which everything that was committed is lost, milliseconds since the Unix epoch;
    /// none when the loss is not one of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// The share of the affected log or object, 0 to 100.
    pub percent: f64,
}

impl DataLoss {
    /// Nothing is lost.
    pub const NONE: Self = Self::of(0, 0.0);

    /// So many committed transactions, and the share of the affected log or object, 0 to 100.
    pub const fn of(commits: u64, percent: f64) -> Self {
        Self {
            commits,
            rows: None,
            since_ms: None,
            percent,
        }
    }
}

/// Something that must hold before a repair may run. The host checks it again in the act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Precondition {
    /// Stable name, for example `no-other-process`.
    pub name: String,
    /// Whether it held at the last look.
    pub holds: bool,
    /// What was seen.
    pub detail: String,
}

/// A repair that the host offers for a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Stable dotted identifier, unique within the finding, for example `lock.end-holder`.
    pub id: String,
    /// One line for a person.
    pub summary: String,
    /// How deep it goes.
    pub level: CascadeLevel,
    /// What must hold. The guard refuses the repair while one of these does not.
    pub preconditions: Vec<Precondition>,
    /// Expected duration, milliseconds.
    pub expected_duration_ms: u64,
    /// Expected loss of committed data.
    pub expected_loss: DataLoss,
    /// Whether it can be taken back after it was applied.
    pub undoable: bool,
}

/// A diagnosed problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The incident that this finding belongs to, unique within the host's state directory.
    pub incident: String,
    /// Open, dotted, stable identifier of the problem, for example `wal.corrupt-frame`.
    /// A policy meets kinds that it does not know.
    pub kind: String,
    /// What is affected, for example an index's name. One incident is one kind on one subject.
    pub subject: String,
    /// One line for a person.
    pub summary: String,
    /// 0 is harmless, 1 is as bad as it gets; how bad the host's diagnosis rates the evidence.
    pub severity: f64,
    /// First sight, milliseconds since the Unix epoch.
    pub first_seen_ms: u64,
    /// Latest sight, milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// How often it was seen since the incident opened, this time included.
    pub sightings: u32,
    /// The particulars.
    pub facts: Vec<Fact>,
    /// The anomalies that point at it, the newest last.
    pub evidence: Vec<Anomaly>,
    /// The repairs that the host can do. The answer names one of these, or none.
    pub candidates: Vec<Candidate>,
}

/// How a repair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeResult {
    /// Applied and proven.
    Verified,
    /// Taken back, the database is as it was before.
    RolledBack,
    /// Never begun: the guard or a precondition said no.
    Refused,
    /// Neither proven nor taken back: a person must look.
    Failed,
}

/// The end of a repair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The incident it was for.
    pub incident: String,
    /// The finding's kind.
    pub kind: String,
    /// The finding's subject.
    pub subject: String,
    /// The candidate's identifier.
    pub repair: String,
    /// How it ended.
    pub outcome_result: OutcomeResult,
    /// Why, in one line.
    pub reason: String,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// What was lost, measured.
    pub loss: DataLoss,
    /// What else a person should know, one line each: the step that failed, where the old state is kept,
    /// what could not be proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why the policy is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PolicyEvent {
    /// A problem was diagnosed, or a known one was seen again.
    Finding(Finding),
    /// A repair ended.
    Outcome(Outcome),
    /// Time passed.
    Tick,
}

/// What became of one repair on one kind of problem of this target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepairHistory {
    /// The finding's kind.
    pub kind: String,
    /// The candidate's identifier.
    pub repair: String,
    /// Repairs that verified, ever.
    pub successes: u32,
    /// Repairs that failed or were rolled back, ever.
    pub failures: u32,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// When the last one ended, milliseconds since the Unix epoch.
    pub last_ms: u64,
}

/// An incident that is not resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenIncident {
    /// Its identifier.
    pub id: String,
    /// The finding's kind.
    pub kind: String,
    /// The finding's subject.
    pub subject: String,
    /// When it was opened, milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// How often it was seen.
    pub sightings: u32,
    /// What the policy called it last, if it was asked.
    pub classification: Option<Classification>,
    /// Who works on it: nobody is called again for it before it ends or gets worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Attribution>,
    /// What people answered to its repairs, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<RepairAnswer>,
}

/// Where a constraint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstraintStatus {
    /// Within its bounds.
    Ok,
    /// Past the warning threshold.
    Warning,
    /// Past the critical threshold or the bound itself.
    Critical,
}

/// A configured bound and where the metric stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConstraintState {
    /// The constraint's name, for example `wal_size`.
    pub name: String,
    /// The metric's name, unit as suffix.
    pub metric: String,
    /// The latest value, in the metric's unit.
    pub value: f64,
    /// The lower bound, in the metric's unit.
    pub lower: Option<f64>,
    /// The upper bound, in the metric's unit.
    pub upper: Option<f64>,
    /// The share of the room up to the bound that is used; over 1 is a violation.
    pub utilization: f64,
    /// Where it stands.
    pub status: ConstraintStatus,
    /// The times at which it was not ok, milliseconds since the Unix epoch, oldest first, the
    /// latest 32 at most.
    pub violations_ms: Vec<u64>,
}

/// The latest value of a main metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, unit as suffix.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// Everything beside the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The event's time, milliseconds since the Unix epoch. There is no other clock.
    pub now_ms: u64,
    /// The database's name in the host's configuration.
    pub target: String,
    /// What kind of database it is: `sqlite`, `postgresql`, or `metrics` when only numbers are known of it.
    #[serde(default = "sqlite")]
    pub target_kind: String,
    /// The escalation level in force for this target.
    pub level: EscalationLevel,
    /// Since when, milliseconds since the Unix epoch.
    pub level_since_ms: u64,
    /// What became of earlier repairs on this target.
    pub repairs: Vec<RepairHistory>,
    /// The incidents open on this target, the event's own included.
    pub incidents: Vec<OpenIncident>,
    /// The constraints of this target.
    pub constraints: Vec<ConstraintState>,
    /// The main metrics of this target. More through `telemetry`.
    pub metrics: Vec<Metric>,
    /// The maintenance of this target: what is open, and what comes next.
    #[serde(default, skip_serializing_if = "Maintenance::is_none")]
    pub maintenance: Maintenance,
    /// The local time, in the zone of the host's configuration; none where no driver said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_time: Option<LocalTime>,
    /// What `configure` returned for the parameters in force.
    pub settings: Vec<u8>,
    /// What the policy's last verdict for this target left in `memory`; empty at first.
    ///
    /// It is the policy's own: the host keeps it by target, by the policy's place in the line of
    /// that target, and there by the name that the policy gives itself and by the key that signed
    /// it. A new version with the same name and key takes over what the version before left; so
    /// does the very same component that another trusted key signs. Every other policy begins
    /// with an empty memory and never sees this one. When the host puts a policy back that was in
    /// service before, that policy gets what it had left before the swap, not what came after. A
    /// policy that kept failing, and is tried again in the place of another one, begins empty.
    ///
    /// A policy must cope with any bytes: those of a version with another layout, or damaged ones.
    /// What it cannot read it treats like an empty memory; it must neither trap nor judge
    /// otherwise because of it. `dbmedic policy check` tries that.
    pub memory: Vec<u8>,
}

/// The kind of a target that is a SQLite database; that of every target before there were others.
pub fn sqlite() -> String {
    "sqlite".to_owned()
}

/// The kind of a target of which only numbers are known.
pub fn metrics() -> String {
    "metrics".to_owned()
}

/// What a problem means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Classification {
    /// Mends itself, or can be mended with high confidence.
    Hiccup,
    /// Solvable, but something has to change.
    Obstacle,
    /// Not solvable without a person.
    Wall,
    /// Going on does damage: stop first, understand later.
    Crisis,
}

/// Who must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EscalationLevel {
    /// Nobody.
    Normal,
    /// The host looks closer.
    Watch,
    /// A report is prepared for a person.
    Warn,
    /// A person is called.
    Escalate,
}

/// How much the host writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verbosity {
    /// Summaries, one operation in a thousand.
    Normal,
    /// Detailed context, one operation in a hundred.
    Elevated,
    /// Everything.
    Incident,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Urgency {
    /// To be read some day.
    Info,
    /// To be read today.
    Warning,
    /// To be read now.
    Critical,
}

/// Something to tell people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable name of the alert rule.
    pub rule: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// One line.
    pub message: String,
}

/// Why the policy answered as it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable dotted name of the rule that spoke, for example `lock.too-fresh`.
    pub rule: String,
    /// What a person reads.
    pub text: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the problem means; required for a finding, free for an outcome or a tick.
    pub classification: Option<Classification>,
    /// The escalation level from now on.
    pub level: EscalationLevel,
    /// The identifier of the chosen candidate of the event's finding; none: no repair.
    pub repair: Option<String>,
    /// Whether the chosen repair waits for a person although the host's mode would let it begin. The policy
    /// is asked again when a person answered; [`OpenIncident::answers`] shows what was said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_approval: bool,
    /// Stop: the host's guard lets no repair touch this target until a person releases it, and
    /// the files are copied aside as they are.
    pub halt: bool,
    /// How sure the policy is that its choice is right, 0 to 1.
    pub confidence: f64,
    /// How much to write down from now on.
    pub verbosity: Verbosity,
    /// What to tell people.
    pub alerts: Vec<Alert>,
    /// Why, the weightiest first. Never empty for a finding.
    pub reasons: Vec<Reason>,
    /// What a person might do.
    pub suggestions: Vec<String>,
    /// What the policy wants to be handed back at the next event of this target; 16 KiB at most.
    /// Nobody else gets it; see `context.memory`.
    pub memory: Vec<u8>,
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The value, in the unit of the series' name.
    pub value: f64,
}

/// What is normal for one series. Values in the unit of the series' name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BaselineSummary {
    /// How many values it rests on.
    pub count: u32,
    /// Whether it has seen enough to judge by.
    pub established: bool,
    /// The median.
    pub median: f64,
    /// The median absolute deviation from the median, unscaled.
    pub mad: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation.
    pub stdev: f64,
    /// The 50th percentile.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// For the policy's author.
    Debug,
    /// For the operator.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// One parameter that the operator may set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name in `snake_case`, its unit as suffix.
    pub name: String,
    /// One line for a person.
    pub summary: String,
    /// What holds when nothing is set. Its case is the parameter's type.
    pub default: Value,
    /// The smallest number allowed.
    pub minimum: Option<f64>,
    /// The largest number allowed.
    pub maximum: Option<f64>,
}

/// Who the policy is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Stable name in kebab-case.
    pub name: String,
    /// Its version, semver.
    pub version: String,
    /// One line for a person.
    pub summary: String,
    /// What the operator may set.
    pub parameters: Vec<Parameter>,
}

/// A value that the operator set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The parameter's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingError {
    /// The setting's name, as the operator wrote it.
    pub name: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The fact of a finding that says how long its repair is expected to hold writers out,
/// milliseconds. The guard holds it against its limit.
pub const EXPECTED_LOCK_MS: &str = "expected_lock_ms";

/// The same as [`utc`], to the millisecond.
pub fn utc_ms(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| utc(at_ms), |at| format!("{at:.3}"))
}

/// A moment as a person reads it, in UTC; `at_ms` counts milliseconds since the Unix epoch.
pub fn utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| format!("{at_ms} ms after 1970"), |at| format!("{at:.0}"))
}
