//! A damaged frame in the write-ahead log of writers that were killed.
//!
//! SQLite reads a log up to the first frame whose checksum fails and drops the rest without a word.
//! What that costs is found here twice, and both answers must agree: by opening copies of the
//! files from before and after the damage with SQLite, and by counting commits in the log.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rand::RngExt as _;
use rusqlite::Connection;
use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::demo::{
    Acknowledged, DemoError, Scene, acknowledged,
    child::LOOK_EVERY,
    rows::{FOUNDER, hex, random},
    scene::PAGE_BYTES,
    workload::{Pace, Workload},
};

/// Size of the log's header, bytes.
const LOG_HEADER_BYTES: u64 = 32;
/// Size of a frame's header, bytes.
const FRAME_HEADER_BYTES: u64 = 24;
/// A frame: its header and a page.
const FRAME_BYTES: u64 = FRAME_HEADER_BYTES + PAGE_BYTES as u64;
/// So many bytes of a frame are changed.
const DAMAGED_BYTES: usize = 8;
/// How long the log may take to grow.
const GROWTH_PATIENCE: Duration = Duration::from_mins(2);
/// How long others may have the database open before the damage is given up.
const ALONE_PATIENCE: Duration = Duration::from_secs(5);
/// Sets the draws for damage apart from those for rows; the place is added.
const PURPOSE: i64 = i64::MIN + 1;

/// In which part of the log a frame is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WalPlace {
    /// In the last 3 in 100 frames: little is lost.
    NearEnd,
    /// Between 10 and 30 in 100 of the frames: most is lost.
    Early,
}

impl WalPlace {
    fn name(self) -> &'static str {
        match self {
            Self::NearEnd => "near-end",
            Self::Early => "early",
        }
    }

    /// The frames to choose from, first and last, in a log whose last commit ends in `last`.
    fn frames(self, last: u64) -> (u64, u64) {
        match self {
            Self::NearEnd => (last - last * 3 / 100 + 1, last),
            Self::Early => (last / 10 + 1, last * 3 / 10),
        }
    }
}

/// SHA-256 of the files as they stand, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the database file.
    pub database: String,
    /// Of the write-ahead log; none when there is none.
    pub wal: Option<String>,
}

impl Fingerprint {
    /// Takes the fingerprint of the files, in a child process. Only that of files at rest says
    /// anything.
    pub fn of(scene: &Scene) -> Result<Self, DemoError> {
        scene.ask("fingerprint", &[], &())
    }

    /// The child's side of [`Fingerprint::of`].
    pub(crate) fn take(scene: &Scene) -> anyhow::Result<Self> {
        let hash = |path: &Path| -> anyhow::Result<String> {
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(hex(&Sha256::digest(bytes)))
        };
        let wal = scene.wal();
        Ok(Self {
            database: hash(&scene.database())?,
            wal: wal.exists().then(|| hash(&wal)).transpose()?,
        })
    }
}

/// What was done to a log, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalDamage {
    /// The damaged frame, counted from 1.
    pub frame: u64,
    /// How many frames the log holds up to the end of its last commit.
    pub frames: u64,
    /// How many commits the log holds.
    pub commits: u64,
    /// How many of them end in the damaged frame or behind it: what SQLite drops, and what a repair
    /// that keeps the valid part must announce.
    pub lost_commits: u64,
    /// Those of the lost commits that were acknowledged; a writer that was killed between COMMIT
    /// and its log accounts for the difference.
    pub lost: Vec<Acknowledged>,
    /// Where the changed bytes begin in the log.
    pub offset: u64,
    /// The bytes before, hexadecimal: the good copy that [`WalDamage::undo`] puts back.
    pub before: String,
    /// The bytes after, hexadecimal.
    pub after: String,
    /// The files just before the damage.
    pub undamaged: Fingerprint,
    /// The files right after it. As long as [`Fingerprint::of`] says the same, nobody changed them.
    pub damaged: Fingerprint,
}

impl WalDamage {
    /// Puts the bytes back, as a person with a good copy would, and makes sure that the files are
    /// what they were before the damage.
    ///
    /// The writers must rest, and nobody may have the database open: the wal-index of a connection
    /// that saw the damage would hide the restored commits. Refuses when somebody has it open, or
    /// changed the files since the damage.
    pub fn undo(&self, scene: &Scene) -> Result<(), DemoError> {
        scene.ask("put-back", &[], self)
    }
}

/// Lets the writers fill a fresh log with at least `frames` frames that nobody checkpoints, kills
/// them, and damages one frame. The writers stay dead: [`Workload::resume`] when it is time.
///
/// The right answer near the end: keep the valid part and announce `lost_commits`. The right answer
/// early: touch nothing, ask a person, who has a good copy ([`WalDamage::undo`]).
pub fn damage_wal(
    workload: &mut Workload,
    place: WalPlace,
    frames: u32,
) -> Result<WalDamage, DemoError> {
    let scene = workload.scene().clone();
    workload.stop()?;
    scene.ask::<()>("checkpoint", &[], &())?;
    let kept = workload.last_sequences()?;

    let usual = workload.pace();
    workload.set_pace(Pace {
        hold_checkpoints: true,
        ..usual
    })?;
    workload.resume()?;
    let grown = wait_for_growth(&scene, u64::from(frames));
    workload.kill()?;
    workload.set_pace(usual)?;
    grown?;
    scene.ask("damage-wal", &[format!("--place={}", place.name())], &kept)
}

fn wait_for_growth(scene: &Scene, frames: u64) -> Result<(), DemoError> {
    let begin = Instant::now();
    let enough = LOG_HEADER_BYTES + frames * FRAME_BYTES;
    // The size alone is asked for: the file itself must not be opened here.
    while fs::metadata(scene.wal()).map_or(0, |file| file.len()) < enough {
        if begin.elapsed() > GROWTH_PATIENCE {
            return Err(DemoError::Deadline {
                what: format!("{frames} frames in the write-ahead log"),
                waited: GROWTH_PATIENCE,
            });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The child's side of [`damage_wal`]. `kept` holds each writer's last transaction that is in the
/// database file itself, out of the damage's reach.
pub(crate) fn damage(scene: &Scene, place: WalPlace, kept: &[i64]) -> anyhow::Result<WalDamage> {
    let wal_index = alone(scene)?;
    let undamaged = Fingerprint::take(scene)?;
    let before = State::of_copy(scene)?;
    let ends = commit_frames(&fs::read(scene.wal())?)?;
    let frames = *ends.last().context("the log holds no commit")?;

    let mut random = random(scene, FOUNDER, PURPOSE + place as i64);
    let (first, last) = place.frames(frames);
    ensure!(
        0 < first && first <= last,
        "{frames} frames are too few to choose from"
    );
    let frame = random.random_range(first..=last);
    let room = u64::from(PAGE_BYTES) - DAMAGED_BYTES as u64;
    let offset = frame_offset(frame) + FRAME_HEADER_BYTES + random.random_range(0..=room);
    let good = read_bytes(scene, offset)?;
    let bad = good.map(|byte| byte ^ random.random_range(1..=u8::MAX));
    write_bytes(scene, offset, &bad)?;

    let after = State::of_copy(scene)?;
    let lost_commits = ends.iter().filter(|end| **end >= frame).count() as u64;
    ensure!(
        before.commits - after.commits == i64::try_from(lost_commits)?,
        "the log says that {lost_commits} commits are lost, the ledger went from {} to {}",
        before.commits,
        after.commits
    );
    let damaged = Fingerprint::take(scene)?;
    drop(wal_index);
    Ok(WalDamage {
        frame,
        frames,
        commits: ends.len() as u64,
        lost_commits,
        lost: lost_acknowledgements(scene, kept, &before, &after)?,
        offset,
        before: hex(&good),
        after: hex(&bad),
        undamaged,
        damaged,
    })
}

/// The child's side of [`WalDamage::undo`].
pub(crate) fn put_back(scene: &Scene, damage: &WalDamage) -> anyhow::Result<()> {
    let wal_index = alone(scene)?;
    ensure!(
        Fingerprint::take(scene)? == damage.damaged,
        "the files are not what they were after the damage; somebody wrote to them"
    );
    let good = u64::from_str_radix(&damage.before, 16).context("the bytes aside are not bytes")?;
    write_bytes(scene, damage.offset, &good.to_be_bytes())?;
    ensure!(
        Fingerprint::take(scene)? == damage.undamaged,
        "the bytes are back, yet the files are not what they were before the damage"
    );
    drop(wal_index);
    Ok(())
}

/// Waits until nobody has the database open, and keeps it so until the answer is dropped: every
/// connection holds a lock on the wal-index, and while there is one, SQLite trusts the wal-index
/// and does not read the log's checksums again.
fn alone(scene: &Scene) -> anyhow::Result<Option<File>> {
    let path = scene.wal_index();
    if !path.exists() {
        return Ok(None);
    }
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let begin = Instant::now();
    loop {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::AGAIN | Errno::ACCESS) if begin.elapsed() < ALONE_PATIENCE => {
                thread::sleep(LOOK_EVERY);
            }
            Err(Errno::AGAIN | Errno::ACCESS) => bail!(
                "somebody keeps {} open; close it first",
                scene.database().display()
            ),
            Err(error) => return Err(error).context("cannot lock the wal-index"),
        }
    }
}

/// What SQLite makes of the files.
struct State {
    /// The ledger's count of commits.
    commits: i64,
    /// Each writer's last transaction. A writer's transactions commit in the order of their
    /// numbers, so all up to it are in, and none behind it.
    last: Vec<i64>,
}

impl State {
    /// Opens a copy: the originals stay as they are.
    fn of_copy(scene: &Scene) -> anyhow::Result<Self> {
        let aside = tempfile::tempdir_in(&scene.directory)?;
        let database = aside.path().join("copy.db");
        fs::copy(scene.database(), &database)?;
        fs::copy(scene.wal(), aside.path().join("copy.db-wal"))?;
        let connection = Connection::open(&database)?;
        let commits = connection.query_one("SELECT commits FROM ledger", [], |row| row.get(0))?;
        let mut newest = connection
            .prepare("SELECT coalesce(max(sequence), 0) FROM orders WHERE writer = ?1")?;
        let last = (1..=scene.writers)
            .map(|writer| newest.query_one([writer], |row| row.get(0)))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { commits, last })
    }
}

/// The acknowledged commits that were there before the damage and are not after it.
fn lost_acknowledgements(
    scene: &Scene,
    kept: &[i64],
    before: &State,
    after: &State,
) -> anyhow::Result<Vec<Acknowledged>> {
    ensure!(kept.len() == after.last.len(), "not one number a writer");
    let mut lost = Vec::new();
    let bounds = kept.iter().zip(&after.last).zip(&before.last);
    for (writer, ((kept, after), before)) in (1..).zip(bounds) {
        for acknowledged in acknowledged::read(scene, writer)? {
            if acknowledged.sequence <= *kept.max(after) {
                continue;
            }
            ensure!(
                acknowledged.sequence <= *before,
                "commit {} of writer {writer} was lost before the damage",
                acknowledged.sequence
            );
            lost.push(acknowledged);
        }
    }
    lost.sort_by_key(|acknowledged| acknowledged.commit);
    Ok(lost)
}

/// The frames that end a commit, in a log that was not damaged. Only the salts are compared: the
/// log began empty, and no writer could write over another's unfinished frames.
fn commit_frames(log: &[u8]) -> anyhow::Result<Vec<u64>> {
    let salts = log.get(16..24).context("the log has no header")?;
    let frame_bytes = usize::try_from(FRAME_BYTES)?;
    let frames = log[usize::try_from(LOG_HEADER_BYTES)?..].chunks_exact(frame_bytes);
    Ok((1..)
        .zip(frames)
        .take_while(|(_, frame)| frame[8..16] == *salts)
        .filter(|(_, frame)| frame[4..8] != [0; 4])
        .map(|(number, _)| number)
        .collect())
}

/// Where a frame begins.
fn frame_offset(frame: u64) -> u64 {
    LOG_HEADER_BYTES + (frame - 1) * FRAME_BYTES
}

fn read_bytes(scene: &Scene, offset: u64) -> anyhow::Result<[u8; DAMAGED_BYTES]> {
    let mut bytes = [0; DAMAGED_BYTES];
    File::open(scene.wal())?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn write_bytes(scene: &Scene, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).open(scene.wal())?;
    file.write_all_at(bytes, offset)?;
    file.sync_all().context("cannot sync the log")
}
