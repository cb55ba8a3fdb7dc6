//! The files of a state directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::{Case, Seeds, answers, copy, databases, ends_well, replace};
use crate::execute::{self, Invocation};
use crate::mutate::{self, chance, one};

/// The state's database.
const STATE: &str = "state.db";
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
    let seal = |entries: Vec<Entry>| {
        let known = entries.iter().all(|entry| sum(entry) == entry.sum);
        ensure!(known && !entries.is_empty(), "the checksum is another");
        Ok(Vec::new())
    };
    edit(&dir.join("state").join(STATE), seal)
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
            &["state.db"],
            Case::new(&["incidents", "--state-dir", "state"], ends_well),
        ),
        3..6 => (
            &["state.db"],
            Case::new(&["incidents", "INC-1", "--state-dir", "state"], answers),
        ),
        6 => (
            &["state.db"],
            Case::new(
                &["incidents", "INC-1", "--json", "--state-dir", "state"],
                answers,
            ),
        ),
        7 => (
            &["values", "state.db"],
            Case::new(
                &["incidents", "INC-1", "--values", "--state-dir", "state"],
                answers,
            ),
        ),
        8..11 => (
            &["policies", "state.db"],
            Case::new(&["policy", "status", "--state-dir", "state"], ends_well),
        ),
        11 => (
            &["state.db"],
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
        _ if name == STATE && chance(rng, 70) => {
            // One that an earlier change damaged stays as it is.
            drop(journal(rng, file));
            return Ok(());
        }
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

/// An entry of the journal.
struct Entry {
    seq: i64,
    at_ms: i64,
    json: String,
    sum: String,
    heard: Option<bool>,
}

/// Changes entries of the journal, and gives them their checksums again.
fn journal(rng: &mut StdRng, state: &Path) -> anyhow::Result<()> {
    edit(state, |mut entries| {
        let times = rng.random_range(1..3);
        for _ in 0..times.min(entries.len()) {
            let at = rng.random_range(0..entries.len());
            mutate::json(rng, &mut entries[at].json);
        }
        Ok(entries)
    })
}

/// Has the journal speak of a scene's database.
fn move_journal(state: &Path, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    edit(&state.join(STATE), |mut entries| {
        for entry in &mut entries {
            entry.json = entry.json.replace(&from, &to);
        }
        Ok(entries)
    })
}

/// Writes entries of the journal anew, as `change` wants them.
fn edit(
    state: &Path,
    change: impl FnOnce(Vec<Entry>) -> anyhow::Result<Vec<Entry>>,
) -> anyhow::Result<()> {
    let db = Connection::open(state)?;
    let mut select = db.prepare("SELECT seq, at_ms, json, sum, heard FROM entries ORDER BY seq")?;
    let entries = select.query_map([], |row| {
        Ok(Entry {
            seq: row.get(0)?,
            at_ms: row.get(1)?,
            json: row.get(2)?,
            sum: row.get(3)?,
            heard: row.get(4)?,
        })
    })?;
    let entries = entries.collect::<Result<_, _>>()?;
    drop(select);
    for entry in change(entries)? {
        let update = "UPDATE entries SET json = ?2, sum = ?3 WHERE seq = ?1";
        db.execute(update, (entry.seq, &entry.json, sum(&entry)))?;
    }
    db.close().map_err(|(_, error)| error.into())
}

fn sum(entry: &Entry) -> String {
    let heard = entry
        .heard
        .map_or("-", |heard| if heard { "1" } else { "0" });
    let text = format!("{} {} {heard}\0{}", entry.seq, entry.at_ms, entry.json);
    hex(&Sha256::digest(text))[..16].to_owned()
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
