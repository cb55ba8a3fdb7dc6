use super::{Guest, Policy, configure, decide, describe};
use crate::{
    Answer, Classification, EscalationLevel, Event, Reason, Setting, Situation, Value, Verbosity,
    reason, testing,
};

crate::parameters! {
    /// For the tests.
    struct Numbers {
        /// A count.
        count: u32 = 3, 1..=10;
    }
}

/// Counts its events and has no opinion.
struct Counting;

impl Policy for Counting {
    type Parameters = Numbers;
    type Memory = u32;
    const NAME: &'static str = "counting";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "Counts.";

    fn choose(situation: &Situation<'_, Numbers>, seen: &mut u32, answer: &mut Answer) {
        *seen += 1;
        answer.because(reason!(
            "count.seen",
            "{seen} of {}",
            situation.parameters.count
        ));
    }
}

/// Remembers too much, or refuses.
struct Failing;

impl Policy for Failing {
    type Parameters = Numbers;
    type Memory = Vec<u8>;
    const NAME: &'static str = "failing";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "Fails.";

    fn decide(situation: &Situation<'_, Numbers>, memory: &mut Vec<u8>) -> Result<Answer, Reason> {
        if situation.finding().is_some() {
            return Err(reason!("failing.refuses", "no"));
        }
        memory.resize(20_000, 0);
        Ok(Answer::at(situation.context.level))
    }
}

fn settings() -> Vec<u8> {
    configure::<Counting>(&[]).unwrap()
}

#[test]
fn memory_is_carried_from_one_event_to_the_next() {
    let mut context = testing::context(settings());
    for seen in 1..=3 {
        let verdict = decide::<Counting>(&Event::Tick, &context).unwrap();
        assert_eq!(verdict.reasons[0].text, format!("{seen} of 3"));
        context.memory = verdict.memory;
    }
}

#[test]
fn an_unjudged_finding_is_a_wall_for_a_person() {
    let event = Event::Finding(testing::finding("disk.on-fire", &[]));
    let verdict = decide::<Counting>(&event, &testing::context(settings())).unwrap();
    assert_eq!(verdict.classification, Some(Classification::Wall));
    assert_eq!(verdict.level, EscalationLevel::Escalate);
    assert_eq!(verdict.verbosity, Verbosity::Incident);
    assert_eq!((verdict.repair, verdict.halt), (None, false));
}

#[test]
fn foreign_memory_is_forgotten_with_a_note() {
    testing::clear();
    let mut context = testing::context(settings());
    context.memory = vec![9, 9, 9];
    let verdict = decide::<Counting>(&Event::Tick, &context).unwrap();
    assert_eq!(verdict.reasons[0].text, "1 of 3");
    assert_eq!(verdict.reasons[1].rule, "memory.unreadable");
    assert!(verdict.reasons[1].text.contains("another policy"));
}

#[test]
fn unreadable_settings_are_a_refusal() {
    let foreign = configure::<Failing>(&[]).unwrap();
    for bytes in [Vec::new(), vec![1, 2, 3], foreign] {
        let refusal = decide::<Counting>(&Event::Tick, &testing::context(bytes)).unwrap_err();
        assert_eq!(refusal.rule, "settings.unreadable");
    }
}

#[test]
fn a_refusal_passes_through_and_a_memory_too_large_is_dropped() {
    let context = testing::context(configure::<Failing>(&[]).unwrap());
    let event = Event::Finding(testing::finding("x.y", &[]));
    assert_eq!(
        decide::<Failing>(&event, &context).unwrap_err().rule,
        "failing.refuses"
    );
    let verdict = decide::<Failing>(&Event::Tick, &context).unwrap();
    assert_eq!(verdict.reasons[0].rule, "memory.too-large");
    assert!(verdict.memory.is_empty());
}

#[test]
fn it_says_who_it_is_and_checks_settings() {
    let description = describe::<Counting>();
    assert_eq!(description.name, "counting");
    assert_eq!(description.parameters.len(), 1);
    let wrong = Setting {
        name: "count".into(),
        value: Value::Integer(0),
    };
    assert_eq!(configure::<Counting>(&[wrong]).unwrap_err().len(), 1);
}

#[test]
fn the_component_answers_as_the_functions_do() {
    let set = || {
        vec![Setting {
            name: "count".into(),
            value: Value::Integer(7),
        }]
    };
    assert_eq!(
        <Counting as Guest>::configure(set()),
        configure::<Counting>(&set())
    );
    assert_ne!(
        <Counting as Guest>::configure(set()),
        configure::<Counting>(&[])
    );
}

/// Leaves every question but the first as it is, and the first where the count is above 4.
struct Classing;

impl Policy for Classing {
    type Parameters = Numbers;
    type Memory = ();
    const NAME: &'static str = "classing";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "Classes.";

    fn classify(situation: &Situation<'_, Numbers>, (): &mut (), answer: &mut Answer) {
        match situation.parameters.count {
            1 => answer.classify(Classification::Hiccup),
            2 => answer.classify(Classification::Obstacle),
            3 => answer.classify(Classification::Wall),
            4 => answer.classify(Classification::Crisis),
            _ => answer,
        };
    }
}

#[test]
fn the_level_rises_with_the_class_and_only_a_crisis_halts() {
    use EscalationLevel::{Escalate, Normal, Warn, Watch};
    let event = Event::Finding(testing::finding("k", &[]));
    let answer = |count: i64, level| {
        let settings = configure::<Classing>(&[Setting {
            name: "count".into(),
            value: Value::Integer(count),
        }]);
        let mut context = testing::context(settings.unwrap());
        context.level = level;
        context.level_since_ms = context.now_ms;
        let verdict = decide::<Classing>(&event, &context).unwrap();
        (verdict.level, verdict.halt)
    };
    let levels = [
        (1, Watch),
        (2, Warn),
        (3, Escalate),
        (4, Escalate),
        (5, Normal),
    ];
    for (count, level) in levels {
        assert_eq!(answer(count, Normal), (level, count == 4), "{count}");
        // What is higher stays for a while.
        assert_eq!(answer(count, Escalate), (Escalate, count == 4), "{count}");
    }
}

#[test]
fn what_no_rule_judges_is_a_wall_with_a_reason() {
    let event = Event::Finding(testing::finding("k", &[]));
    let context = testing::context(settings());
    let verdict = decide::<Counting>(&event, &context).unwrap();
    assert_eq!(verdict.classification, Some(Classification::Wall));
    assert_eq!(verdict.reasons[0].rule, "policy.not-judged");
    let tick = decide::<Counting>(&Event::Tick, &context).unwrap();
    assert_eq!(tick.classification, None);
}

#[test]
fn the_first_layout_is_the_first() {
    assert_eq!(settings()[0], 1);
}
