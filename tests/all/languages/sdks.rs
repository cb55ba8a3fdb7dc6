//! The SDKs by their own tests, and their generated parts.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::project::{Workshop, root};
use crate::common::{copy_dir, data, talk};

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
    let other =
        |name: &str| name != "check.mjs" && Path::new(name).extension() != Some("js".as_ref());
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
