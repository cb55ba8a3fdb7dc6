//! What happened, as a case: decisions from a recording or a decision log, each with what led to it.
//!
//! The case says no more than it must: what the host of a case would know by itself at an event, because
//! of the events before, is left out.

use std::path::Path;

use super::host::Host;
use super::run::feed_recording;
use super::told::Told;
use super::{
    BaselineGiven, Case, Events, Expect, ExpectedAlert, ExpectedReason, Known, Never, SeriesGiven,
    Step, Story, When,
};
use crate::model::{
    Anomaly, Attribution, Context, LocalTime, MaintenanceWindow, OffsetChange, OpenIncident,
    OutcomeResult, PolicyEvent, RepairAnswer, RepairHistory, Setting, Verdict,
};
use crate::policy::{Heard, Policy, Telemetry as _};
use crate::recording::{RecordingReader, incident_spans};

/// Decisions that one case takes up.
const MOST: usize = 1_000;

/// A decision as it was made.
#[derive(Debug, Clone)]
pub struct Happened {
    /// What was put to the policy.
    pub event: PolicyEvent,
    /// What it was handed beside.
    pub context: Context,
    /// What it asked telemetry, and was answered.
    pub heard: Vec<Heard>,
    /// What it answered.
    pub verdict: Verdict,
}

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The incident is not there.
    #[error("no {incident} is in {place}{}", listed(.known))]
    Unknown {
        /// The incident.
        incident: String,
        /// Where it was looked for.
        place: String,
        /// The incidents that are there.
        known: Vec<String>,
    },
    /// Nothing was decided about it.
    #[error("nothing was decided about {incident} in {place}")]
    Nothing {
        /// The incident.
        incident: String,
        /// Where it was looked for.
        place: String,
    },
    /// There is too much of it.
    #[error(
        "{decisions} decisions were made while {incident} lasted; a case takes up {MOST} at most: make the \
         recording itself a case, with `recording = \"FILE\"`"
    )]
    TooLong {
        /// The incident.
        incident: String,
        /// How many.
        decisions: usize,
    },
}

fn listed(incidents: &[String]) -> String {
    if incidents.is_empty() {
        ", nor any other incident".to_owned()
    } else {
        format!("; it has {}", incidents.join(", "))
    }
}

/// The decisions on the target of an incident while it lasted, as a policy makes them of a recording with
/// the parameters that stand in it.
///
/// # Errors
/// When the recording cannot be read, or there is no such incident in it.
pub fn from_recording(
    path: &Path,
    incident: &str,
    policy: &Policy,
) -> anyhow::Result<(Vec<Happened>, Vec<Setting>)> {
    let mut reader = RecordingReader::open(path)?;
    let settings = reader.header().settings.clone();
    let spans = incident_spans(&mut reader)?;
    let place = path.display().to_string();
    let Some(span) = spans.get(incident) else {
        return Err(CaptureError::Unknown {
            incident: incident.to_owned(),
            place,
            known: spans.into_keys().collect(),
        }
        .into());
    };
    let mut all = Vec::new();
    let no_parameters = case(String::new(), Vec::new(), Events::default());
    feed_recording(policy, &no_parameters, path, &mut |_, _, made| {
        for made in made {
            // The very decision that resolves it belongs to it.
            let until = span.until_ms.unwrap_or(u64::MAX);
            if made.target != span.target || made.at_ms < span.from_ms || made.at_ms > until {
                continue;
            }
            for (part, heard) in made.parts.into_iter().zip(made.heard) {
                all.push(Happened {
                    event: made.event.clone(),
                    context: part.context,
                    heard: heard.heard,
                    verdict: part.decision.verdict,
                });
            }
        }
        true
    })?;
    // Before the policy was first asked about it there is nothing to be said of it.
    let is_of = |happened: &Happened| incident_of(&happened.event) == Some(incident);
    let first = all.iter().position(is_of);
    let last = all.iter().rposition(is_of);
    match (first, last) {
        (Some(first), Some(last)) => Ok((all.drain(first..=last).collect(), settings)),
        _ => Err(CaptureError::Nothing {
            incident: incident.to_owned(),
            place,
        }
        .into()),
    }
}

/// The incident that an event is about.
pub fn incident_of(event: &PolicyEvent) -> Option<&str> {
    match event {
        PolicyEvent::Finding(finding) => Some(&finding.incident),
        PolicyEvent::Outcome(outcome) => Some(&outcome.incident),
        PolicyEvent::Tick => None,
    }
}

/// A case of what happened, which expects what was answered.
///
/// # Errors
/// When too much happened.
pub fn capture(
    name: &str,
    incident: &str,
    parameters: Vec<Setting>,
    happened: &[Happened],
) -> Result<Case, CaptureError> {
    if happened.len() > MOST {
        return Err(CaptureError::TooLong {
            incident: incident.to_owned(),
            decisions: happened.len(),
        });
    }
    let begin_ms = happened.first().map_or(0, |first| first.context.now_ms);
    let mut events = Events {
        begin_ms,
        ..Events::default()
    };
    let mut host = Host::new(&[], &events);
    let mut steps: Vec<Step> = Vec::new();
    for happened in happened {
        let mut step = Step::after(
            happened.context.now_ms.saturating_sub(host.context.now_ms),
            as_written(&happened.event, happened.context.now_ms),
        );
        step.known = unknown(&host, &step, happened);
        step.expect = Some(expectation(&happened.verdict));
        let event = host.prepare(&step, 0);
        let after = Host::after(&event, &happened.verdict);
        host.carry_on(after);
        match steps.last_mut() {
            Some(last) if repeats(last, &step) => last.times += 1,
            Some(last) if repeats_once(last, &step) => {
                last.times = 2;
                last.every_ms = after_ms(&step);
            }
            _ => steps.push(step),
        }
    }
    events.steps = steps;
    Ok(case(name.to_owned(), parameters, events))
}

fn case(name: String, parameters: Vec<Setting>, events: Events) -> Case {
    Case {
        name,
        line: 0,
        parameters,
        story: Story::Events(events),
        expect: Vec::new(),
        in_order: false,
        never: Never::default(),
    }
}

fn after_ms(step: &Step) -> u64 {
    match step.when {
        When::After(after_ms) => after_ms,
        When::SinceBegin(_) | When::Local(_) => 0,
    }
}

/// Whether a step is one repetition more of another.
fn repeats(last: &Step, step: &Step) -> bool {
    last.times > 1 && last.every_ms == after_ms(step) && same_but_time(last, step)
}

fn repeats_once(last: &Step, step: &Step) -> bool {
    last.times == 1 && same_but_time(last, step)
}

fn same_but_time(last: &Step, step: &Step) -> bool {
    step.known == Known::default() && last.event == step.event && last.expect == step.expect
}

/// An event as a case writes it: its times come of the case.
fn as_written(event: &PolicyEvent, now_ms: u64) -> PolicyEvent {
    let PolicyEvent::Finding(finding) = event else {
        return event.clone();
    };
    let mut finding = finding.clone();
    (
        finding.first_seen_ms,
        finding.last_seen_ms,
        finding.sightings,
    ) = (0, 0, 0);
    let evidence = finding.evidence.into_iter();
    let evidence = evidence.map(|anomaly| Anomaly {
        at_ms: now_ms.saturating_sub(anomaly.at_ms),
        ..anomaly
    });
    finding.evidence = evidence.collect();
    for candidate in &mut finding.candidates {
        for precondition in &mut candidate.preconditions {
            "as the case says".clone_into(&mut precondition.detail);
        }
        // The format has those that hold first.
        candidate
            .preconditions
            .sort_by_key(|precondition| !precondition.holds);
    }
    PolicyEvent::Finding(finding)
}

/// What was answered, as an expectation.
pub(super) fn expectation(verdict: &Verdict) -> Expect {
    let reasons = verdict.reasons.iter().map(|reason| ExpectedReason {
        rule: reason.rule.clone(),
        text: String::new(),
    });
    let alerts = verdict.alerts.iter().map(|alert| ExpectedAlert {
        rule: alert.rule.clone(),
        ..ExpectedAlert::default()
    });
    Expect {
        classification: Some(verdict.classification),
        level: Some(verdict.level),
        repair: Some(verdict.repair.clone()),
        needs_approval: verdict.needs_approval.then_some(true),
        halt: verdict.halt.then_some(true),
        reasons: reasons.collect(),
        alerts: alerts.collect(),
        ..Expect::default()
    }
}

/// What the host of a case must be told at an event, because it was otherwise than the events before
/// make it.
fn unknown(host: &Host, step: &Step, happened: &Happened) -> Known {
    let actual = &happened.context;
    let now_ms = actual.now_ms;
    let mut guess = host.clone();
    guess.prepare(step, 0);
    let context = &guess.context;
    let mut known = Known::default();
    if (context.level, context.level_since_ms) != (actual.level, actual.level_since_ms) {
        known.level = Some(actual.level);
        // At 0 it is the first level, and was never changed.
        known.level_for_ms = match actual.level_since_ms {
            0 => None,
            since_ms => Some(now_ms.saturating_sub(since_ms)),
        };
    }
    if context.memory != actual.memory {
        known.memory = Some(actual.memory.clone());
    }
    if context.target != actual.target {
        known.target = Some(actual.target.clone());
    }
    if context.target_kind != actual.target_kind {
        known.target_kind = Some(actual.target_kind.clone());
    }
    if context.local_time != actual.local_time {
        known.local_time = actual.local_time.map(|local| LocalTime {
            next_change: local.next_change.map(|change| OffsetChange {
                at_ms: change.at_ms.saturating_sub(now_ms),
                ..change
            }),
            ..local
        });
    }
    let changed = actual
        .metrics
        .iter()
        .filter(|metric| !context.metrics.contains(metric));
    known.metrics = changed
        .map(|metric| (metric.name.clone(), metric.value))
        .collect();
    let changed = actual
        .constraints
        .iter()
        .filter(|state| !context.constraints.contains(state));
    known.constraints = changed.cloned().collect();
    for at_ms in known
        .constraints
        .iter_mut()
        .flat_map(|state| &mut state.violations_ms)
    {
        *at_ms = now_ms.saturating_sub(*at_ms);
    }
    let changed = actual
        .repairs
        .iter()
        .filter(|history| !context.repairs.contains(history));
    known.repairs = changed
        .map(|history| before(history, &step.event, now_ms))
        .collect();
    incidents(&mut known, context, actual);
    known.maintenance = actual
        .maintenance
        .open
        .as_ref()
        .map(|open| MaintenanceWindow {
            begins_ms: now_ms.saturating_sub(open.begins_ms),
            ends_ms: open.ends_ms.saturating_sub(now_ms),
            ..open.clone()
        });
    known.next_maintenance = actual
        .maintenance
        .next
        .as_ref()
        .map(|next| MaintenanceWindow {
            begins_ms: next.begins_ms.saturating_sub(now_ms),
            ends_ms: next.ends_ms.saturating_sub(now_ms),
            ..next.clone()
        });
    known.series = series(&guess.telemetry, &happened.heard, now_ms);
    known
}

/// The incidents, in few words where those will do.
fn incidents(known: &mut Known, context: &Context, actual: &Context) {
    let gone = context.incidents.iter().filter(|guess| {
        actual
            .incidents
            .iter()
            .all(|incident| incident.id != guess.id)
    });
    let gone: Vec<String> = gone.map(|incident| incident.id.clone()).collect();
    let mut left = context.incidents.clone();
    left.retain(|incident| !gone.contains(&incident.id));
    if left == actual.incidents {
        known.resolved = gone;
        return;
    }
    let now_ms = actual.now_ms;
    let since = |said: &Attribution| Attribution {
        at_ms: now_ms.saturating_sub(said.at_ms),
        ..said.clone()
    };
    let all = actual.incidents.iter().map(|incident| OpenIncident {
        opened_ms: now_ms.saturating_sub(incident.opened_ms),
        acknowledged: incident.acknowledged.as_ref().map(since),
        answers: incident
            .answers
            .iter()
            .map(|answer| RepairAnswer {
                said: since(&answer.said),
                ..answer.clone()
            })
            .collect(),
        ..incident.clone()
    });
    known.incidents = Some(all.collect());
}

/// A history as it was before the end of a repair that the event itself tells of.
fn before(history: &RepairHistory, event: &PolicyEvent, now_ms: u64) -> RepairHistory {
    let mut before = RepairHistory {
        last_ms: now_ms.saturating_sub(history.last_ms),
        ..history.clone()
    };
    if let PolicyEvent::Outcome(outcome) = event
        && outcome.kind == history.kind
        && outcome.repair == history.repair
    {
        match outcome.outcome_result {
            OutcomeResult::Verified => before.successes = before.successes.saturating_sub(1),
            OutcomeResult::RolledBack | OutcomeResult::Failed => {
                before.failures = before.failures.saturating_sub(1);
                before.failures_in_a_row = before.failures_in_a_row.saturating_sub(1);
            }
            OutcomeResult::Refused => {}
        }
    }
    before
}

/// What telemetry was asked and would answer otherwise.
fn series(told: &Told, heard: &[Heard], now_ms: u64) -> Vec<SeriesGiven> {
    let mut names: Vec<&str> = heard.iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    let mut all = Vec::new();
    for asked in names {
        let of_it = heard.iter().filter(|heard| name(heard) == asked);
        let as_told = of_it.clone().all(|heard| match heard {
            Heard::Latest { answer, .. } => told.latest(asked) == *answer,
            Heard::Baseline { answer, .. } => told.baseline(asked) == *answer,
            Heard::Recent { limit, answer, .. } => told.recent(asked, *limit) == *answer,
        });
        if as_told {
            continue;
        }
        let mut given = SeriesGiven {
            name: asked.to_owned(),
            points: Vec::new(),
            baseline: BaselineGiven::None,
        };
        for heard in of_it {
            let points = match heard {
                Heard::Baseline { answer, .. } => {
                    given.baseline = answer.map_or(BaselineGiven::None, BaselineGiven::Is);
                    continue;
                }
                Heard::Latest { answer, .. } => answer.as_slice(),
                Heard::Recent { answer, .. } => answer.as_slice(),
            };
            // The longest answer holds the shorter ones.
            if points.len() > given.points.len() {
                let points = points.iter();
                let points = points.map(|point| (now_ms.saturating_sub(point.at_ms), point.value));
                given.points = points.collect();
            }
        }
        all.push(given);
    }
    all
}

fn name(heard: &Heard) -> &str {
    match heard {
        Heard::Latest { series, .. }
        | Heard::Baseline { series, .. }
        | Heard::Recent { series, .. } => series,
    }
}
