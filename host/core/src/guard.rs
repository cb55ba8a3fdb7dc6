//! The host's own law: turns a verdict into an approved repair or a refusal with its reason.
//!
//! Only this module makes an [`ApprovedRepair`], and nothing else can be applied. It never asks
//! what a problem means; that is the policy's part. It knows no clock: time arrives with the call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{
    Candidate, EXPECTED_LOCK_MS, Finding, Outcome, OutcomeResult, RepairHistory, Value,
};

/// What the guard lets happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Watch and tell; nothing is written to a target.
    #[default]
    Observe,
    /// A repair waits for a person's word.
    Approve,
    /// A repair within the limits is done.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
        })
    }
}

/// The limits that no policy can move. They hold for each target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardLimits {
    /// Committed transactions that one repair may lose as announced, 0 to `1_000_000`; default
    /// 100.
    pub max_loss_commits: u64,
    /// The share of the affected log or object that one repair may lose, 0 to 100 percent;
    /// default 5, as the specification's last 5 % of a log.
    pub max_loss_percent: f64,
    /// How long a repair may hold writers out of the database, milliseconds, 1 to one hour; default
    /// 1000: a fifth of the 5 s that the common drivers wait for a lock before they fail (Python's
    /// sqlite3, rusqlite, better-sqlite3, Rails).
    #[serde(default = "default_max_lock_ms")]
    pub max_lock_ms: u64,
    /// Repairs in any hour, 1 to 1000; default 6.
    pub repairs_per_hour: u32,
    /// Rest between two repairs, milliseconds, 0 to one day; default one minute.
    pub cool_down_ms: u64,
    /// Failures of one repair on one kind in a row after which only a person goes on, 1 to 100;
    /// default 3: the specification's rule, section 4.2.
    pub failures_before_person: u32,
    /// The time in which repairs of the same problem are counted as flapping, milliseconds, 1 s
    /// to 30 days; default one hour (orchestrator's block after a recovery).
    pub flap_window_ms: u64,
    /// Repairs of the same problem within `flap_window_ms` that are flapping, 2 to 1000; default
    /// 5 (Monit: 5 restarts, then a person).
    pub flap_repairs: u32,
}

fn default_max_lock_ms() -> u64 {
    1000
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            max_loss_commits: 100,
            max_loss_percent: 5.0,
            max_lock_ms: default_max_lock_ms(),
            repairs_per_hour: 6,
            cool_down_ms: 60_000,
            failures_before_person: 3,
            flap_window_ms: 3_600_000,
            flap_repairs: 5,
        }
    }
}

/// A repair that the guard let through. There is no other way to get one than the guard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovedRepair {
    target: String,
    finding: Finding,
    candidate: Candidate,
    approved_at_ms: u64,
    max_lock_ms: u64,
}

impl ApprovedRepair {
    /// The target's name.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The finding that it mends, as it stood when the policy chose.
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The repair that was chosen.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// How long it may hold writers out, milliseconds.
    pub fn max_lock_ms(&self) -> u64 {
        self.max_lock_ms
    }

    /// When it was approved, milliseconds since the Unix epoch.
    pub fn approved_at_ms(&self) -> u64 {
        self.approved_at_ms
    }
}

/// Why a repair was not let through. Each has a stable name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable name of the law that spoke, for example `guard.mode`.
    pub law: String,
    /// What a person reads.
    pub reason: String,
}

/// What the guard says to a choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// Go.
    Approved(Box<ApprovedRepair>),
    /// Wait for a person.
    AwaitsPerson,
    /// No.
    Refused(Refusal),
}

/// A repair that began, for budgets and flap detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastRepair {
    /// The finding's kind.
    pub kind: String,
    /// The finding's subject.
    pub subject: String,
    /// When it began, milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// Whether dbmedic was interrupted in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// How far a repair came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairEnd {
    /// Nothing of it was begun.
    NotBegun,
    /// It ran to an end, whatever that was.
    Begun,
    /// dbmedic was interrupted while it ran, and it was taken back.
    Interrupted,
}

/// Interruptions of one repair in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interruptions {
    /// The finding's kind.
    pub kind: String,
    /// The repair.
    pub repair: String,
    /// How often dbmedic was interrupted in it since it last ran to an end.
    pub count: u32,
}

/// Interruptions of one repair in a row after which only a person goes on: a kill now and then is an
/// accident of the machine, so many show that something ends dbmedic because it repairs.
const INTERRUPTIONS_BEFORE_PERSON: u32 = 5;

/// The law that refuses what a person denied. An approval lifts it.
pub const DENIED: &str = "guard.denied";

/// Refusals of one repair of one incident in the act, each after the work of proving it, after which only a
/// person goes on: what speaks against it does not go away by trying again.
const REFUSALS_BEFORE_PERSON: u32 = 3;

/// What the guard remembers of one target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// Why no repair may touch the target until a person releases it, or until what called for it is
    /// over.
    pub halted: Option<String>,
    /// The open incidents that called for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub halted_for: BTreeSet<String>,
    /// Repairs that began within the longest window, oldest first.
    pub past: VecDeque<PastRepair>,
    /// When the last repair ended, milliseconds since the Unix epoch.
    pub last_ended_ms: Option<u64>,
    /// Repairs in which dbmedic was interrupted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupted: Vec<Interruptions>,
    /// Repairs that were refused in the act, by incident and repair: how often since one was carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(String, String, u32)>,
    /// The incident that a repair is running for.
    #[serde(skip)]
    pub running: Option<String>,
    /// Whether it has begun. Before, it waits for its turn.
    #[serde(skip)]
    pub begun: bool,
}

impl TargetRecord {
    /// Counts that a repair was refused in the act, or begins anew when it was not.
    fn count_refusal(&mut self, outcome: &Outcome) {
        let is_this = |(incident, repair, _): &(String, String, u32)| {
            *incident == outcome.incident && *repair == outcome.repair
        };
        let known = self.refused.iter().position(is_this);
        let is_refused = outcome.outcome_result == OutcomeResult::Refused;
        match known {
            Some(at) if is_refused => self.refused[at].2 += 1,
            Some(at) => drop(self.refused.remove(at)),
            None if is_refused => {
                let (incident, repair) = (outcome.incident.clone(), outcome.repair.clone());
                self.refused.push((incident, repair, 1));
            }
            None => {}
        }
    }

    /// Moves every time in it, milliseconds; none is later than `now_ms` afterwards. For what an
    /// earlier run noted by another wall clock.
    pub fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        let moved = |at_ms: u64| at_ms.saturating_add_signed(by_ms).min(now_ms);
        for past in &mut self.past {
            past.began_ms = moved(past.began_ms);
        }
        self.last_ended_ms = self.last_ended_ms.map(moved);
    }
}

/// Longest memory for budgets: an hour.
const HOUR_MS: u64 = 3_600_000;

/// The guard over all targets.
#[derive(Debug, Clone)]
pub struct Guard {
    limits: GuardLimits,
    targets: BTreeMap<String, TargetRecord>,
}

/// A choice that the guard is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// The target's name.
    pub target: &'a str,
    /// The finding to mend.
    pub finding: &'a Finding,
    /// The identifier of the chosen candidate.
    pub repair: &'a str,
    /// What became of earlier repairs on this target.
    pub history: &'a [RepairHistory],
    /// The mode in force for this target.
    pub mode: Mode,
    /// Whether a person approved this repair of this incident.
    pub approved_by_person: bool,
    /// Whether the policy has the repair wait for a person, whatever the mode: it sees itself who approved.
    pub needs_approval: bool,
    /// Who denied this repair of this incident, in one line for a person; none when nobody did, or when
    /// somebody approved it later.
    pub denied: Option<&'a str>,
    /// The maintenance window that lets no repair begin, in one line for a person.
    pub maintenance: Option<&'a str>,
}

impl Guard {
    /// A guard with what it remembers from before.
    pub fn new(limits: GuardLimits, targets: BTreeMap<String, TargetRecord>) -> Self {
        Self { limits, targets }
    }

    /// What it remembers of a target.
    pub fn record(&self, target: &str) -> Option<&TargetRecord> {
        self.targets.get(target)
    }

    /// Judges a choice. An approval is counted at once: the repair counts as begun.
    pub fn rule(&mut self, at_ms: u64, choice: &Choice<'_>) -> Ruling {
        let Some(candidate) = choice
            .finding
            .candidates
            .iter()
            .find(|c| c.id == choice.repair)
        else {
            return refused(
                "guard.unknown-candidate",
                format!("`{}` was not offered", choice.repair),
            );
        };
        if choice.mode == Mode::Observe {
            return refused(
                "guard.mode",
                "mode is observe: nothing is written to a target".to_owned(),
            );
        }
        if let Some(refusal) = self.objection(at_ms, choice, candidate) {
            return Ruling::Refused(refusal);
        }
        if choice.needs_approval || choice.mode == Mode::Approve && !choice.approved_by_person {
            return Ruling::AwaitsPerson;
        }
        let record = self.targets.entry(choice.target.to_owned()).or_default();
        record.past.push_back(PastRepair {
            kind: choice.finding.kind.clone(),
            subject: choice.finding.subject.clone(),
            began_ms: at_ms,
            interrupted: false,
        });
        record.running = Some(choice.finding.incident.clone());
        record.begun = false;
        let keep_ms = HOUR_MS.max(self.limits.flap_window_ms);
        while record
            .past
            .front()
            .is_some_and(|p| at_ms.saturating_sub(p.began_ms) > keep_ms)
        {
            record.past.pop_front();
        }
        Ruling::Approved(Box::new(ApprovedRepair {
            target: choice.target.to_owned(),
            finding: choice.finding.clone(),
            candidate: candidate.clone(),
            approved_at_ms: at_ms,
            max_lock_ms: self.limits.max_lock_ms,
        }))
    }

    fn objection(&self, at_ms: u64, choice: &Choice<'_>, candidate: &Candidate) -> Option<Refusal> {
        let limits = &self.limits;
        let nothing = TargetRecord::default();
        let record = self.targets.get(choice.target).unwrap_or(&nothing);
        if let Some(refusal) = stopped(record, choice) {
            return Some(refusal);
        }
        if let Some(unmet) = candidate.preconditions.iter().find(|p| !p.holds) {
            let reason = format!(
                "precondition {} does not hold: {}",
                unmet.name, unmet.detail
            );
            return Some(refusal("guard.precondition", reason));
        }
        let loss = &candidate.expected_loss;
        if loss.commits > limits.max_loss_commits || loss.percent > limits.max_loss_percent {
            let reason = format!(
                "it announces to lose {} commits ({:.2} %), allowed are {} ({:.2} %)",
                loss.commits, loss.percent, limits.max_loss_commits, limits.max_loss_percent
            );
            return Some(refusal("guard.data-loss", reason));
        }
        if let Some(lock_ms) = expected_lock_ms(choice.finding)
            && lock_ms > limits.max_lock_ms
        {
            let reason = format!(
                "{} would hold writers out for about {lock_ms} ms, allowed are {} ms: do it by hand \
                 in a maintenance window, or raise max_lock_ms in [guard]",
                candidate.id, limits.max_lock_ms
            );
            return Some(refusal("guard.lock-time", reason));
        }
        let failures = choice
            .history
            .iter()
            .find(|h| h.kind == choice.finding.kind && h.repair == candidate.id)
            .map_or(0, |h| h.failures_in_a_row);
        if failures >= limits.failures_before_person {
            let reason = format!(
                "{} failed {failures} times in a row: a person must look",
                candidate.id
            );
            return Some(refusal("guard.three-failures", reason));
        }
        if let Some(refusal) = interrupted(record, choice, candidate)
            .or_else(|| refused_in_the_act(record, choice, candidate))
        {
            return Some(refusal);
        }
        // A person is not held back by rates; in mode approve each repair needs a person's word.
        if choice.approved_by_person || choice.mode == Mode::Approve {
            return None;
        }
        let within =
            |past: &&PastRepair, window_ms: u64| at_ms.saturating_sub(past.began_ms) < window_ms;
        let this_hour = record.past.iter().filter(|p| within(p, HOUR_MS)).count();
        if this_hour >= limits.repairs_per_hour as usize {
            let reason = format!(
                "{this_hour} repairs in the last hour, allowed are {}",
                limits.repairs_per_hour
            );
            return Some(refusal("guard.budget", reason));
        }
        let on_subject = record
            .past
            .iter()
            .filter(|p| within(p, limits.flap_window_ms) && !p.interrupted)
            .filter(|p| p.kind == choice.finding.kind && p.subject == choice.finding.subject)
            .count();
        if on_subject >= limits.flap_repairs as usize {
            let reason = format!(
                "{} was repaired {on_subject} times in {} s and came back: it is flapping",
                choice.finding.kind,
                limits.flap_window_ms / 1000
            );
            return Some(refusal("guard.flapping", reason));
        }
        let rest_ms = record
            .last_ended_ms
            .map(|ended| at_ms.saturating_sub(ended));
        if let Some(rest_ms) = rest_ms.filter(|&rest| rest < limits.cool_down_ms) {
            let reason = format!(
                "the last repair ended {rest_ms} ms ago, the cool-down is {} ms",
                limits.cool_down_ms
            );
            return Some(refusal("guard.cool-down", reason));
        }
        None
    }

    /// A repair that was approved begins.
    pub fn begun(&mut self, target: &str) {
        if let Some(record) = self.targets.get_mut(target) {
            record.begun = record.running.is_some();
        }
    }

    /// What a next run must know of a target: a repair that has not begun does not count there.
    pub fn carried(&self, target: &str) -> TargetRecord {
        let mut record = self.targets.get(target).cloned().unwrap_or_default();
        if record.running.is_some() && !record.begun {
            record.past.pop_back();
        }
        record
    }

    /// Notes that a repair ended, and how far it came.
    pub fn repair_ended(&mut self, at_ms: u64, target: &str, outcome: &Outcome, end: RepairEnd) {
        let record = self.targets.entry(target.to_owned()).or_default();
        let was_running = record.running.take().is_some();
        record.begun = false;
        // What was not begun uses nothing up, but trying again at once would be no wiser.
        if was_running && end == RepairEnd::NotBegun {
            record.past.pop_back();
        }
        record.last_ended_ms = Some(at_ms);
        if end == RepairEnd::Begun {
            record.count_refusal(outcome);
        }
        let is_this = |i: &Interruptions| i.kind == outcome.kind && i.repair == outcome.repair;
        match (end, record.interrupted.iter().position(is_this)) {
            (RepairEnd::Interrupted, Some(at)) => record.interrupted[at].count += 1,
            (RepairEnd::Interrupted, None) => record.interrupted.push(Interruptions {
                kind: outcome.kind.clone(),
                repair: outcome.repair.clone(),
                count: 1,
            }),
            (RepairEnd::Begun, Some(at)) => drop(record.interrupted.remove(at)),
            _ => {}
        }
        // An interrupted repair did not come back, it never came to its end: no flapping.
        if end == RepairEnd::Interrupted {
            let is_it = |p: &PastRepair| p.kind == outcome.kind && p.subject == outcome.subject;
            if let Some(at) = record.past.iter().rposition(is_it) {
                record.past[at].interrupted = true;
            }
        }
    }

    /// No repair touches the target from now on, until a person releases it or this incident, and
    /// each other one that calls for it, is over. Says whether that is new.
    pub fn halt(&mut self, target: &str, incident: &str, why: &str) -> bool {
        let record = self.targets.entry(target.to_owned()).or_default();
        let is_new = record.halted.is_none();
        // One that no incident called for ends with none: a person alone ends it.
        if is_new || !record.halted_for.is_empty() {
            record.halted_for.insert(incident.to_owned());
        }
        record.halted.get_or_insert_with(|| why.to_owned());
        is_new
    }

    /// An incident is over: what it showed is not there any more, and dbmedic did nothing to it. Says
    /// whether the target was halted for nothing else.
    pub fn resolved(&mut self, target: &str, incident: &str) -> bool {
        let Some(record) = self.targets.get_mut(target) else {
            return false;
        };
        record.refused.retain(|(of, ..)| of != incident);
        let is_over = record.halted_for.remove(incident) && record.halted_for.is_empty();
        if is_over {
            record.halted = None;
        }
        is_over
    }

    /// A person releases the target.
    pub fn release(&mut self, target: &str) {
        if let Some(record) = self.targets.get_mut(target) {
            record.halted = None;
            record.halted_for.clear();
        }
    }
}

/// What stops every repair of a target: a halt, a repair that runs, and what people said.
fn stopped(record: &TargetRecord, choice: &Choice<'_>) -> Option<Refusal> {
    if let Some(why) = &record.halted {
        return Some(refusal(
            "guard.halted",
            format!("the target is halted: {why}"),
        ));
    }
    if let Some(incident) = &record.running {
        return Some(refusal(
            "guard.one-at-a-time",
            format!("a repair for {incident} is running"),
        ));
    }
    // Whoever works on the target by hand must not meet a repair; an approval of before changes nothing.
    if let Some(window) = choice.maintenance {
        return Some(refusal("guard.maintenance", window.to_owned()));
    }
    if let Some(denied) = choice.denied {
        return Some(refusal(DENIED, denied.to_owned()));
    }
    None
}

/// Whether dbmedic was interrupted in this repair too often for it to be tried again unasked.
fn interrupted(
    record: &TargetRecord,
    choice: &Choice<'_>,
    candidate: &Candidate,
) -> Option<Refusal> {
    let mut known = record.interrupted.iter();
    let known = known.find(|i| i.kind == choice.finding.kind && i.repair == candidate.id)?;
    if known.count < INTERRUPTIONS_BEFORE_PERSON || choice.approved_by_person {
        return None;
    }
    let reason = format!(
        "dbmedic was interrupted {} times in a row in {}: a person must look for what ends it",
        known.count, candidate.id
    );
    Some(refusal("guard.interrupted", reason))
}

/// Whether this repair of this incident was refused in the act too often for it to be tried again unasked.
fn refused_in_the_act(
    record: &TargetRecord,
    choice: &Choice<'_>,
    candidate: &Candidate,
) -> Option<Refusal> {
    let mut known = record.refused.iter();
    let (.., count) = known.find(|(incident, repair, _)| {
        *incident == choice.finding.incident && *repair == candidate.id
    })?;
    // In mode approve a person is asked each time.
    if *count < REFUSALS_BEFORE_PERSON || choice.approved_by_person || choice.mode == Mode::Approve
    {
        return None;
    }
    let reason = format!(
        "{} was refused {count} times in the act: a person must look at why",
        candidate.id
    );
    Some(refusal("guard.refused", reason))
}

/// How long the repair of a finding is expected to hold writers out; none when it does not say.
fn expected_lock_ms(finding: &Finding) -> Option<u64> {
    let mut facts = finding.facts.iter();
    match facts.find(|fact| fact.name == EXPECTED_LOCK_MS)?.value {
        Value::Integer(ms) => u64::try_from(ms).ok(),
        _ => None,
    }
}

fn refusal(law: &str, reason: String) -> Refusal {
    Refusal {
        law: law.into(),
        reason,
    }
}

fn refused(law: &str, reason: String) -> Ruling {
    Ruling::Refused(refusal(law, reason))
}

#[cfg(test)]
// Named, because tests/mutants/guard compiles this file from elsewhere.
#[path = "guard/tests.rs"]
mod tests;
