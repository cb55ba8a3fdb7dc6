//! Reads the databases under care.

use std::path::{Path, PathBuf};

use super::constraints::{constraints, name};
use super::maintenance::maintenance;
use super::policies::line;
use super::read::MODES;
use super::resolve::Resolve;
use super::{Mode, NamedPolicyConfig, Target};
use crate::constraint::Constraint;
use crate::document::Section;

/// The kernel cuts `/proc/PID/comm` off here, bytes.
const COMM_BYTES: usize = 15;

/// What a target is judged against.
pub(super) struct Surroundings<'a> {
    pub(super) base: &'a Path,
    pub(super) resolve: &'a Resolve,
    pub(super) state_dir: PathBuf,
    pub(super) mode: Mode,
    pub(super) policies: &'a [NamedPolicyConfig],
    pub(super) constraints: &'a [Constraint],
}

pub(super) fn targets(root: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut names = Vec::new();
    let mut files: Vec<(PathBuf, usize)> = Vec::new();
    if !root.has("targets") {
        root.warning(
            "targets",
            "there is no target: nothing is watched",
            "add a [[targets]] with `name` and `sqlite`",
        );
    }
    root.tables("targets", |section| {
        let name = name(section, "target", &mut names);
        let sqlite = database(section, around, &mut files);
        let may_end = may_end(section);
        let mode = section.choice("mode", around.mode, &MODES);
        let policies = line(section, around.policies);
        let constraints = constraints(section, around.constraints);
        let maintenance = maintenance(section);
        if let (Some(name), Some(sqlite)) = (name, sqlite) {
            targets.push(Target {
                name,
                sqlite,
                may_end,
                policies,
                mode,
                constraints,
                maintenance,
            });
        }
    });
    targets
}

/// The database's file: a plain path, used once, and apart from dbmedic's own files.
fn database(
    section: &mut Section<'_, '_>,
    around: &Surroundings<'_>,
    files: &mut Vec<(PathBuf, usize)>,
) -> Option<PathBuf> {
    let right = "the path of a SQLite database, as \"orders.db\"";
    if !section.has("sqlite") {
        section.error("sqlite", "a target without a database", {
            "add `sqlite = \"file.db\"`"
        });
    }
    let written = section.text("sqlite", right)?;
    if written.starts_with("file:") || written == ":memory:" {
        let message = format!("`sqlite` is \"{written}\", which is not a path");
        section.error("sqlite", message, right);
        return None;
    }
    let path = around.base.join(written);
    let identity = around.resolve.identity(&path);
    if let Some((_, line)) = files.iter().find(|(other, _)| *other == identity) {
        section.error(
            "sqlite",
            format!(
                "the database {} is a target already, in line {line}",
                path.display()
            ),
            "name each database once",
        );
    }
    let mut own_files = ["", "-wal", "-shm", "-journal"].iter().map(|suffix| {
        let mut file = identity.clone().into_os_string();
        file.push(suffix);
        PathBuf::from(file)
    });
    let apart = "keep dbmedic's own files in a directory of their own";
    if own_files.any(|file| around.state_dir.starts_with(file)) {
        let message = format!("`state_dir` is a file of the database {}", path.display());
        section.error("sqlite", message, apart);
    } else if identity.starts_with(&around.state_dir) {
        let message = format!("the database {} is in `state_dir`", path.display());
        section.error("sqlite", message, apart);
    }
    if matches!(around.resolve, Resolve::OnDisk) {
        if path.is_dir() {
            let message = format!("{} is a directory", path.display());
            section.error("sqlite", message, right);
        } else if !path.exists() {
            section.warning(
                "sqlite",
                format!("there is no database in {}", path.display()),
                "it is watched for from now on; paths start at the configuration's directory",
            );
        }
    }
    files.push((identity, section.line("sqlite")));
    Some(path)
}

/// The processes that a repair may end.
fn may_end(section: &mut Section<'_, '_>) -> Vec<String> {
    let right = "short names of processes as `ps -o comm` shows them, as [\"worker\"]";
    let names = section.texts("may_end", right);
    for name in &names {
        if name.trim().is_empty() {
            section.error("may_end", "`may_end` has an empty name", right);
        } else if name.len() > COMM_BYTES {
            section.error(
                "may_end",
                format!("no process is ever called \"{name}\""),
                format!(
                    "the system cuts names at {COMM_BYTES} bytes: write \"{}\"",
                    &name[..name.floor_char_boundary(COMM_BYTES)]
                ),
            );
        } else if name.contains('/') {
            let message = format!("\"{name}\" in `may_end` is a path");
            section.error("may_end", message, right);
        }
    }
    names.into_iter().map(str::to_owned).collect()
}
