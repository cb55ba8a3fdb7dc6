//! `policy test --update`: shows which expectations are not as the policy answers, and rewrites them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::policy::write_whole;
use crate::cli::{Ended, complain, say};
use crate::policy::Policy;
use crate::policy_tests::update::{Change, apply, changes};
use crate::policy_tests::{self, Case, CaseFile, FILE_BYTES};
use crate::regular_file;

/// A file with what is to change in it.
struct Rewritten {
    changes: Vec<Change>,
    text: String,
}

pub(super) fn run(policy: &Policy, cases: &[(&CaseFile, &Case)], yes: bool) -> Ended {
    let mut files: BTreeMap<&str, Rewritten> = BTreeMap::new();
    let mut kept = 0;
    for (file, case) in cases {
        let failure = failure(policy, file, case);
        let Some(failure) = failure else {
            continue;
        };
        match better(policy, file, case) {
            Ok((text, changes)) => {
                let rewritten = files.entry(&file.name).or_insert_with(|| Rewritten {
                    changes: Vec::new(),
                    text,
                });
                rewritten.changes.extend(changes);
            }
            Err(why) => {
                kept += 1;
                complain(&format!(
                    "{}:{}: {}: stays as it is: {why}: {failure}",
                    file.name, case.line, case.name
                ));
            }
        }
    }
    for (name, rewritten) in &files {
        for change in &rewritten.changes {
            say(&format!("{name}:{}: {}", change.line, change.key))?;
            say(&format!("- {}", change.old))?;
            say(&format!("+ {}", change.new))?;
        }
    }
    let values: usize = files.values().map(|file| file.changes.len()).sum();
    if values == 0 {
        complain(if kept == 0 {
            "every case passes; nothing is to be rewritten"
        } else {
            "nothing was rewritten"
        });
        return Ok(if kept == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    if !yes && !agreed(values, files.len())? {
        complain("nothing was rewritten");
        return Ok(ExitCode::FAILURE);
    }
    for (name, mut rewritten) in files {
        rewritten.changes.sort_by_key(|change| change.line);
        let text = apply(&rewritten.text, &rewritten.changes);
        write_whole(Path::new(name), text.as_bytes())?;
    }
    complain(&format!(
        "{values} values rewritten, {kept} cases stay as they are"
    ));
    Ok(if kept == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why a case fails; none when it passes.
fn failure(policy: &Policy, file: &CaseFile, case: &Case) -> Option<String> {
    let alone = CaseFile {
        name: file.name.clone(),
        rules: Vec::new(),
        cases: vec![case.clone()],
    };
    let report = policy_tests::run(policy, &[alone], None);
    report.cases.first()?.failures.first().cloned()
}

/// The text of a file and the changes with which a case of it passes.
fn better(policy: &Policy, file: &CaseFile, case: &Case) -> anyhow::Result<(String, Vec<Change>)> {
    let path = Path::new(&file.name);
    if !path.is_file() {
        anyhow::bail!("the component carries it");
    }
    let text = regular_file::read_text(path, FILE_BYTES as u64)?;
    let changes = changes(policy, case, &text);
    if changes.is_empty() {
        anyhow::bail!("no expectation of it can say what the policy answers");
    }
    let new = policy_tests::parse(&apply(&text, &changes), &file.name, path.parent())?;
    let now = new.cases.iter().find(|new| new.name == case.name);
    match now.map(|now| self::failure(policy, file, now)) {
        Some(None) => Ok((text, changes)),
        _ => anyhow::bail!("it would fail all the same"),
    }
}

/// Asks whoever sits at the terminal; nobody there is a no.
fn agreed(values: usize, files: usize) -> std::io::Result<bool> {
    let mut input = std::io::stdin().lock();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        complain("there is no terminal to ask on; give `--yes` to rewrite them");
        return Ok(false);
    }
    write!(
        std::io::stderr(),
        "rewrite {values} values in {files} files? [y/N] "
    )?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
