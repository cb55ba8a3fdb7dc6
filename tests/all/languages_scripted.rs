//! Policies in Python, JavaScript and TypeScript: templates, SDKs, and what is said of mistakes.
//!
//! Each language's own tools build them. They lie in `target/languages/LANGUAGE`, and are brought there
//! once; where that is not possible the language is left out, with a word on standard error.

mod mistakes;
mod project;

use std::fs;
use std::process::Command;

use dbmedic::policy::{Decision, Policy};
use dbmedic::policy_tests;

use crate::common::{copy_dir, data, run, talk};

use project::{LANGUAGES, Workshop, policy, root};

/// Runs the commands of the project's README, then asks the component.
fn from_nothing(language: &'static str) {
    let Some(workshop) = Workshop::with_tools(language) else {
        return;
    };
    for line in workshop.own_commands() {
        let done = workshop.shell(&line);
        assert!(
            done.status.success(),
            "{language}: {line}\n{}{}",
            data(&done),
            talk(&done)
        );
    }
    workshop.build();
    let component = workshop.component();
    let component = component.to_str().unwrap();
    let checked = run(&["policy", "check", component]);
    assert!(
        checked.status.success(),
        "{}{}",
        data(&checked),
        talk(&checked)
    );
    assert!(data(&checked).contains("3 cases"), "{}", data(&checked));
    let tested = run(&["policy", "test", component]);
    assert!(
        tested.status.success(),
        "{}{}",
        data(&tested),
        talk(&tested)
    );
    assert!(
        talk(&tested).contains("3 passed, 0 failed"),
        "{}",
        talk(&tested)
    );
}

#[test]
fn python_from_nothing() {
    from_nothing("python");
}

#[test]
fn javascript_from_nothing() {
    from_nothing("javascript");
}

#[test]
fn typescript_from_nothing() {
    from_nothing("typescript");
}

/// What a policy answers to every event of the default policy's cases, with its own memory carried on.
fn answers(policy: &Policy) -> Vec<Decision> {
    let mut files = policy_tests::from_paths(&[root().join("policies/default/cases")]).unwrap();
    for case in files.iter_mut().flat_map(|file| &mut file.cases) {
        // They are those of another policy.
        case.parameters.clear();
    }
    let decide = |mut asked: policy_tests::Asked| {
        let question = &mut asked.question;
        policy.decide(&question.event, &question.context, &mut question.telemetry)
    };
    let asked = policy_tests::questions(policy, &files);
    asked.into_iter().map(decide).collect()
}

#[test]
fn the_same_rule_answers_the_same_in_each() {
    let mut first: Option<(&str, Vec<Decision>)> = None;
    for language in LANGUAGES {
        let Some(workshop) = Workshop::with_tools(language) else {
            continue;
        };
        workshop.build();
        let mut answers = answers(&policy(&workshop.component()));
        assert!(answers.len() >= 300, "{} events", answers.len());
        for answer in &mut answers {
            assert_eq!(answer.failure, None, "{language}");
            answer.verdict.memory.clear();
        }
        let Some((other, expected)) = &first else {
            first = Some((language, answers));
            continue;
        };
        assert_eq!(expected.len(), answers.len());
        for (at, (expected, answer)) in expected.iter().zip(&answers).enumerate() {
            assert_eq!(
                expected.verdict, answer.verdict,
                "{other} and {language}, event {at}"
            );
        }
    }
}

#[test]
fn the_python_sdk_by_its_own_tests() {
    let Some(workshop) = Workshop::with_tools("python") else {
        return;
    };
    let tests = root().join("sdk/python/tests");
    let tests = fs::canonicalize(tests).unwrap();
    let line = format!(
        ".tools/bin/python -B -m pytest -q -p no:cacheprovider {}",
        tests.display()
    );
    let done = workshop.shell(&line);
    assert!(done.status.success(), "{}{}", data(&done), talk(&done));
}

#[test]
fn the_typescript_sdk_by_its_own_tests() {
    let Some(workshop) = Workshop::with_tools("typescript") else {
        return;
    };
    copy_dir(
        &root().join("sdk/typescript/tests"),
        &workshop.dir().join("tests"),
    );
    workshop.edit("tsconfig.json", "[\"*.ts\", ", "[\"*.ts\", \"tests\", ");
    let done = workshop.shell("sh build.sh --types && node --test .typescript/tests/");
    assert!(done.status.success(), "{}{}", data(&done), talk(&done));
}

/// With `UPDATE_DOCS=1` in the environment the JavaScript is written anew.
#[test]
fn the_javascript_sdk_is_what_the_typescript_gives() {
    let Some(workshop) = Workshop::with_tools("typescript") else {
        return;
    };
    let line = ".tools/node_modules/.bin/tsc --project . --noEmit false --outDir javascript";
    let done = workshop.shell(line);
    assert!(done.status.success(), "{}{}", data(&done), talk(&done));
    let committed = root().join("sdk/javascript/dbmedic-policy");
    let mut compared = 0;
    for file in fs::read_dir(workshop.dir().join("javascript/dbmedic-policy")).unwrap() {
        let file = file.unwrap();
        let made = fs::read_to_string(file.path()).unwrap();
        let there = committed.join(file.file_name());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&there, made).unwrap();
        } else {
            let differs = format!("{} differs; run it with UPDATE_DOCS=1", there.display());
            assert!(
                fs::read_to_string(&there).is_ok_and(|text| text == made),
                "{differs}"
            );
        }
        compared += 1;
    }
    assert!(compared >= 10, "{compared} files");
    // What the compiler leaves out has no line of its own, and no other file lies there.
    let other = |name: &str| name != "check.mjs" && !name.ends_with(".js");
    for file in fs::read_dir(committed).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(!other(&name), "{name}");
    }
}

#[test]
fn the_generated_parts_are_what_their_sources_give() {
    let script = root().join("sdk/generate.py");
    let Ok(done) = Command::new("python3").arg(script).arg("--check").output() else {
        eprintln!("skipped: there is no python3");
        return;
    };
    assert!(done.status.success(), "{}", talk(&done));
}
