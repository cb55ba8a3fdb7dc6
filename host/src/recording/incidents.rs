//! When the incidents of a recording began and ended.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Recorded, RecordingError, RecordingReader};
use crate::model::{Anomaly, Finding};

/// The time that an incident lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentSpan {
    /// The target.
    pub target: String,
    /// The first time that belongs to it, milliseconds since the Unix epoch: where an anomaly is its
    /// evidence, the beginning of that anomaly.
    pub from_ms: u64,
    /// The time at which it was over; none when it lasts to the end of the recording.
    pub until_ms: Option<u64>,
}

impl IncidentSpan {
    /// Whether it lasted at this time.
    pub fn holds(&self, at_ms: u64) -> bool {
        at_ms >= self.from_ms && self.until_ms.is_none_or(|until| at_ms < until)
    }
}

/// What an effect tells of incidents.
#[derive(Deserialize)]
struct Told {
    noticed: Option<Noticed>,
    incident_opened: Option<Opened>,
    incident_resolved: Option<Over>,
}

#[derive(Deserialize)]
struct Noticed {
    target: String,
    anomaly: Anomaly,
}

#[derive(Deserialize)]
struct Opened {
    target: String,
    finding: Finding,
}

#[derive(Deserialize)]
struct Over {
    resolved: Resolved,
}

#[derive(Deserialize)]
struct Resolved {
    incident: String,
    resolved_ms: u64,
}

/// Every incident that was open when a recording began or began in the rest of it, by its identifier.
///
/// # Errors
/// When the recording cannot be read.
pub fn incident_spans(
    reader: &mut RecordingReader,
) -> Result<BTreeMap<String, IncidentSpan>, RecordingError> {
    match incident_spans_until(reader, &mut |_| {}) {
        (spans, None) => Ok(spans),
        (_, Some(error)) => Err(error),
    }
}

/// The same up to where the recording cannot be read any further, and why. `each` gets each event.
pub fn incident_spans_until(
    reader: &mut RecordingReader,
    each: &mut dyn FnMut(&Recorded),
) -> (BTreeMap<String, IncidentSpan>, Option<RecordingError>) {
    let mut spans = Spans::default();
    let header = reader.header();
    for (target, carried) in &header.carried.targets {
        for incident in &carried.incidents {
            let span = IncidentSpan {
                target: target.clone(),
                from_ms: incident.finding.first_seen_ms,
                until_ms: None,
            };
            spans.all.insert(incident.finding.incident.clone(), span);
        }
    }
    loop {
        match reader.next_event() {
            Ok(Some(recorded)) => {
                each(&recorded);
                for told in told(&recorded) {
                    spans.take(told);
                }
            }
            Ok(None) => return (spans.all, None),
            Err(error) => return (spans.all, Some(error)),
        }
    }
}

/// The incidents so far.
#[derive(Default)]
struct Spans {
    all: BTreeMap<String, IncidentSpan>,
    /// When the last anomaly of each target was noticed.
    noticed_ms: BTreeMap<String, u64>,
}

impl Spans {
    fn take(&mut self, told: Told) {
        if let Some(Noticed { target, anomaly }) = told.noticed {
            self.noticed_ms.insert(target, anomaly.at_ms);
        }
        if let Some(Opened { target, finding }) = told.incident_opened {
            let began = self.noticed_ms.get(&target).copied();
            let began = began.filter(|_| !finding.evidence.is_empty());
            let from_ms = began.map_or(finding.first_seen_ms, |at| at.min(finding.first_seen_ms));
            let span = IncidentSpan {
                target,
                from_ms,
                until_ms: None,
            };
            self.all.insert(finding.incident, span);
        }
        if let Some(Over { resolved }) = told.incident_resolved
            && let Some(span) = self.all.get_mut(&resolved.incident)
        {
            span.until_ms = Some(resolved.resolved_ms);
        }
    }
}

/// What the effects tell; nothing where they cannot be read, which replay tells as a difference.
fn told(recorded: &Recorded) -> Vec<Told> {
    serde_json::from_str(recorded.effects.get()).unwrap_or_default()
}
