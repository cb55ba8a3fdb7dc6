//! What a policy judges by: the event, its context and the parameters in force.

use crate::{ConstraintState, Context, Event, Finding, OpenIncident, Outcome, RepairHistory};

/// One event with everything beside it.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a, P> {
    /// Why the policy is asked.
    pub event: &'a Event,
    /// What the host remembers.
    pub context: &'a Context,
    /// The parameters in force.
    pub parameters: &'a P,
}

impl<'a, P> Situation<'a, P> {
    /// The event's time, milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    /// The finding, if the event is one.
    pub fn finding(&self) -> Option<&'a Finding> {
        match self.event {
            Event::Finding(finding) => Some(finding),
            _ => None,
        }
    }

    /// The outcome, if the event is one.
    pub fn outcome(&self) -> Option<&'a Outcome> {
        match self.event {
            Event::Outcome(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What became of one repair on one kind of problem so far.
    pub fn history(&self, kind: &str, repair: &str) -> Option<&'a RepairHistory> {
        let mut all = self.context.repairs.iter();
        all.find(|history| history.kind == kind && history.repair == repair)
    }

    /// The latest value of a main metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let mut all = self.context.metrics.iter();
        Some(all.find(|metric| metric.name == name)?.value)
    }

    /// Where a constraint stands.
    pub fn constraint(&self, name: &str) -> Option<&'a ConstraintState> {
        let mut all = self.context.constraints.iter();
        all.find(|constraint| constraint.name == name)
    }

    /// An open incident by its identifier.
    pub fn incident(&self, id: &str) -> Option<&'a OpenIncident> {
        self.context
            .incidents
            .iter()
            .find(|incident| incident.id == id)
    }
}
