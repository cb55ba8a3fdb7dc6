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

    /// How often a repair of one kind of problem failed since it last succeeded.
    pub fn failures_in_a_row(&self, kind: &str, repair: &str) -> u32 {
        self.history(kind, repair)
            .map_or(0, |history| history.failures_in_a_row)
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

    /// The event's own incident, if it is about one.
    pub fn own_incident(&self) -> Option<&'a OpenIncident> {
        let id = match self.event {
            Event::Finding(finding) => &finding.incident,
            Event::Outcome(outcome) => &outcome.incident,
            Event::Tick => return None,
        };
        self.incident(id)
    }

    /// Who approves a repair of the event's incident at present, each once, in the order in which they
    /// answered. Of several answers of one person the last one counts; nobody approves what somebody
    /// denied since.
    pub fn approvals(&self, repair: &str) -> Vec<&'a str> {
        let mut approve: Vec<&str> = Vec::new();
        let answers = self.own_incident().map_or(&[][..], |own| &own.answers);
        for answer in answers.iter().filter(|answer| answer.repair == repair) {
            if !answer.granted {
                approve.clear();
            } else if !approve.contains(&&*answer.said.by) {
                approve.push(&answer.said.by);
            }
        }
        approve
    }

    /// Minutes that the local time is ahead of UTC at a moment, from now up to the change after the next
    /// one; 0 when the local time is not known.
    pub fn utc_offset_minutes(&self, at_ms: u64) -> i32 {
        let Some(local) = &self.context.local_time else {
            return 0;
        };
        match &local.next_change {
            Some(change) if at_ms >= change.at_ms => change.utc_offset_minutes,
            _ => local.utc_offset_minutes,
        }
    }

    /// The local weekday and minute of the day at a moment; see [`Situation::utc_offset_minutes`].
    pub fn local(&self, at_ms: u64) -> LocalMoment {
        let minutes = i64::try_from(at_ms / 60_000).unwrap_or(i64::MAX / 2);
        let local = minutes.saturating_add(i64::from(self.utc_offset_minutes(at_ms)));
        let (day, minute) = (local.div_euclid(1440), local.rem_euclid(1440));
        LocalMoment {
            // 1 January 1970 was a Thursday.
            weekday: WEEKDAYS[usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)],
            minute_of_day: u32::try_from(minute).unwrap_or(0),
        }
    }

    /// Whether people work on the target at the event.
    pub fn in_maintenance(&self) -> bool {
        self.context.maintenance.open.is_some()
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

const WEEKDAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// A moment by a local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    /// The day of the week.
    pub weekday: Weekday,
    /// Minutes since midnight, 0 to 1439.
    pub minute_of_day: u32,
}

#[cfg(test)]
mod tests {
    use super::Situation;
    use super::{LocalMoment, Weekday};
    use crate::{
        Attribution, Event, LocalTime, OffsetChange, OpenIncident, Outcome, OutcomeResult,
        RepairAnswer, RepairHistory, testing,
    };

    fn history(kind: &str, repair: &str, successes: u32) -> RepairHistory {
        RepairHistory {
            kind: kind.into(),
            repair: repair.into(),
            successes,
            failures: 2,
            failures_in_a_row: 2,
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
            acknowledged: None,
            answers: Vec::new(),
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
        assert_eq!(situation.failures_in_a_row("k", "r"), 2);
        assert_eq!(situation.failures_in_a_row("l", "other"), 0);
        let sightings = |id| situation.incident(id).map(|one| one.sightings);
        assert_eq!((sightings("i-2"), sightings("i-3")), (Some(5), None));
    }

    #[test]
    fn who_approves_is_known_by_the_last_answers() {
        let answer = |by: &str, repair: &str, granted| RepairAnswer {
            repair: repair.into(),
            granted,
            said: Attribution {
                by: by.into(),
                at_ms: 0,
                note: None,
            },
        };
        let approve = |answers: &[(&str, &str, bool)]| {
            let mut context = testing::context(Vec::new());
            context.incidents = vec![OpenIncident {
                id: "i-1".into(),
                kind: "k".into(),
                subject: "main".into(),
                opened_ms: 0,
                sightings: 1,
                classification: None,
                acknowledged: None,
                answers: answers
                    .iter()
                    .map(|(by, repair, granted)| answer(by, repair, *granted))
                    .collect(),
            }];
            let event = Event::Finding(testing::finding("k", &[]));
            let situation = Situation {
                event: &event,
                context: &context,
                parameters: &(),
            };
            let by: Vec<String> = situation
                .approvals("r")
                .into_iter()
                .map(str::to_owned)
                .collect();
            by.join(" ")
        };
        assert_eq!(approve(&[]), "");
        assert_eq!(approve(&[("eve", "r", true), ("eve", "r", true)]), "eve");
        assert_eq!(
            approve(&[
                ("eve", "r", true),
                ("bob", "other", true),
                ("bob", "r", true)
            ]),
            "eve bob"
        );
        assert_eq!(approve(&[("eve", "r", true), ("bob", "r", false)]), "");
        assert_eq!(approve(&[("bob", "r", false), ("eve", "r", true)]), "eve");
    }

    #[test]
    fn local_time_follows_the_next_change() {
        let mut context = testing::context(Vec::new());
        let event = Event::Tick;
        let moment = |context: &crate::Context, at_ms| {
            let situation = Situation {
                event: &event,
                context,
                parameters: &(),
            };
            let LocalMoment {
                weekday,
                minute_of_day,
            } = situation.local(at_ms);
            (weekday, minute_of_day)
        };
        assert_eq!(moment(&context, 0), (Weekday::Thursday, 0));
        let change_ms = 7 * 3_600_000;
        context.local_time = Some(LocalTime {
            utc_offset_minutes: -420,
            next_change: Some(OffsetChange {
                at_ms: change_ms,
                utc_offset_minutes: -360,
            }),
        });
        assert_eq!(moment(&context, 0), (Weekday::Wednesday, 17 * 60));
        assert_eq!(moment(&context, change_ms - 1), (Weekday::Wednesday, 1439));
        assert_eq!(moment(&context, change_ms), (Weekday::Thursday, 60));
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
            loss: testing::NO_LOSS,
            notes: Vec::new(),
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
