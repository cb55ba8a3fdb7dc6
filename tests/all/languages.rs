//! Policies in each language, from nothing: new, build, check, test and hot swap, nothing edited.
//!
//! Each language's own tools build them. They lie in `target/languages/LANGUAGE`, and are brought there
//! once; where that is not possible the language is left out, with a word on standard error.

#![allow(clippy::print_stderr, reason = "a language that is left out is told")]

mod bindings;
mod cookbook;
mod mistakes;
mod project;
mod sdks;
mod verdicts;

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{data, run, talk, wait_within};
use crate::policy_command::{Home, Running};

use project::{LANGUAGES, Workshop, policy};

/// Runs every command that the page on first policies has for a language, as it stands there.
fn from_nothing(language: &'static str, title: &str) {
    let Some(workshop) = Workshop::with_tools(language) else {
        return;
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/first-policy.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {title}\n")).unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    for line in workshop.readme() {
        assert!(
            commands.contains(&line),
            "{language}: only the README says: {line}"
        );
    }
    // The folder is there already, beside its tools.
    let commands = format!("set -e\n{commands}").replace("dbmedic policy new", ": policy new");
    let commands = commands.replace("cd night-watch\n", "");
    let done = workshop.shell(&commands);
    assert!(
        done.status.success(),
        "{language}: {}{}",
        data(&done),
        talk(&done)
    );
    let told = data(&done) + &talk(&done);
    for piece in ["can come into service", "3 cases", "3 passed, 0 failed"] {
        assert!(told.contains(piece), "{language}: {piece}: {told}");
    }
    workshop.nothing_else_is_there();
}

#[test]
fn rust_from_nothing() {
    from_nothing("rust", "Rust");
}

#[test]
fn c_from_nothing() {
    from_nothing("c", "C");
}

#[test]
fn go_from_nothing() {
    from_nothing("go", "Go");
}

#[test]
fn python_from_nothing() {
    from_nothing("python", "Python");
}

#[test]
fn javascript_from_nothing() {
    from_nothing("javascript", "JavaScript");
}

#[test]
fn typescript_from_nothing() {
    from_nothing("typescript", "TypeScript");
}

#[test]
fn rules_from_nothing() {
    from_nothing("rules", "Rules");
}

#[test]
fn the_contract_is_one_file_that_parses() {
    let wit = data(&run(&["policy", "wit"]));
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("policy.wit", &wit).unwrap();
    let name = resolve.packages[package].name.to_string();
    assert_eq!(name, "dbmedic:policy@0.2.0");
    let world = resolve.select_world(&[package], Some("policy")).unwrap();
    assert_eq!(resolve.worlds[world].exports.len(), 1);
}

#[test]
fn what_is_missing_is_told_with_the_command_that_brings_it() {
    let home = tempfile::tempdir().unwrap();
    let project = project::new(home.path(), "c", "night-watch");
    let built = run(&["policy", "build", project.to_str().unwrap()]);
    assert_eq!(built.status.code(), Some(2), "{}", talk(&built));
    let told = talk(&built);
    let line = fs::read_to_string(project.join("dbmedic-policy.toml")).unwrap();
    let line: toml::Table = line.parse().unwrap();
    let brings = line["tools"][0]["brings"].as_str().unwrap();
    assert!(
        told.contains(&format!("(cd {} && {brings})", project.display())),
        "{told}"
    );
    assert!(!project.join("night-watch.wasm").exists());
    let nowhere = run(&["policy", "build", home.path().to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(
        talk(&nowhere).contains("it is no policy project"),
        "{}",
        talk(&nowhere)
    );
}

#[test]
fn a_name_that_is_taken_or_no_name_is_refused() {
    let home = tempfile::tempdir().unwrap();
    project::new(home.path(), "rust", "night-watch");
    for (name, why) in [
        ("night-watch", "exists already"),
        ("../x", "is not the name of a policy"),
        ("Night", "is not the name of a policy"),
    ] {
        let again = project::made(home.path(), "rust", name);
        assert_eq!(again.status.code(), Some(2), "{name}");
        assert!(talk(&again).contains(why), "{}", talk(&again));
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_compiler_says_itself_what_is_wrong() {
    let Some(workshop) = Workshop::with_tools("rust") else {
        return;
    };
    workshop.edit("src/lib.rs", "fn choose(", "fn chose(");
    let built = workshop.shell("dbmedic policy build");
    assert_eq!(built.status.code(), Some(1), "{}", talk(&built));
    let told = talk(&built);
    for piece in ["error[E0407]", "src/lib.rs:", "build.sh failed"] {
        assert!(told.contains(piece), "{piece}: {told}");
    }
    assert!(!workshop.component().exists());
}

#[test]
fn an_uncaught_error_is_in_the_log_with_file_and_line() {
    // What is written instead of the rule, and how the log tells it.
    let faults = [
        (
            "rust",
            "src/lib.rs",
            "let failures =",
            "let none: Option<u32> = None; none.expect(\"no number\"); let failures =",
            "no number at src/lib.rs:",
        ),
        (
            "c",
            "policy.c",
            "uint32_t failures =",
            "assert(age_ms == 7); uint32_t failures =",
            "assertion failed: age_ms == 7 at policy.c:",
        ),
        (
            "go",
            "policy.go",
            "failures :=",
            "var none map[string]int; none[\"a\"] = 1; failures :=",
            "assignment to entry in nil map at policy.go:",
        ),
    ];
    for (language, file, old, new, told) in faults {
        let Some(workshop) = Workshop::with_tools(language) else {
            continue;
        };
        workshop.edit(file, old, new);
        let built = workshop.shell("sh build.sh");
        assert!(built.status.success(), "{}", talk(&built));
        let policy = policy(&workshop.component());
        let decisions = verdicts::of_cases(&policy, &[], &[workshop.cases()]);
        let failed: Vec<_> = decisions.iter().filter(|it| it.failure.is_some()).collect();
        assert!(!failed.is_empty(), "{language}");
        for decision in failed {
            let log = &decision.log;
            let is_told = log.iter().any(|line| line.message.contains(told));
            assert!(is_told, "{language}: {log:?}");
        }
    }
}

#[test]
fn a_running_dbmedic_takes_a_policy_in_each_language() {
    let home = Home::new("");
    let running = Running::start(&home, &[]);
    let mut taken = 0;
    for language in LANGUAGES {
        let Some(component) = project::built(language) else {
            continue;
        };
        let file = home.path(&format!("{language}.wasm"));
        fs::copy(component, &file).unwrap();
        let file = file.to_str().unwrap();
        let signed = run(&["policy", "sign", file, "-k", &home.text("key")]);
        assert!(signed.status.success(), "{}", talk(&signed));
        let swapped = home.policy(&["swap", file]);
        assert!(swapped.status.success(), "{language}: {}", talk(&swapped));
        let digest = dbmedic::signing::sha256(&fs::read(file).unwrap());
        wait_within(Duration::from_mins(2), language, || {
            (home.status()["present"]["digest"] == digest).then_some(())
        });
        taken += 1;
    }
    assert!(taken > 0, "no language could be tried");
    running.stop();
}
