//! The files of a state directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};

use super::{Case, Seeds, answers, copy, databases, ends_well, replace};
use crate::execute::{self, Invocation};
use crate::mutate::{self, chance, one};

/// What stands between an entry of the journal and its checksum.
const SUM: &str = ",\"sum\":\"";
const CONFIG: &str = "version = 1\nstate_dir = \"state\"\n[[targets]]\nname = \"orders\"\n\
    sqlite = \"orders.db\"\n[observation]\nsample_interval_ms = 50\ndecide_interval_ms = 100\n\
    tick_interval_ms = 200\n[policy]\nfile = \"policy.wasm\"\nrequire_signature = false\n";

/// A repair and a run have left a state directory, and a person's approval lies in it.
pub(super) fn prepare(program: &Path, dir: &Path) -> anyhow::Result<()> {
    let database = dir.join("orders.db");
    databases::damaged_index(&database)?;
    fs::write(dir.join("policy.wasm"), dbmedic_tests::attacks::built(""))?;
    let repair = [
        "repair",
        "orders.db",
        "--apply",
        "--state-dir",
        "state",
        "--watch-ms",
        "300",
    ];
    super::dbmedic(program, dir, &repair)?;
    fs::copy(&database, dir.join("healthy.db"))?;
    fs::remove_file(&database)?;
    databases::damaged_index(&database)?;
    fs::write(dir.join("dbmedic.toml"), CONFIG)?;
    fs::create_dir(dir.join("tmp"))?;
    let invocation = Invocation {
        args: vec!["run".into()],
        stop_after: Some(Duration::from_millis(1500)),
    };
    let ended = execute::run(program, &invocation, dir, &dir.join("tmp"))?;
    ensure!(ended.code == Some(0), "run: {}", ended.err());
    super::dbmedic(program, dir, &["release", "orders", "--state-dir", "state"])?;
    let journal = fs::read_to_string(dir.join("state/journal.jsonl"))?;
    let first = journal.lines().next().context("the journal is empty")?;
    ensure!(
        sealed(first.split(SUM).next().unwrap_or("")) == first,
        "the checksum is another: {first}"
    );
    Ok(())
}

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    let state = scene.join("state");
    copy(&seeds.dir.join("state"), &state)?;
    fs::set_permissions(&state, Permissions::from_mode(0o700))?;
    seeds.policy_into(scene)?;
    fs::write(scene.join("dbmedic.toml"), CONFIG)?;
    fs::write(scene.join("orders.db"), seeds.read("healthy.db")?)?;
    let mut files = Vec::new();
    list(&state, &mut files)?;
    files.sort();
    let (wanted, case) = command(rng);
    // In its own place an interrupted repair goes on, and may write to the database.
    let own: &[&'static str] = if chance(rng, 15) {
        move_journal(&state, &seeds.dir, scene)?;
        &[
            "state",
            "orders.db",
            "orders.db-wal",
            "orders.db-shm",
            "orders.db-journal",
        ]
    } else {
        &["state"]
    };
    let wanted: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| {
            let name = file.strip_prefix(&state).unwrap_or(file);
            wanted.iter().any(|wanted| name.starts_with(wanted))
        })
        .collect();
    if !wanted.is_empty() {
        for _ in 0..rng.random_range(1..3) {
            let file = one(rng, &wanted).clone();
            change(rng, &file)?;
        }
    }
    Ok(case.writes(own))
}

/// A command, and the names of what it reads in the state directory.
fn command(rng: &mut StdRng) -> (&'static [&'static str], Case) {
    match rng.random_range(0..24) {
        0..3 => (
            &["journal.jsonl"],
            Case::new(&["incidents", "--state-dir", "state"], ends_well),
        ),
        3..6 => (
            &["journal.jsonl"],
            Case::new(&["incidents", "INC-1", "--state-dir", "state"], answers),
        ),
        6 => (
            &["journal.jsonl"],
            Case::new(
                &["incidents", "INC-1", "--json", "--state-dir", "state"],
                answers,
            ),
        ),
        7 => (
            &["values", "journal.jsonl"],
            Case::new(
                &["incidents", "INC-1", "--values", "--state-dir", "state"],
                answers,
            ),
        ),
        8..11 => (
            &["policies", "journal.jsonl"],
            Case::new(&["policy", "status", "--state-dir", "state"], ends_well),
        ),
        11 => (
            &["journal.jsonl"],
            Case::new(&["approve", "INC-1", "--state-dir", "state"], answers),
        ),
        12..15 => {
            let log = [
                "policy",
                "replay",
                "state/decisions",
                "--policy",
                "policy.wasm",
            ];
            let case = Case::new(&log, answers);
            (
                &["decisions"],
                if chance(rng, 30) {
                    case.arg("--json")
                } else {
                    case
                },
            )
        }
        15 => {
            let args = [
                "policy",
                "diff",
                "policy.wasm",
                "policy.wasm",
                "--log",
                "state/decisions",
            ];
            (&["decisions"], Case::new(&args, answers))
        }
        16..21 => {
            let args = [
                "repair",
                "orders.db",
                "--apply",
                "--state-dir",
                "state",
                "--watch-ms",
                "0",
            ];
            let case = Case::new(&args, answers)
                .arg("--policy")
                .arg("policy.wasm")
                .arg("--unsigned");
            (&[""], case)
        }
        _ => (
            &[""],
            Case::new(&["run"], ends_well).stopped_after(Duration::from_millis(100)),
        ),
    }
}

/// All files below a directory.
fn list(dir: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    Ok(())
}

fn change(rng: &mut StdRng, file: &Path) -> anyhow::Result<()> {
    if !file.is_file() || chance(rng, 4) {
        if file.is_file() {
            replace(rng, file)?;
        }
        return Ok(());
    }
    let mut bytes = fs::read(file)?;
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    match std::str::from_utf8(&bytes) {
        _ if chance(rng, 8) => mutate::bytes(rng, &mut bytes, 1),
        Ok(text) if name == "journal.jsonl" => bytes = journal(rng, text).into_bytes(),
        Ok(text) if text.starts_with("{\"n\":") => bytes = decisions(rng, text).into_bytes(),
        Ok(text) if text.starts_with('{') => {
            let mut text = text.to_owned();
            for _ in 0..rng.random_range(1..3) {
                mutate::json(rng, &mut text);
            }
            bytes = text.into_bytes();
        }
        _ if bytes.starts_with(b"dbmedic-") => learned(rng, &mut bytes),
        _ => mutate::overwrite(rng, &mut bytes, 2),
    }
    fs::write(file, bytes)?;
    Ok(())
}

/// Changes entries of the journal, and gives them their checksums again.
fn journal(rng: &mut StdRng, text: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.split(SUM).next().unwrap_or("").to_owned() + "}")
        .collect();
    mutate::json_lines(rng, &mut lines, 0);
    let lines = lines
        .iter()
        .map(|line| sealed(line.strip_suffix('}').unwrap_or(line)));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn sealed(entry: &str) -> String {
    let digest = hex(&Sha256::digest(entry));
    format!("{entry}{SUM}{}\"}}", &digest[..16])
}

/// Has the journal speak of a scene's database.
fn move_journal(state: &Path, from: &Path, to: &Path) -> anyhow::Result<()> {
    let path = state.join("journal.jsonl");
    let text = fs::read_to_string(&path)?;
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let lines = text
        .lines()
        .map(|line| sealed(&line.split(SUM).next().unwrap_or("").replace(&from, &to)));
    fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n")?;
    Ok(())
}

/// Changes decisions, and chains them again.
fn decisions(rng: &mut StdRng, text: &str) -> String {
    const BEFORE: &str = "\"prev\":\"";
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let first = mutate::json_lines(rng, &mut lines, 0);
    for at in first.max(1)..lines.len() {
        let sum = hex(&Sha256::digest(&lines[at - 1]));
        if let Some(begin) = lines[at].find(BEFORE).map(|at| at + BEFORE.len())
            && lines[at].get(begin..begin + 64).is_some()
        {
            lines[at].replace_range(begin..begin + 64, &sum);
        }
    }
    lines.join("\n") + "\n"
}

/// Changes what was learned, and gives it its digest again.
fn learned(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(0);
    let mut content = bytes.split_off(end + 1);
    mutate::overwrite(rng, &mut content, 2);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words: Vec<&str> = head.split(' ').collect();
    let digest = hex(&Sha256::digest(&content));
    if let Some(last) = words.last_mut() {
        *last = &digest;
    }
    *bytes = (words.join(" ") + "\n").into_bytes();
    bytes.extend(content);
}

fn hex(bytes: &[u8]) -> String {
    dbmedic::digest::hex(bytes)
}
