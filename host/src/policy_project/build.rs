//! Builds a project: asks for its tools, then runs its `build.sh`.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::manifest::{Project, Tool};

/// The script of a project that builds it.
const SCRIPT: &str = "build.sh";
/// The variable that tells the script which dbmedic runs it.
const DBMEDIC: &str = "DBMEDIC";

/// A tool that is not there, or not in the version that the project is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is called, with its version.
    pub tool: String,
    /// What a person types to bring it.
    pub command: String,
}

/// Why a project could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A program cannot be started, or a file not be moved.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The script said no. What it wrote is on standard error already.
    #[error("{} failed ({status})", script.display())]
    Failed {
        /// The script.
        script: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The script said yes and left nothing.
    #[error("{} left no component; it must write one to the file named by its first argument", .0.display())]
    LeftNothing(PathBuf),
}

impl Project {
    /// The component that a build leaves.
    pub fn component(&self) -> PathBuf {
        let name = format!("{}.wasm", self.manifest.name.as_str());
        self.dir.join(name)
    }

    /// The tools that are missing.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn missing_tools(&self) -> Result<Vec<Missing>, BuildError> {
        let mut missing = Vec::new();
        for tool in &self.manifest.tools {
            if !self.has(tool)? {
                let version = tool.version.as_ref();
                missing.push(Missing {
                    tool: version.map_or_else(
                        || tool.name.clone(),
                        |version| format!("{} {version}", tool.name),
                    ),
                    command: self.typed_here(&tool.brings),
                });
            }
        }
        Ok(missing)
    }

    fn has(&self, tool: &Tool) -> Result<bool, BuildError> {
        let shown = Command::new("sh")
            .args(["-c", &tool.shows])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| BuildError::Io {
                what: format!("looking for {}", tool.name),
                source,
            })?;
        let text = [shown.stdout, shown.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let is_pinned = tool
            .version
            .as_ref()
            .is_none_or(|version| stands_in(&text, version));
        Ok(shown.status.success() && is_pinned)
    }

    /// A command as it is typed from where dbmedic was started.
    fn typed_here(&self, command: &str) -> String {
        let dir = self.dir.display().to_string();
        if dir == "." {
            return command.to_owned();
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if dir.chars().all(is_plain) {
            format!("(cd {dir} && {command})")
        } else {
            format!("(cd '{}' && {command})", dir.replace('\'', "'\\''"))
        }
    }

    /// Runs the project's script and leaves the component under its name. What the script and its tools
    /// say goes to standard error as it is.
    ///
    /// # Errors
    /// When the script cannot be run, fails or leaves nothing; the component that was there before then
    /// stays.
    pub fn build(&self, dbmedic: &Path) -> Result<PathBuf, BuildError> {
        let component = self.component();
        let script = self.dir.join(SCRIPT);
        let io = |what: String| move |source| BuildError::Io { what, source };
        // Beside its place: whoever watches the component sees the old one or the new one, whole.
        let beside = tempfile::Builder::new()
            .prefix(&format!(".{}.", self.manifest.name.as_str()))
            .suffix(".wasm")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.dir)
            .map_err(io(format!("writing into {}", self.dir.display())))?
            .into_temp_path();
        let out = beside.file_name().unwrap_or_default();
        let status = Command::new("sh")
            .arg(SCRIPT)
            .arg(out)
            .current_dir(&self.dir)
            .env(DBMEDIC, dbmedic)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .status()
            .map_err(io(format!("running {}", script.display())))?;
        if !status.success() {
            return Err(BuildError::Failed { script, status });
        }
        let bytes = beside.metadata().map(|metadata| metadata.len());
        if bytes.map_or(true, |bytes| bytes == 0) {
            return Err(BuildError::LeftNothing(script));
        }
        beside
            .persist(&component)
            .map_err(|error| error.error)
            .map_err(io(format!("writing {}", component.display())))?;
        Ok(component)
    }
}

/// Whether a version stands in a text as a whole: `1.2` does not stand in `1.25` or `11.2`.
fn stands_in(text: &str, version: &str) -> bool {
    text.match_indices(version).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + version.len()..].chars().next();
        !before.is_some_and(|c| c.is_ascii_digit() || c == '.')
            && !after.is_some_and(|c| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_project::MANIFEST;

    fn project(tools: &str, script: &str) -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        let manifest = format!("version = 1\nname = \"p\"\nlanguage = \"c\"\n{tools}");
        std::fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        std::fs::write(dir.path().join(SCRIPT), script).unwrap();
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn a_version_stands_in_a_text_as_a_whole() {
        assert!(stands_in("tool 1.2", "1.2"));
        assert!(stands_in("tool v1.2-beta", "1.2"));
        for other in ["tool 1.25", "tool 11.2", "tool 0.1.2", ""] {
            assert!(!stands_in(other, "1.2"), "{other}");
        }
    }

    #[test]
    fn tools_of_another_version_are_missing_with_the_command_that_brings_them() {
        let tool = |name: &str, shows: &str| {
            format!(
                "[[tools]]\nname = \"{name}\"\nversion = \"1.2\"\nshows = \"{shows}\"\nbrings = \"get {name}\"\n"
            )
        };
        let tools = [
            tool("good", "echo 1.2"),
            tool("loud", "echo 1.2 >&2"),
            tool("old", "echo 1.1"),
            tool("gone", "false"),
        ];
        let (dir, project) = project(&tools.concat(), "");
        let missing = project.missing_tools().unwrap();
        let names: Vec<_> = missing.iter().map(|missing| &*missing.tool).collect();
        assert_eq!(names, ["old 1.2", "gone 1.2"]);
        let command = format!("(cd {} && get old)", dir.path().display());
        assert_eq!(missing[0].command, command);
    }

    #[test]
    fn a_failed_build_leaves_the_component_that_was_there() {
        for script in ["exit 3", "echo half > \"$1\"; exit 1", ":"] {
            let (_dir, project) = project("", script);
            std::fs::write(project.component(), "old").unwrap();
            assert!(project.build(Path::new("dbmedic")).is_err(), "{script}");
            assert_eq!(std::fs::read_to_string(project.component()).unwrap(), "old");
            let files = std::fs::read_dir(&project.dir).unwrap().count();
            assert_eq!(files, 3, "{script}");
        }
    }

    #[test]
    fn a_build_is_told_where_to_write_and_who_runs_it() {
        let (_dir, project) = project("", "printf %s \"$DBMEDIC\" > \"$1\"");
        let component = project.build(Path::new("/bin/dbmedic")).unwrap();
        assert_eq!(std::fs::read_to_string(component).unwrap(), "/bin/dbmedic");
    }
}
