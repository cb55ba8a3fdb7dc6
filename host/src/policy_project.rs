//! Policy projects: a folder with everything that a policy needs, made from a template in one of the
//! languages, and built by that language's own tools.
//!
//! The templates and the contract are carried by the binary, so a project needs nothing of dbmedic's
//! repository. Only [`Project::build`] starts programs: those that the project itself names.

mod build;
mod create;
mod manifest;

pub use build::{BuildError, Missing};
pub use create::{CreateError, PolicyName, create};
pub use manifest::{MANIFEST, Manifest, ManifestError, Project, Tool};

/// The contract as one WIT file, the package's name first.
pub const CONTRACT: &str = include_str!(concat!(env!("OUT_DIR"), "/policy.wit"));

/// The languages that a project can be made in, by name.
pub const LANGUAGES: &[Language] = include!(concat!(env!("OUT_DIR"), "/languages.rs"));

/// A language, and the files of a new project in it.
#[derive(Debug)]
pub struct Language {
    /// Its name on the command line.
    pub name: &'static str,
    files: &'static [File],
}

impl Language {
    /// The language of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        LANGUAGES.iter().find(|language| language.name == name)
    }
}

/// A file of a new project.
#[derive(Debug)]
struct File {
    origin: Origin,
    path: &'static str,
    bytes: &'static [u8],
}

/// Where a file of a new project comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The template: the project's name is put in.
    Template,
    /// The SDK: copied byte for byte.
    Vendored,
}
