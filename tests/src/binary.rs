//! The dbmedic under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The binary that was named; else the one beside this program, built first where cargo started
/// this program.
///
/// # Errors
/// The named one does not exist, it cannot be built, or there is none.
pub fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return path
            .canonicalize()
            .with_context(|| format!("--dbmedic {}", path.display()));
    }
    let this = std::env::current_exe().context("cannot find this program")?;
    let profile_dir = this.parent().context("this program is in no directory")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let profile = match profile_dir.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(named) => named,
        };
        // The whole workspace: the features are then those of everything else that is built.
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bin", "dbmedic"])
            .args(["--profile", profile, "--target-dir"])
            .arg(profile_dir.parent().context("no target directory")?)
            .status()
            .context("cannot start cargo")?;
        anyhow::ensure!(status.success(), "building dbmedic failed");
    }
    let binary = profile_dir.join("dbmedic");
    anyhow::ensure!(
        binary.exists(),
        "{} does not exist: build it with `cargo build`, or name one with --dbmedic",
        binary.display()
    );
    Ok(binary)
}
