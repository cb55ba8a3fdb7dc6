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

#[cfg(test)]
mod tests {
    use super::Situation;
    use crate::{DataLoss, Event, OpenIncident, Outcome, OutcomeResult, RepairHistory, testing};

    fn history(kind: &str, repair: &str, successes: u32) -> RepairHistory {
        RepairHistory {
            kind: kind.into(),
            repair: repair.into(),
            successes,
            failures: 0,
            failures_in_a_row: 0,
            last_ms: 0,
        }
    }

    #[test]
    fn what_the_host_remembers_is_found_by_its_whole_name() {
        let mut context = testing::context(Vec::new());
        context.repairs = vec![
            history("k", "other", 1),
            history("l", "r", 2),
            history("k", "r", 3),
        ];
        let incident = |id: &str, sightings| OpenIncident {
            id: id.into(),
            kind: "k".into(),
            subject: "main".into(),
            opened_ms: 0,
            sightings,
            classification: None,
        };
        context.incidents = vec![incident("i-1", 4), incident("i-2", 5)];
        let event = Event::Finding(testing::finding("k", &[]));
        let situation = Situation {
            event: &event,
            context: &context,
            parameters: &(),
        };
        let successes = |kind, repair| situation.history(kind, repair).map(|one| one.successes);
        assert_eq!(successes("k", "r"), Some(3));
        assert_eq!(successes("l", "other"), None);
        let sightings = |id| situation.incident(id).map(|one| one.sightings);
        assert_eq!((sightings("i-2"), sightings("i-3")), (Some(5), None));
    }

    #[test]
    fn an_event_is_what_it_is_and_nothing_else() {
        let context = testing::context(Vec::new());
        let outcome = Event::Outcome(Outcome {
            incident: "i-1".into(),
            kind: "k".into(),
            subject: "main".into(),
            repair: "r".into(),
            outcome_result: OutcomeResult::Verified,
            reason: String::new(),
            duration_ms: 7,
            loss: DataLoss {
                commits: 0,
                percent: 0.0,
            },
        });
        let finding = Event::Finding(testing::finding("k", &[]));
        let about = |event| {
            let situation = Situation {
                event,
                context: &context,
                parameters: &(),
            };
            let took = situation.outcome().map(|outcome| outcome.duration_ms);
            (situation.finding().is_some(), took)
        };
        assert_eq!(about(&outcome), (false, Some(7)));
        assert_eq!(about(&finding), (true, None));
    }
}
