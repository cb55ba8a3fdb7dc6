//! How each kind of input is made: valid ones first, then changed ones.

mod cases;
mod components;
mod configurations;
mod databases;
mod keys;
mod recordings;
mod signatures;
mod state;
mod tables;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::execute::{Ended, Invocation};
use crate::kind::Kind;

/// An input in its scene, and what dbmedic is to do with it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) invocation: Invocation,
    /// Names in the scene that this command may write to.
    pub(crate) own: Vec<&'static str>,
    /// Whether dbmedic's answer shows that the input came past the parser.
    pub(crate) accepted: fn(&Ended) -> bool,
}

impl Case {
    fn new(args: &[&str], accepted: fn(&Ended) -> bool) -> Self {
        Self {
            invocation: Invocation {
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
                stop_after: None,
            },
            own: Vec::new(),
            accepted,
        }
    }

    fn writes(mut self, own: &[&'static str]) -> Self {
        self.own = own.to_vec();
        self
    }

    fn stopped_after(mut self, time: Duration) -> Self {
        self.invocation.stop_after = Some(time);
        self
    }

    fn arg(mut self, arg: &str) -> Self {
        self.invocation.args.push(arg.to_owned());
        self
    }
}

/// The valid inputs of a kind.
pub(crate) struct Seeds {
    dir: PathBuf,
    /// The smallest policy there is: quick to compile.
    policy: Vec<u8>,
}

impl Seeds {
    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.dir.join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.read(name)?)?)
    }

    /// Puts the small policy into a scene, as `policy.wasm`.
    fn policy_into(&self, scene: &Path) -> anyhow::Result<()> {
        Ok(fs::write(scene.join("policy.wasm"), &self.policy)?)
    }
}

/// Makes the valid inputs of a kind in a directory.
pub(crate) fn prepare(kind: Kind, program: &Path, dir: &Path) -> anyhow::Result<Seeds> {
    let seeds = Seeds {
        dir: dir.to_owned(),
        policy: dbmedic_tests::attacks::built(""),
    };
    match kind {
        Kind::Recordings => recordings::prepare(program, &seeds)?,
        Kind::Signatures => signatures::prepare(program, dir)?,
        Kind::Keys => keys::prepare(&seeds)?,
        Kind::State => state::prepare(program, dir)?,
        Kind::Databases => databases::prepare(dir)?,
        Kind::Configurations | Kind::Tables | Kind::Cases | Kind::Components => {}
    }
    Ok(seeds)
}

/// Makes an input in a scene.
pub(crate) fn make(
    kind: Kind,
    rng: &mut StdRng,
    seeds: &Seeds,
    scene: &Path,
) -> anyhow::Result<Case> {
    match kind {
        Kind::Configurations => configurations::make(rng, seeds, scene),
        Kind::Recordings => recordings::make(rng, seeds, scene),
        Kind::Tables => tables::make(rng, seeds, scene),
        Kind::Signatures => signatures::make(rng, seeds, scene),
        Kind::Keys => keys::make(rng, seeds, scene),
        Kind::Cases => cases::make(rng, seeds, scene),
        Kind::Components => components::make(rng, seeds, scene),
        Kind::State => state::make(rng, seeds, scene),
        Kind::Databases => databases::make(rng, seeds, scene),
    }
}

/// Runs dbmedic to make a valid input.
fn dbmedic(program: &Path, dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.code().is_some_and(|code| code < 2),
        "dbmedic {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn ends_well(ended: &Ended) -> bool {
    ended.code == Some(0)
}

fn answers(ended: &Ended) -> bool {
    matches!(ended.code, Some(0 | 1))
}

/// Puts something else in a file's place: a directory, a pipe that nobody writes to, a link, nothing,
/// or a large file without content.
fn replace(rng: &mut StdRng, path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    match rng.random_range(0..7) {
        0 => fs::create_dir(path)?,
        1 => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
        2 => symlink("/dev/zero", path)?,
        3 => symlink("no-such-file", path)?,
        4 => symlink(".", path)?,
        5 => fs::write(path, "")?,
        _ => fs::File::create(path)?.set_len(300 << 20)?,
    }
    Ok(())
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
