//! The same policy in every language answers the same, but for what it remembers it by.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use dbmedic::model::{PolicyEvent, Setting, Value};
use dbmedic::policy::{Decision, Policy, Retold};
use dbmedic::policy_tests;

use super::project::{LANGUAGES, built, policy_with, root};

/// What a policy with these settings answers to every event of the cases, with its own memory carried on.
pub(crate) fn of_cases(
    policy: &Policy,
    settings: &[Setting],
    folders: &[PathBuf],
) -> Vec<Decision> {
    let asked = asked(policy, settings, folders).into_iter();
    asked.map(|(_, decision)| decision).collect()
}

/// The same, with each event.
fn asked(
    policy: &Policy,
    settings: &[Setting],
    folders: &[PathBuf],
) -> Vec<(PolicyEvent, Decision)> {
    let mut files = policy_tests::from_paths(folders).unwrap();
    for case in files.iter_mut().flat_map(|file| &mut file.cases) {
        // Its own are those of another policy.
        case.parameters = settings.to_vec();
    }
    let asked = policy_tests::questions(policy, &files);
    let decide = |asked: policy_tests::Asked| {
        let mut question = asked.question;
        let telemetry: &mut Retold = &mut question.telemetry;
        let decision = policy.decide(&question.event, &question.context, telemetry);
        (question.event, decision)
    };
    asked.into_iter().map(decide).collect()
}

/// Whether each precondition of each offered repair holds. Where one does not, rules choose another repair by
/// themselves; in a program the author does, or the guard refuses it.
fn all_hold(event: &PolicyEvent) -> bool {
    match event {
        PolicyEvent::Finding(finding) => {
            let mut of_all = finding.candidates.iter().flat_map(|one| &one.preconditions);
            of_all.all(|precondition| precondition.holds)
        }
        PolicyEvent::Outcome(_) | PolicyEvent::Tick => true,
    }
}

fn kind(event: &PolicyEvent) -> Option<&str> {
    match event {
        PolicyEvent::Finding(finding) => Some(&finding.kind),
        PolicyEvent::Outcome(_) | PolicyEvent::Tick => None,
    }
}

#[test]
fn every_language_answers_the_same() {
    let cases = root().join("policies/default/cases");
    let rules = root().join("sdk/rules/template/my-policy.rules.toml");
    let rules = Setting {
        name: "rules".to_owned(),
        value: Value::Text(fs::read_to_string(rules).unwrap()),
    };
    let mut first: Option<(&str, Vec<(PolicyEvent, Decision)>)> = None;
    for language in LANGUAGES.into_iter().chain(["rules"]) {
        let Some(component) = built(language) else {
            continue;
        };
        let settings = (language == "rules").then(|| rules.clone());
        let policy = policy_with(&component, settings.as_slice());
        let mut answers = asked(&policy, settings.as_slice(), std::slice::from_ref(&cases));
        for (_, answer) in &mut answers {
            assert_eq!(answer.failure, None, "{language}");
            answer.verdict.memory.clear();
        }
        let Some((other, expected)) = &first else {
            first = Some((language, answers));
            continue;
        };
        assert_eq!(expected.len(), answers.len());
        let (mut compared, mut kinds) = (0, BTreeSet::new());
        for (at, (expected, answer)) in expected.iter().zip(&answers).enumerate() {
            let (event, answer) = answer;
            if language == "rules" && !all_hold(event) {
                continue;
            }
            assert_eq!(
                expected.1.verdict, answer.verdict,
                "{other} and {language}, event {at}"
            );
            compared += 1;
            kinds.extend(kind(event));
        }
        assert!(compared >= 300, "{language}: {compared} decisions");
        assert!(kinds.len() >= 12, "{language}: {kinds:?}");
    }
    assert!(first.is_some(), "no language could be tried");
}
