//! What dbmedic did in a run, from its recording.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use dbmedic::model::{Classification, OutcomeResult};
use dbmedic::pipeline::{Effect, Event, RulingSummary};
use dbmedic::recording::RecordingReader;
use dbmedic::source::State;
use serde_json::Value;

/// What dbmedic saw and did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// Observations of a target.
    pub(crate) observations: u64,
    /// Observations in which another process held a lock.
    pub(crate) with_locks: u64,
    /// Incidents, by the kind of the problem.
    pub(crate) incidents: BTreeMap<String, u64>,
    /// Repairs that the policy chose and the guard let go.
    pub(crate) approved: Vec<String>,
    /// Repairs that were chosen and refused, with the law that spoke.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Repairs that ended verified.
    pub(crate) verified: Vec<String>,
    /// Why targets were halted.
    pub(crate) halts: Vec<String>,
    /// Incidents that the policy called a crisis.
    pub(crate) crises: Vec<String>,
}

impl Log {
    /// Reads a recording to its end.
    pub(crate) fn read(recording: &Path) -> anyhow::Result<Self> {
        let mut reader = RecordingReader::open(recording)?;
        let mut log = Self::default();
        while let Some(recorded) = reader.next_event()? {
            if let Event::Observed(seen) = &recorded.event {
                log.observations += 1;
                if let State::Sqlite(state) = &seen.state {
                    log.with_locks += u64::from(!state.locks.is_empty());
                }
            }
            let effects: Vec<Value> = serde_json::from_str(recorded.effects.get())?;
            for effect in effects {
                // The order to repair is never read back; the ruling before it says the same.
                if effect.get("repair").is_some() {
                    continue;
                }
                let told: Effect = serde_json::from_value(effect.clone())
                    .with_context(|| format!("an unknown effect: {effect}"))?;
                log.take(told);
            }
        }
        Ok(log)
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::IncidentOpened { finding, .. } => {
                *self.incidents.entry(finding.kind).or_default() += 1;
            }
            Effect::Decided(decided)
                if decided.verdict.classification == Some(Classification::Crisis) =>
            {
                let finding = decided
                    .finding
                    .map(|f| format!("{}: {}", f.kind, f.summary));
                self.crises.push(finding.unwrap_or_default());
            }
            Effect::Ruled {
                repair,
                ruling,
                incident,
                ..
            } => match ruling {
                RulingSummary::Approved => self.approved.push(format!("{incident} {repair}")),
                RulingSummary::AwaitsPerson => {
                    *self.refused.entry("waits for a person".into()).or_default() += 1;
                }
                RulingSummary::Refused { law, .. } => {
                    *self.refused.entry(law).or_default() += 1;
                }
            },
            Effect::RepairEnded { outcome, .. }
                if outcome.outcome_result == OutcomeResult::Verified =>
            {
                self.verified.push(outcome.repair);
            }
            Effect::Preserve {
                incident, reason, ..
            } => self.halts.push(format!("{incident}: {reason}")),
            _ => {}
        }
    }
}

/// Whether an incident of this kind says that data is damaged, lost or out of reach: never true in
/// these runs.
pub(crate) fn claims_damage(kind: &str) -> bool {
    [
        "file.",
        "pages.",
        "schema.",
        "table.",
        "index.",
        "journal.",
        "wal.corrupt",
        "wal.foreign",
        "target.",
    ]
    .iter()
    .any(|prefix| kind.starts_with(prefix))
}
