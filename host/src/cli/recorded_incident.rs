//! An incident of a recording as an episode: how far each metric is from its normal in it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use anyhow::bail;

use crate::pipeline::Event;
use crate::recording::{IncidentSpan, RecordingReader, incident_spans};
use crate::signature::{Deviations, LEAST_NORMAL_ROWS, NORMAL_ROWS};
use crate::source::Observation;

/// How far each metric is from its normal in an incident: from the looks right before it in which
/// no incident of the target lasted, and where these are few, from those after it.
pub(super) fn deviations(recording: &Path, incident: &str) -> anyhow::Result<Deviations> {
    let spans = incident_spans(&mut RecordingReader::open(recording)?)?;
    let place = recording.display();
    let Some(span) = spans.get(incident) else {
        let known: Vec<&str> = spans.keys().map(String::as_str).collect();
        match &known[..] {
            [] => bail!("{place}: no incident is in this recording"),
            _ => bail!(
                "{place}: no {incident} is in this recording; it has {}",
                known.join(", ")
            ),
        }
    };
    let others = spans.values().filter(|other| other.target == span.target);
    let others: Vec<&IncidentSpan> = others.collect();
    let mut episode = Episode::default();
    let mut reader = RecordingReader::open(recording)?;
    while let Some(recorded) = reader.next_event()? {
        match recorded.event {
            Event::Observed(seen) if seen.target == span.target && !seen.samples.is_empty() => {
                let calm = !others.iter().any(|other| other.holds(seen.at_ms));
                episode.take(&seen, span, calm);
            }
            _ => {}
        }
    }
    if episode.abnormal_looks == 0 {
        bail!("{place}: nothing was measured while {incident} lasted");
    }
    if episode.normal_looks < LEAST_NORMAL_ROWS {
        bail!(
            "{place}: {} normal looks around {incident}, which is too few to tell what is normal: at \
             least {LEAST_NORMAL_ROWS} looks without an incident must be in the recording",
            episode.normal_looks
        );
    }
    Ok(episode.deviations())
}

/// The looks in and around one incident.
#[derive(Debug, Default)]
struct Episode {
    series: BTreeMap<String, Values>,
    abnormal_looks: usize,
    normal_looks: usize,
}

/// What one series showed.
#[derive(Debug, Default)]
struct Values {
    /// The last values before the incident, filled up with the first ones after it.
    normal: VecDeque<f64>,
    abnormal: Vec<f64>,
}

impl Episode {
    fn take(&mut self, seen: &Observation, span: &IncidentSpan, calm: bool) {
        let abnormal = span.holds(seen.at_ms);
        if !abnormal && !calm {
            return;
        }
        if abnormal {
            self.abnormal_looks += 1;
        } else {
            self.normal_looks += 1;
        }
        let after = seen.at_ms >= span.from_ms;
        for sample in &seen.samples {
            if !self.series.contains_key(&sample.series) {
                self.series.insert(sample.series.clone(), Values::default());
            }
            let Some(values) = self.series.get_mut(&sample.series) else {
                continue;
            };
            if abnormal {
                values.abnormal.push(sample.value);
            } else if values.normal.len() < NORMAL_ROWS {
                values.normal.push_back(sample.value);
            } else if !after {
                values.normal.pop_front();
                values.normal.push_back(sample.value);
            }
        }
    }

    fn deviations(mut self) -> Deviations {
        let series = self.series.iter_mut();
        Deviations::between(series.map(|(name, values)| {
            let normal: &[f64] = values.normal.make_contiguous();
            (name.as_str(), normal, &values.abnormal[..])
        }))
    }
}
