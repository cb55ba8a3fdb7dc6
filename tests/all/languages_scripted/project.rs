//! Projects of policies in a place of their own, with the tools of their language beside them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::signing::Verified;

use crate::common::{data, dbmedic, files, talk};

/// The languages that these tests build in.
pub(crate) const LANGUAGES: [&str; 3] = ["python", "javascript", "typescript"];
/// What every project here is called.
const NAME: &str = "night-watch";

/// A project whose tools are there.
pub(crate) struct Workshop {
    language: &'static str,
    home: tempfile::TempDir,
}

impl Workshop {
    /// A new project; none, with a word, where its tools cannot be had.
    pub(crate) fn with_tools(language: &'static str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let workshop = Self { language, home };
        lay_out(language, &workshop.dir());
        if !workshop.bring_tools() {
            eprintln!("skipped: the tools of {language} cannot be had here");
            return None;
        }
        Some(workshop)
    }

    /// Brings the tools into the language's own place, where they stay, and lets the project see them.
    fn bring_tools(&self) -> bool {
        let place = place(self.language);
        let manifest = fs::read_to_string(self.dir().join("dbmedic-policy.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let lock = one_at_a_time(self.language);
        let _held = lock.lock().unwrap();
        fs::create_dir_all(place.join(".tools")).unwrap();
        symlink(place.join(".tools"), self.dir().join(".tools")).unwrap();
        let shell = |line: &str| {
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", line]).current_dir(&place);
            shell.stdin(Stdio::null()).output().unwrap()
        };
        let tools = manifest["tools"].as_array().unwrap();
        tools.iter().all(|tool| {
            let line = |key: &str| tool[key].as_str().unwrap().to_owned();
            let version = tool
                .get("version")
                .and_then(toml::Value::as_str)
                .unwrap_or("");
            let is_there = || {
                let shown = shell(&line("shows"));
                shown.status.success() && (data(&shown) + &talk(&shown)).contains(version)
            };
            // What is not brought into the project's own folder is not for a test to bring.
            is_there()
                || (line("brings").contains(".tools") && {
                    let brought = shell(&line("brings"));
                    if !brought.status.success() {
                        eprintln!("{}: {}", line("name"), talk(&brought));
                    }
                    is_there()
                })
        })
    }

    /// The project's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join(NAME)
    }

    /// The component that is built.
    pub(crate) fn component(&self) -> PathBuf {
        self.dir().join(format!("{NAME}.wasm"))
    }

    /// The folder of its cases.
    pub(crate) fn cases(&self) -> PathBuf {
        self.dir().join(format!("{NAME}.tests"))
    }

    /// The commands of its README but those that ask dbmedic for its part.
    pub(crate) fn own_commands(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir().join("README.md")).unwrap();
        let inside = text.split("```sh\n").nth(1).unwrap();
        let inside = inside.split("```").next().unwrap();
        let own = |line: &&str| !line.starts_with("dbmedic ");
        inside.lines().filter(own).map(str::to_owned).collect()
    }

    /// Runs a line of shell in the project, as its author would.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let lock = one_at_a_time(self.language);
        let _held = lock.lock().unwrap();
        Command::new("sh")
            .args(["-c", line])
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .env("DBMEDIC", dbmedic())
            .output()
            .unwrap()
    }

    /// Builds the component.
    pub(crate) fn build(&self) {
        let built = self.shell("sh build.sh");
        assert!(built.status.success(), "{}", talk(&built));
    }

    /// Changes a file.
    pub(crate) fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.dir().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} does not stand in {file}");
        fs::write(path, text.replacen(old, new, 1)).unwrap();
    }
}

/// The root of this repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes a project of the template in `sdk/LANGUAGE`, with the SDK and the contract beside it.
fn lay_out(language: &str, project: &Path) {
    let sdk = root().join("sdk").join(language);
    let (kebab, snake) = (NAME, NAME.replace('-', "_"));
    let template = sdk.join("template");
    for file in sources(&template) {
        let path = file.strip_prefix(&template).unwrap().to_str().unwrap();
        let named = |text: &str| {
            text.replace("my-policy", kebab)
                .replace("my_policy", &snake)
        };
        let text = fs::read_to_string(&file).unwrap();
        write(&project.join(named(path)), &named(&text));
    }
    for line in fs::read_to_string(sdk.join("vendor.txt")).unwrap().lines() {
        let (from, to) = line.split_once(' ').unwrap();
        let from = sdk.join(from);
        for file in sources(&from) {
            let path = project.join(to).join(file.strip_prefix(&from).unwrap());
            let path = path.to_str().unwrap().trim_end_matches('/').to_owned();
            write(Path::new(&path), &fs::read_to_string(&file).unwrap());
        }
    }
    let wit = root().join("wit");
    let mut contract = fs::read_to_string(wit.join("world.wit")).unwrap();
    for file in files(&wit) {
        if !file.ends_with("world.wit") {
            contract += &fs::read_to_string(file).unwrap();
        }
    }
    write(&project.join("wit/policy.wit"), &contract);
}

/// Every file below a folder that somebody wrote.
fn sources(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let mut all = files(folder);
    all.retain(|file| {
        !file
            .components()
            .any(|part| part.as_os_str() == "__pycache__")
    });
    all
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Where the tools of a language stay.
fn place(language: &str) -> PathBuf {
    let target = dbmedic().parent().unwrap().parent().unwrap();
    target.join("languages").join(language)
}

/// Builds of one language share a cache, and tests run side by side.
fn one_at_a_time(language: &'static str) -> Arc<Mutex<()>> {
    static LOCKS: OnceLock<Mutex<BTreeMap<&'static str, Arc<Mutex<()>>>>> = OnceLock::new();
    let mut locks = LOCKS.get_or_init(Mutex::default).lock().unwrap();
    Arc::clone(locks.entry(language).or_default())
}

/// A policy with its parameters' defaults, in no hurry.
pub(crate) fn policy(component: &Path) -> Policy {
    let limits = Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 60_000,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits).unwrap();
    let component = Verified::unsigned(fs::read(component).unwrap());
    runtime.load(&component, &[]).unwrap()
}
