//! `dbmedic-policy.toml`: a project's name and language, and the tools that its `build.sh` runs.

use std::io;
use std::path::{Path, PathBuf};

use super::create::PolicyName;
use crate::document::{self, DocumentErrors, Section};
use crate::regular_file;

/// The file that makes a folder a project.
pub const MANIFEST: &str = "dbmedic-policy.toml";
/// The version of the format that this dbmedic reads.
const VERSION: u32 = 1;
/// The largest manifest that is read, bytes.
const MANIFEST_BYTES: u64 = 64 << 10;

/// What stands in a project's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The policy's name: the component is `NAME.wasm`.
    pub name: PolicyName,
    /// What it is written in.
    pub language: String,
    /// What `build.sh` runs.
    pub tools: Vec<Tool>,
}

/// A program that a project is built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// What it is called.
    pub name: String,
    /// The version that the project is pinned to; none where any will do.
    pub version: Option<String>,
    /// A line of shell that ends with 0 and prints the version where the tool is there.
    pub shows: String,
    /// The line that a person types to bring it.
    pub brings: String,
}

/// A folder with a policy in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder.
    pub dir: PathBuf,
    /// What its manifest says.
    pub manifest: Manifest,
}

/// Why a folder is no project.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// There is no manifest.
    #[error(
        "{} holds no {MANIFEST}, so it is no policy project; `dbmedic policy new` makes one",
        .0.display()
    )]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds mistakes.
    #[error(transparent)]
    Mistakes(#[from] DocumentErrors),
}

impl Project {
    /// The project in a folder.
    ///
    /// # Errors
    /// When the folder has no manifest, or a faulty one.
    pub fn open(dir: &Path) -> Result<Self, ManifestError> {
        let path = dir.join(MANIFEST);
        let text = match regular_file::read_text(&path, MANIFEST_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Missing(dir.to_owned()));
            }
            Err(source) => return Err(ManifestError::Io { path, source }),
        };
        let (manifest, _) = document::read(&text, &path.display().to_string(), manifest)?;
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
        })
    }
}

fn manifest(root: &mut Section<'_, '_>) -> Option<Manifest> {
    if !document::version(root, VERSION) {
        return None;
    }
    let name = required(root, "name", "the policy's name, such as \"night-watch\"");
    let name = name.and_then(|name| match PolicyName::parse(&name) {
        Ok(name) => Some(name),
        Err(error) => {
            root.error("name", error.to_string(), "write the name of the policy");
            None
        }
    });
    let language = required(root, "language", "the language, such as \"rust\"");
    let mut tools = Vec::new();
    root.tables("tools", |table| tools.extend(tool(table)));
    Some(Manifest {
        name: name?,
        language: language?,
        tools,
    })
}

fn tool(table: &mut Section<'_, '_>) -> Option<Tool> {
    let name = required(table, "name", "the tool's name");
    let version = table.text("version", "the version, such as \"1.2.3\"");
    let version = version.map(str::to_owned);
    let shows = required(table, "shows", "a line of shell that prints its version");
    let brings = required(table, "brings", "the line of shell that brings it");
    Some(Tool {
        name: name?,
        version,
        shows: shows?,
        brings: brings?,
    })
}

/// A text that must be there; one that is there and wrong was reported already.
fn required(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> Option<String> {
    if !section.has(key) {
        section.error(key, format!("`{key}` is missing"), right);
    }
    section.text(key, right).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Project, ManifestError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), text).unwrap();
        Project::open(dir.path())
    }

    #[test]
    fn a_manifest_is_read_whole() {
        let project = opened(
            "version = 1\nname = \"a-b\"\nlanguage = \"c\"\n\
             [[tools]]\nname = \"t\"\nversion = \"1.2\"\nshows = \"t -v\"\nbrings = \"get t\"\n\
             [[tools]]\nname = \"u\"\nshows = \"u\"\nbrings = \"get u\"\n",
        );
        let manifest = project.unwrap().manifest;
        assert_eq!((manifest.name.as_str(), &*manifest.language), ("a-b", "c"));
        let versions: Vec<_> = manifest.tools.iter().map(|tool| &tool.version).collect();
        assert_eq!(versions, [&Some("1.2".to_owned()), &None]);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let error = opened("version = 1\nname = \"A\"\n[[tools]]\nname = \"t\"\nshow = \"t\"\n");
        let told = error.unwrap_err().to_string();
        for piece in ["`A` is not the name", "`language`", "`brings`", "show"] {
            assert!(told.contains(piece), "{piece}: {told}");
        }
        assert!(told.contains(":2:"), "{told}");
    }

    #[test]
    fn a_folder_without_one_is_no_project() {
        let dir = tempfile::tempdir().unwrap();
        let error = Project::open(dir.path()).unwrap_err();
        assert!(matches!(error, ManifestError::Missing(_)), "{error}");
    }
}
