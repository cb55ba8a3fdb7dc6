//! What a person reads: effects as lines of text.
//!
//! It only tells. Nothing here decides, and the text is nobody's input: programs take `--json`.

mod people;

use std::collections::{BTreeMap, BTreeSet};

use crate::escape::Escaped;
use crate::live::Told;
use crate::model::{
    Alert, CascadeLevel, Classification, EscalationLevel, Fact, Finding, Outcome, OutcomeResult,
    Urgency, Value, Verdict, utc_ms,
};
use crate::pipeline::{Asked, Decided, Effect, RulingSummary};
use crate::policy::ServiceChange;

/// Something told: a line, and what stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it is about, in a word.
    pub label: String,
    /// What happened.
    pub head: String,
    /// The particulars, a line each.
    pub details: Vec<String>,
    /// The target that it is about, if it is about one.
    pub target: Option<String>,
    /// The incident that it belongs to, if it belongs to one.
    pub incident: Option<String>,
}

impl Message {
    /// Its lines as a person reads them, in which nothing is obeyed.
    pub fn lines(&self) -> Vec<String> {
        let (at, head) = (utc_ms(self.at_ms), Escaped(&self.head));
        let mut lines = vec![format!("{at}  {:<9} {head}", self.label)];
        let details = self.details.iter();
        lines.extend(details.map(|line| format!("{:26}{}", "", Escaped(line))));
        lines
    }
}

/// Tells effects, and does not tell the same thing twice in a row.
#[derive(Debug, Default)]
pub struct Narrator {
    /// The incidents that were told.
    known: BTreeSet<String>,
    told: BTreeMap<String, String>,
}

impl Narrator {
    /// What a driver told, to be told on; none when there is nothing new in it.
    pub fn messages(&mut self, at_ms: u64, told: &Told<'_>) -> Vec<Message> {
        match told {
            Told::Effect(effect) => self.of_effect(at_ms, effect),
            Told::Step(step) => block(at_ms, "step", &step.to_string(), &[]),
            Told::Note(label, text) => block(at_ms, label, text, &[]),
        }
    }

    /// The lines that tell what a driver told; none when there is nothing new in it.
    pub fn told(&mut self, at_ms: u64, told: &Told<'_>) -> Vec<String> {
        lines(&self.messages(at_ms, told))
    }

    /// The lines that tell an effect; none when there is nothing new in it.
    pub fn tell(&mut self, at_ms: u64, effect: &Effect) -> Vec<String> {
        lines(&self.of_effect(at_ms, effect))
    }

    /// A line that is not an effect.
    pub fn note(&self, at_ms: u64, label: &str, text: &str) -> Vec<String> {
        lines(&block(at_ms, label, text, &[]))
    }

    fn of_effect(&mut self, at_ms: u64, effect: &Effect) -> Vec<Message> {
        let mut messages = self.effect(at_ms, effect);
        for message in &mut messages {
            message.target = effect.target().map(str::to_owned);
            message.incident = effect.incident().map(str::to_owned);
        }
        messages
    }

    fn effect(&mut self, at_ms: u64, effect: &Effect) -> Vec<Message> {
        match effect {
            Effect::Noticed { anomaly, .. } => {
                let most = anomaly.reasons.len().min(3);
                block(at_ms, "noticed", "", &anomaly.reasons[..most])
            }
            Effect::BaselineEstablished { target } => block(
                at_ms,
                "baseline",
                &format!("{target}: what is normal is known now, anomalies are told from here on"),
                &[],
            ),
            Effect::IncidentOpened { finding, .. } => self.problem(at_ms, finding),
            Effect::Decided(decided) => self.decided(at_ms, decided),
            Effect::Ruled {
                incident,
                repair,
                ruling,
                waits,
                ..
            } => {
                let what: Vec<_> = waits.iter().map(|waits| waits.summary.clone()).collect();
                let text = ruling_line(incident, repair, ruling);
                block(at_ms, "guard", &text, &what)
            }
            Effect::Preserve {
                incident, reason, ..
            } => {
                let text = format!("target halted for {incident}, its files are copied aside");
                block(at_ms, "halt", &text, std::slice::from_ref(reason))
            }
            Effect::HaltEnded { incident, .. } => {
                let text = format!("{incident} is over, and the target is no longer halted");
                block(at_ms, "halt", &text, &[])
            }
            Effect::CopyAside { incident, .. } => {
                let text =
                    format!("the files of {incident} are copied aside before they are opened");
                block(at_ms, "copy", &text, &[])
            }
            Effect::Alerted {
                alert,
                acknowledged,
                ..
            } => {
                let rest: Vec<_> = acknowledged
                    .iter()
                    .map(|said| format!("acknowledged{said} before"))
                    .collect();
                block(at_ms, "alert", &alert_line(alert), &rest)
            }
            Effect::AlertWithheld { .. }
            | Effect::AcknowledgementEnded { .. }
            | Effect::Silenced { .. }
            | Effect::SilenceEnded { .. }
            | Effect::MaintenanceBegan { .. }
            | Effect::MaintenanceEnded { .. } => {
                let (label, text) = people::line(effect);
                block(at_ms, label, &text, &[])
            }
            Effect::LevelChanged { from, to, .. } => {
                let text = format!("{} → {}", level_name(*from), level_name(*to));
                block(at_ms, "level", &text, &[])
            }
            Effect::RepairEnded { outcome, .. } => {
                block(at_ms, "outcome", &outcome_line(outcome), &[])
            }
            Effect::IncidentResolved { resolved, .. } => {
                self.told.remove(&resolved.incident);
                self.known.remove(&resolved.incident);
                let lasted = seconds(resolved.resolved_ms.saturating_sub(resolved.first_seen_ms));
                let text = format!("{} {} after {lasted}", resolved.incident, resolved.kind);
                block(at_ms, "resolved", &text, &[])
            }
            Effect::PolicySwapped { .. } | Effect::PolicyService { .. } => policy(at_ms, effect),
            Effect::Repair(_) | Effect::Examine { .. } | Effect::VerbosityChanged { .. } => {
                Vec::new()
            }
        }
    }

    fn problem(&mut self, at_ms: u64, finding: &Finding) -> Vec<Message> {
        self.known.insert(finding.incident.clone());
        let head = format!("{} {}: {}", finding.incident, finding.kind, finding.summary);
        let mut rest = vec![format!("evidence: {}", facts(&finding.facts))];
        rest.extend(
            finding
                .evidence
                .iter()
                .filter_map(|a| a.reasons.first().cloned()),
        );
        block(at_ms, "problem", &head, &rest)
    }

    fn decided(&mut self, at_ms: u64, decided: &Decided) -> Vec<Message> {
        // One that was opened in an earlier run is told when it is seen again.
        let mut lines = match &decided.finding {
            Some(finding) if !self.known.contains(&finding.incident) => {
                self.problem(at_ms, finding)
            }
            _ => Vec::new(),
        };
        let verdict = &decided.verdict;
        let head = verdict_line(verdict);
        let subject = decided
            .incident
            .clone()
            .unwrap_or_else(|| decided.target.clone());
        let rules: Vec<&str> = verdict.reasons.iter().map(|r| r.rule.as_str()).collect();
        let essence = format!("{:?} {head} {rules:?}", decided.asked);
        if self.told.insert(subject, essence.clone()).as_deref() == Some(essence.as_str()) {
            return lines;
        }
        let mut rest: Vec<String> = verdict
            .reasons
            .iter()
            .map(|r| format!("because {} ({})", r.text, r.rule))
            .collect();
        rest.extend(verdict.suggestions.iter().map(|s| format!("suggests: {s}")));
        if let Some(failure) = &decided.failure {
            rest.insert(0, format!("the policy failed, the host decides: {failure}"));
        }
        let label = if decided.asked == Asked::Outcome {
            "after"
        } else {
            "policy"
        };
        lines.extend(block(at_ms, label, &head, &rest));
        lines
    }
}

/// A head line and lines under it; without a head, the first of these is it.
fn block(at_ms: u64, label: &str, head: &str, rest: &[String]) -> Vec<Message> {
    let mut details = rest.iter().cloned();
    let head = if head.is_empty() {
        details.next().unwrap_or_default()
    } else {
        head.to_owned()
    };
    vec![Message {
        at_ms,
        label: label.to_owned(),
        head,
        details: details.collect(),
        target: None,
        incident: None,
    }]
}

/// Another policy in service, or one that is taken out of it.
fn policy(at_ms: u64, effect: &Effect) -> Vec<Message> {
    match effect {
        Effect::PolicySwapped {
            policy,
            from,
            to,
            why,
            after_repair,
        } => {
            let text = format!(
                "{policy}: {} {} decides instead of {} {}: {why}",
                to.name, to.version, from.name, from.version
            );
            let rest: Vec<String> = after_repair
                .iter()
                .map(|target| format!("{target}: when the running repair has ended"))
                .collect();
            block(at_ms, "policy", &text, &rest)
        }
        Effect::PolicyService { policy, of, change } => {
            let about = format!("{policy}: {} {}", of.name, of.version);
            let text = match change {
                // The gate tells it.
                ServiceChange::Proved => return Vec::new(),
                ServiceChange::BackInService => format!("{about} answers again"),
                ServiceChange::OutOfService {
                    until_ms, reason, ..
                } => format!(
                    "{about} is out of service for {}: {reason}",
                    seconds(until_ms.saturating_sub(at_ms))
                ),
            };
            block(at_ms, "policy", &text, &[])
        }
        _ => Vec::new(),
    }
}

fn lines(messages: &[Message]) -> Vec<String> {
    messages.iter().flat_map(Message::lines).collect()
}

/// An alert in one line.
fn alert_line(alert: &Alert) -> String {
    let urgency = match alert.urgency {
        Urgency::Info => "info",
        Urgency::Warning => "warning",
        Urgency::Critical => "critical",
    };
    format!("{urgency}: {} ({})", alert.message, alert.rule)
}

/// A verdict in one line.
pub fn verdict_line(verdict: &Verdict) -> String {
    let class = verdict.classification.map_or("no problem", class_name);
    let repair = match &verdict.repair {
        Some(repair) => format!("repair {repair} (confidence {:.2})", verdict.confidence),
        None if verdict.halt => "no repair: stop first".to_owned(),
        None => "no repair".to_owned(),
    };
    format!("{class}, level {}, {repair}", level_name(verdict.level))
}

/// A repair's end in one line.
pub fn outcome_line(outcome: &Outcome) -> String {
    let result = result_name(outcome.outcome_result);
    let took = seconds(outcome.duration_ms);
    // What was lost stands in the reason, as far as it was proven.
    format!("{} {result} in {took}: {}", outcome.repair, outcome.reason)
}

/// How a repair ended, in a word or two.
pub fn result_name(result: OutcomeResult) -> &'static str {
    match result {
        OutcomeResult::Verified => "verified",
        OutcomeResult::RolledBack => "rolled back",
        OutcomeResult::Refused => "refused",
        OutcomeResult::Failed => "FAILED",
    }
}

/// A finding with its candidates, as a plan is shown.
pub fn plan_lines(finding: &Finding) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", finding.kind, finding.summary)];
    lines.push(format!("  evidence: {}", facts(&finding.facts)));
    for candidate in &finding.candidates {
        let level = match candidate.level {
            CascadeLevel::InPlace => "in place",
            CascadeLevel::Snapshot => "from a snapshot",
            CascadeLevel::Replay => "by replaying the log",
            CascadeLevel::Rebuild => "by building anew",
        };
        let undo = if candidate.undoable {
            "can be undone"
        } else {
            "cannot be undone"
        };
        lines.push(format!(
            "  can do: {} ({level}, {undo}): {}",
            candidate.id, candidate.summary
        ));
        lines.push(format!(
            "    expected: {}, loses {} commits ({:.2} %)",
            seconds(candidate.expected_duration_ms),
            candidate.expected_loss.commits,
            candidate.expected_loss.percent
        ));
        for condition in &candidate.preconditions {
            let mark = if condition.holds {
                "holds"
            } else {
                "does NOT hold"
            };
            lines.push(format!(
                "    {} {mark}: {}",
                condition.name, condition.detail
            ));
        }
    }
    lines
}

/// The guard's word on a repair in one line.
fn ruling_line(incident: &str, repair: &str, ruling: &RulingSummary) -> String {
    match ruling {
        RulingSummary::Approved => format!("lets {repair} go"),
        RulingSummary::AwaitsPerson => {
            format!("{repair} waits for a person: `dbmedic approve {incident}`")
        }
        RulingSummary::Refused { law, reason } => {
            format!("refuses {repair}: {reason} ({law})")
        }
    }
}

/// Facts in one line.
pub fn facts(facts: &[Fact]) -> String {
    let one = |fact: &Fact| match &fact.value {
        Value::Boolean(value) => format!("{}={value}", fact.name),
        Value::Integer(value) => format!("{}={value}", fact.name),
        Value::Number(value) => format!("{}={value:.2}", fact.name),
        // A quotation mark in it must not begin another fact.
        Value::Text(value) => format!("{}={value:?}", fact.name),
        Value::Integers(values) => format!("{}={values:?}", fact.name),
        Value::Texts(values) => format!("{}={values:?}", fact.name),
    };
    facts.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Milliseconds as a person reads them.
pub fn seconds(ms: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "durations for display")]
    let s = ms as f64 / 1000.0;
    if s < 100.0 {
        format!("{s:.2} s")
    } else {
        format!("{s:.0} s")
    }
}

/// How long ago something was, for a person: `12 s ago`, `3 h ago`.
pub fn ago(ms: u64) -> String {
    const STEPS: [(u64, &str); 3] = [(86_400, "days"), (3_600, "h"), (60, "min")];
    let seconds = ms / 1000;
    let step = STEPS.iter().find(|(length, _)| seconds >= 2 * length);
    match step {
        Some((length, name)) => format!("{} {name} ago", seconds / length),
        None => format!("{seconds} s ago"),
    }
}

fn class_name(class: Classification) -> &'static str {
    match class {
        Classification::Hiccup => "hiccup",
        Classification::Obstacle => "obstacle",
        Classification::Wall => "wall",
        Classification::Crisis => "crisis",
    }
}

fn level_name(level: EscalationLevel) -> &'static str {
    match level {
        EscalationLevel::Normal => "normal",
        EscalationLevel::Watch => "watch",
        EscalationLevel::Warn => "warn",
        EscalationLevel::Escalate => "escalate",
    }
}
