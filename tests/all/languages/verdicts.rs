//! The same policy in every language answers the same, but for what it remembers it by.

use std::path::{Path, PathBuf};

use dbmedic::policy::{Decision, Policy, Retold};
use dbmedic::policy_tests;

use super::project::{LANGUAGES, built, policy};

/// What a policy answers to every event of the cases, with its own memory carried on.
pub(crate) fn of_cases(policy: &Policy, folders: &[PathBuf]) -> Vec<Decision> {
    let mut files = policy_tests::from_paths(folders).unwrap();
    for case in files.iter_mut().flat_map(|file| &mut file.cases) {
        // They are those of another policy.
        case.parameters.clear();
    }
    let asked = policy_tests::questions(policy, &files);
    let decide = |asked: policy_tests::Asked| {
        let mut question = asked.question;
        let telemetry: &mut Retold = &mut question.telemetry;
        policy.decide(&question.event, &question.context, telemetry)
    };
    asked.into_iter().map(decide).collect()
}

#[test]
fn every_language_answers_the_same() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default/cases");
    let mut first: Option<(&str, Vec<Decision>)> = None;
    for language in LANGUAGES {
        let Some(component) = built(language) else {
            continue;
        };
        let policy = policy(&component);
        let mut answers = of_cases(&policy, std::slice::from_ref(&cases));
        for answer in &mut answers {
            assert_eq!(answer.failure, None, "{language}");
            answer.verdict.memory.clear();
        }
        assert!(answers.len() >= 300, "{} events", answers.len());
        let Some((other, expected)) = &first else {
            first = Some((language, answers));
            continue;
        };
        for (at, (expected, answer)) in expected.iter().zip(&answers).enumerate() {
            assert_eq!(
                expected.verdict, answer.verdict,
                "{other} and {language}, event {at}"
            );
        }
        assert_eq!(expected.len(), answers.len());
    }
    assert!(first.is_some(), "no language could be tried");
}
