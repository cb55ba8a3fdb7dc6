//! Mutation testing of what decides, beside cargo-mutants: it changes numbers by one, thresholds by
//! their border, levels and classes by one step, and takes single calls away, which cargo-mutants
//! does not do. `tests/mutants.sh` calls both.
//!
//!     dbmedic-mutants [--list] [--only TEXT] [--shard K/N] [--allow FILE] SOURCE... -- COMMAND...
//!
//! Each source is changed in a copy of the workspace, where the command must then fail; unchanged it
//! must succeed. What the command does not notice is a survivor, printed and counted, and the exit
//! code is 1; survivors that stand in the file of `--allow` are known to be equivalent. The tree that
//! it is called in is not written to, but for the copy under `target/mutants`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it finds is its output"
)]

mod lexer;
mod mutate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use mutate::{Mutant, mutants};

/// Not copied: what is built, and what git keeps.
const LEFT_OUT: [&str; 2] = ["target", ".git"];
/// How long the command may take at first, which builds everything, and for one change; seconds, for
/// `timeout`.
const FIRST_SECONDS: &str = "1800";
const MUTANT_SECONDS: &str = "120";
const USAGE: &str = "usage: dbmedic-mutants [--list] [--only TEXT] [--shard K/N] [--allow FILE] \
                     SOURCE... -- COMMAND...";

struct Arguments {
    list: bool,
    only: Option<String>,
    /// Of so many parts, which one; counted from 1.
    shard: Option<(usize, usize)>,
    allowed: BTreeSet<String>,
    sources: Vec<PathBuf>,
    command: Vec<String>,
}

fn main() -> ExitCode {
    match arguments(env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut all = Arguments {
        list: false,
        only: None,
        shard: None,
        allowed: BTreeSet::new(),
        sources: Vec::new(),
        command: Vec::new(),
    };
    while let Some(argument) = given.next() {
        match &*argument {
            "--list" => all.list = true,
            "--only" => all.only = Some(given.next().ok_or(USAGE)?),
            "--shard" => {
                let given = given.next().ok_or(USAGE)?;
                let (part, parts) = given.split_once('/').ok_or(USAGE)?;
                let shard = part.parse().ok().zip(parts.parse().ok());
                let is_right = |(part, parts): &(usize, usize)| (1..=*parts).contains(part);
                all.shard = Some(shard.filter(is_right).ok_or(USAGE)?);
            }
            "--allow" => {
                let path = given.next().ok_or(USAGE)?;
                let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
                let lines = text.lines().map(str::trim);
                let known = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                all.allowed.extend(known.map(str::to_owned));
            }
            "--" => all.command = given.by_ref().collect(),
            source => all.sources.push(PathBuf::from(source)),
        }
    }
    if all.sources.is_empty() || (all.command.is_empty() && !all.list) {
        return Err(USAGE.into());
    }
    Ok(all)
}

/// Whether every mutant was noticed.
fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut all: Vec<(PathBuf, String, Mutant)> = Vec::new();
    for path in sources(&arguments.sources)? {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for mutant in mutants(&text) {
            all.push((path.clone(), text.clone(), mutant));
        }
    }
    if let Some(only) = &arguments.only {
        all.retain(|(path, _, mutant)| mutant.named(path).contains(&**only));
    }
    if let Some((part, parts)) = arguments.shard {
        let mut number = 0;
        all.retain(|_| {
            number += 1;
            number % parts == part - 1
        });
    }
    if arguments.list {
        for (path, _, mutant) in &all {
            println!("{}", mutant.named(path));
        }
        return Ok(true);
    }
    let tree = copy()?;
    let is_noticed = |seconds: &str| -> Result<bool, String> {
        let program = "timeout";
        // A change that never ends is noticed.
        let status = Command::new(program)
            .arg(seconds)
            .args(&arguments.command)
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", tree.with_file_name("build"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|e| format!("{program}: {e}"))?;
        Ok(!status.success())
    };
    if is_noticed(FIRST_SECONDS)? {
        return Err("the command fails without any change".into());
    }
    let (mut survivors, mut known) = (0, 0);
    for (number, (path, text, mutant)) in all.iter().enumerate() {
        let place = tree.join(path);
        let write =
            |text: &str| fs::write(&place, text).map_err(|e| format!("{}: {e}", place.display()));
        write(&mutant.applied_to(text))?;
        let noticed = is_noticed(MUTANT_SECONDS);
        write(text)?;
        if noticed? {
            continue;
        }
        let key = mutant.key(path);
        if arguments.allowed.contains(&key) {
            known += 1;
        } else {
            survivors += 1;
            println!("SURVIVED {}", mutant.named(path));
            println!("         {key}");
        }
        eprintln!("{} of {}, {survivors} survived", number + 1, all.len());
    }
    println!(
        "{} mutants, {survivors} survived, {known} known to be equivalent",
        all.len()
    );
    Ok(survivors == 0)
}

/// Rust files, and those in directories, without tests.
fn sources(given: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in given {
        if path.is_file() {
            found.push(path.clone());
            continue;
        }
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            let is_source = entry.extension().is_some_and(|extension| extension == "rs");
            let is_test = entry.file_stem().is_some_and(|stem| stem == "tests");
            if is_source && !is_test {
                inside.push(entry);
            }
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

/// A copy of the workspace to change files in.
fn copy() -> Result<PathBuf, String> {
    let here = env::current_dir().map_err(|e| e.to_string())?;
    let tree = here.join("target/mutants/tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    }
    copy_directory(&here, &tree).map_err(|e| format!("copying to {}: {e}", tree.display()))?;
    Ok(tree)
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, place) = (entry.file_name(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if kind.is_dir() {
            copy_directory(&entry.path(), &place)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
