//! Makes a new project: every file beside its place, then the whole folder under its name.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{CONTRACT, Language, Origin};

/// What the project of a template is called, and the same as a name in a program.
const PLACEHOLDER: &str = "my-policy";
const PLACEHOLDER_IN_CODE: &str = "my_policy";
/// Where the contract lies in a project.
const CONTRACT_FILE: &str = "wit/policy.wit";
/// The longest name, bytes.
const NAME_BYTES: usize = 64;

/// The name of a policy and of its files: words of lower-case letters and digits joined by hyphens,
/// the first of which begins with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyName(String);

impl PolicyName {
    /// Takes a name that is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CreateError> {
        let is_word = |word: &str| {
            let mut bytes = word.bytes();
            !word.is_empty() && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if begins_well && text.len() <= NAME_BYTES && text.split('-').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CreateError::Name(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a project cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// It is not the name of a policy.
    #[error(
        "`{0}` is not the name of a policy: write at most {NAME_BYTES} lower-case letters and digits, \
         with hyphens between words, such as `night-watch`"
    )]
    Name(String),
    /// Something of that name is there.
    #[error("{} exists already and is left as it is; choose another name", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("making {}: {source}", path.display())]
    Io {
        /// What was to be written.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
}

/// Makes the folder `parent/NAME`, and nothing when that fails.
///
/// # Errors
/// When something of that name is there, or a file cannot be written.
pub fn create(
    parent: &Path,
    name: &PolicyName,
    language: &Language,
) -> Result<PathBuf, CreateError> {
    let project = parent.join(name.as_str());
    if project.symlink_metadata().is_ok() {
        return Err(CreateError::Exists(project));
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CreateError::Exists(project.clone()),
        _ => CreateError::Io {
            path: project.clone(),
            source,
        },
    };
    // Removed with everything in it unless it gets its name.
    let beside = tempfile::Builder::new()
        .prefix(&format!(".{}.", name.as_str()))
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(failed)?;
    write_files(beside.path(), name, language).map_err(failed)?;
    renameat_with(CWD, beside.path(), CWD, &project, RenameFlags::NOREPLACE)
        .map_err(|error| failed(error.into()))?;
    // It is no longer there to be removed.
    let _gone = beside.keep();
    Ok(project)
}

fn write_files(folder: &Path, name: &PolicyName, language: &Language) -> io::Result<()> {
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(path, bytes)
    };
    for file in language.files {
        match (file.origin, std::str::from_utf8(file.bytes)) {
            (Origin::Template, Ok(text)) => {
                write(&named(file.path, name), named(text, name).as_bytes())?;
            }
            (Origin::Template, Err(_)) => write(&named(file.path, name), file.bytes)?,
            (Origin::Vendored, _) => write(file.path, file.bytes)?,
        }
    }
    write(CONTRACT_FILE, CONTRACT.as_bytes())
}

/// A text of the template with the project's name in it.
fn named(text: &str, name: &PolicyName) -> String {
    text.replace(PLACEHOLDER, name.as_str())
        .replace(PLACEHOLDER_IN_CODE, &name.as_str().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::super::LANGUAGES;
    use super::*;

    #[test]
    fn a_name_is_good_for_a_policy_and_for_a_file() {
        for good in ["a", "night-watch", "p2-x"] {
            assert_eq!(PolicyName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "", "-a", "a-", "a--b", "A", "a_b", "a.b", "a/b", "..", "2a", "é", "a b", &long,
        ] {
            let error = PolicyName::parse(bad).unwrap_err();
            assert!(matches!(error, CreateError::Name(_)), "{bad}");
        }
    }

    #[test]
    fn a_project_is_whole_and_bears_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let name = PolicyName::parse("night-watch").unwrap();
        for language in LANGUAGES {
            let project = create(parent.path(), &name, language).unwrap();
            let manifest = fs::read_to_string(project.join(super::super::MANIFEST)).unwrap();
            assert!(manifest.contains("name = \"night-watch\""), "{manifest}");
            let own = language
                .files
                .iter()
                .filter(|file| file.origin == Origin::Template);
            for file in own {
                let path = project.join(named(file.path, &name));
                let bytes = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(PLACEHOLDER), "{}", path.display());
                assert!(!text.contains(PLACEHOLDER_IN_CODE), "{}", path.display());
            }
            let contract = fs::read_to_string(project.join(CONTRACT_FILE)).unwrap();
            assert_eq!(contract, CONTRACT);
            fs::remove_dir_all(project).unwrap();
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let name = PolicyName::parse("there").unwrap();
        fs::create_dir(parent.path().join("there")).unwrap();
        let error = create(parent.path(), &name, &LANGUAGES[0]).unwrap_err();
        assert!(matches!(error, CreateError::Exists(_)), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        assert_eq!(
            fs::read_dir(parent.path().join("there")).unwrap().count(),
            0
        );
    }
}
