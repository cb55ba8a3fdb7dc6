//! The replay driver: a recording through the same pipeline, effects compared, not carried out.
//!
//! It reads no clock and touches no target. Where the recorded policy was cut off by the clock, the
//! same policy counts as cut off here.

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::pipeline::{DEFAULT_POLICY, Effect, Event, Pipeline, Policies};
use crate::policy::{Policy, PolicyIdentity};
use crate::recording::{RecordingError, RecordingReader};

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Events in the recording.
    pub events: u64,
    /// Decisions of the policy.
    pub decisions: u64,
    /// Events whose effects are not those that were recorded.
    pub differing_events: u64,
    /// The first of them, counted from 1.
    pub first_difference: Option<u64>,
}

/// Feeds a recording to a pipeline with these policies. `policy_for` gives the policy of a name that
/// came into service on the way; where it gives none, the one before stays. `on_event` gets each
/// event with its effects.
pub fn replay<E: From<RecordingError>>(
    mut recording: RecordingReader,
    policies: impl Into<Policies>,
    mut policy_for: impl FnMut(&str, &PolicyIdentity) -> Result<Option<Policy>, E>,
    mut on_event: impl FnMut(&Event, &[Effect]) -> Result<(), E>,
) -> Result<Summary, E> {
    let header = recording.header();
    let policies = policies.into();
    // Which policies decide as recorded; the failures of others are not taken over.
    let mut same_policies = policies.get(DEFAULT_POLICY).digest() == header.policy.digest
        && header
            .named
            .iter()
            .all(|(name, named)| policies.get(name).digest() == named.identity.digest);
    let mut pipeline = Pipeline::new(header.options.clone(), policies, header.carried.clone());
    let mut summary = Summary::default();
    while let Some(recorded) = recording.next_event()? {
        if let Event::PolicySwapped { policy, to, .. } = &recorded.event {
            let ready = policy_for(policy, to)?;
            same_policies &= ready.as_ref().is_some_and(|p| p.digest() == to.digest);
            if let Some(ready) = ready {
                pipeline.stand_by(policy, ready);
            }
        }
        let effects = if same_policies {
            pipeline.step_again(&recorded.event, recorded.failures_of_machine())
        } else {
            pipeline.step(&recorded.event)
        };
        summary.events += 1;
        let decided = effects
            .iter()
            .filter(|e| matches!(e, Effect::Decided(_)))
            .count();
        summary.decisions += decided as u64;
        let same = to_raw_value(&effects).is_ok_and(|now| now.get() == recorded.effects.get());
        if !same {
            summary.differing_events += 1;
            summary.first_difference.get_or_insert(summary.events);
        }
        on_event(&recorded.event, &effects)?;
    }
    Ok(summary)
}
