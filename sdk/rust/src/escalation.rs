//! Who must know: how the level rises with the class and returns when there is no cause left. What
//! [`Policy::escalate`](crate::Policy::escalate) does by itself, for policies that do more.

use crate::{Answer, Classification, EscalationLevel, OpenIncident, Situation, reason, seconds};

use EscalationLevel::{Escalate, Normal, Warn, Watch};

/// How long a level stays without a cause before it returns by one step, milliseconds.
pub const RETURN_MS: u64 = 600_000;

/// The level that a class of problem calls for.
pub const fn called_for(class: Classification) -> EscalationLevel {
    match class {
        Classification::Hiccup => Watch,
        Classification::Obstacle => Warn,
        Classification::Wall | Classification::Crisis => Escalate,
    }
}

/// The level rises to what the class calls for; a crisis halts.
pub fn rise(answer: &mut Answer) {
    let Some(class) = answer.so_far().classification else {
        return;
    };
    answer.at_least(called_for(class));
    if class == Classification::Crisis {
        answer.halt();
    }
}

/// The level returns by one step when it was entered more than `after_ms` ago, when this answer calls
/// for less, and when no open incident keeps it.
///
/// An incident keeps the level that its class calls for, and one that nobody classified keeps warn.
pub fn come_down<P>(situation: &Situation<'_, P>, answer: &mut Answer, after_ms: u64) {
    let present = situation.context.level;
    let asked = answer.asked();
    let since_ms = situation.context.level_since_ms;
    let quiet_ms = situation.now_ms().saturating_sub(since_ms);
    if asked >= present || quiet_ms <= after_ms {
        return;
    }
    let below = match present {
        Normal | Watch => Normal,
        Warn => Watch,
        Escalate => Warn,
    };
    let class = answer.so_far().classification;
    let mut incidents = situation.context.incidents.iter();
    if incidents.any(|open| kept_by(open, situation, class) >= present) {
        return;
    }
    answer.level(below.max(asked)).because(reason!(
        "level.returns",
        "no cause for it for {}: from {} to {}",
        seconds(quiet_ms),
        name(present),
        name(below.max(asked))
    ));
}

/// The level that an open incident keeps. The event's own has the class that it was just given.
fn kept_by<P>(
    open: &OpenIncident,
    situation: &Situation<'_, P>,
    class: Option<Classification>,
) -> EscalationLevel {
    let finding = situation.finding();
    let is_own = finding.is_some_and(|finding| finding.incident == open.id);
    let class = if is_own { class } else { open.classification };
    class.map_or(Warn, called_for)
}

const fn name(level: EscalationLevel) -> &'static str {
    match level {
        Normal => "normal",
        Watch => "watch",
        Warn => "warn",
        Escalate => "escalate",
    }
}

#[cfg(test)]
mod tests {
    use super::{RETURN_MS, come_down, rise};
    use crate::{Answer, Classification, EscalationLevel, Event, OpenIncident, Situation, testing};

    use EscalationLevel::{Escalate, Normal, Warn, Watch};

    fn incident(id: &str, classification: Option<Classification>) -> OpenIncident {
        OpenIncident {
            id: id.into(),
            kind: "k".into(),
            subject: "main".into(),
            opened_ms: 0,
            sightings: 1,
            classification,
            acknowledged: None,
            answers: Vec::new(),
        }
    }

    /// The level after an event, with a time at the level present and what is open.
    fn after(
        present: EscalationLevel,
        quiet_ms: u64,
        class: Option<Classification>,
        open: &[OpenIncident],
    ) -> EscalationLevel {
        let mut context = testing::context(Vec::new());
        context.level = present;
        context.level_since_ms = context.now_ms - quiet_ms;
        context.incidents = open.to_vec();
        let event = Event::Finding(testing::finding("k", &[]));
        let situation = Situation {
            event: &event,
            context: &context,
            parameters: &(),
        };
        let mut answer = Answer::at(present);
        if let Some(class) = class {
            answer.classify(class);
        }
        rise(&mut answer);
        come_down(&situation, &mut answer, RETURN_MS);
        let returned = answer
            .so_far()
            .reasons
            .iter()
            .any(|it| it.rule == "level.returns");
        assert_eq!(returned, answer.so_far().level < present);
        answer.so_far().level
    }

    #[test]
    fn a_level_without_a_cause_returns_step_by_step() {
        let late = RETURN_MS + 1;
        assert_eq!(after(Escalate, late, None, &[]), Warn);
        assert_eq!(after(Warn, late, None, &[]), Watch);
        assert_eq!(after(Watch, late, None, &[]), Normal);
        assert_eq!(after(Normal, late, None, &[]), Normal);
        assert_eq!(after(Escalate, RETURN_MS, None, &[]), Escalate);
    }

    #[test]
    fn what_the_answer_calls_for_and_what_is_open_keep_it() {
        use Classification::{Crisis, Hiccup, Obstacle, Wall};
        let late = RETURN_MS + 1;
        assert_eq!(after(Warn, late, Some(Hiccup), &[]), Watch);
        assert_eq!(after(Warn, late, Some(Obstacle), &[]), Warn);
        assert_eq!(after(Watch, late, Some(Crisis), &[]), Escalate);
        assert_eq!(
            after(Escalate, late, None, &[incident("i-2", Some(Wall))]),
            Escalate
        );
        assert_eq!(after(Escalate, late, None, &[incident("i-2", None)]), Warn);
        assert_eq!(after(Warn, late, None, &[incident("i-2", None)]), Warn);
        // The event's own was a wall and is a hiccup now.
        let own = incident("i-1", Some(Wall));
        assert_eq!(after(Escalate, late, Some(Hiccup), &[own]), Warn);
    }
}
