//! Projects of policies in a place of their own, with the tools of their language beside them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use dbmedic::model::Setting;
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::signing::Verified;

use crate::common::{data, dbmedic, talk};

/// The languages that these tests build in; each has its tools to itself.
pub(crate) const LANGUAGES: [&str; 6] = ["rust", "c", "go", "python", "javascript", "typescript"];
/// What every project here is called.
const NAME: &str = "night-watch";

/// Makes a project, and says how that went.
pub(crate) fn made(parent: &Path, language: &str, name: &str) -> Output {
    Command::new(dbmedic())
        .args(["policy", "new", name, "--lang", language])
        .current_dir(parent)
        .output()
        .unwrap()
}

/// Makes a project.
pub(crate) fn new(parent: &Path, language: &str, name: &str) -> PathBuf {
    let made = made(parent, language, name);
    assert!(made.status.success(), "{}", talk(&made));
    parent.join(name)
}

/// A project whose tools are there.
pub(crate) struct Workshop {
    language: &'static str,
    home: tempfile::TempDir,
}

impl Workshop {
    /// A new project; none, with a word, where its tools cannot be had.
    pub(crate) fn with_tools(language: &'static str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let project = new(home.path(), language, NAME);
        let workshop = Self { language, home };
        let ready = workshop.bring_tools(&project);
        if !ready {
            eprintln!("skipped: the tools of {language} cannot be had here");
            return None;
        }
        Some(workshop)
    }

    /// Brings the tools into the language's own place, where they stay, and lets the project see them.
    fn bring_tools(&self, project: &Path) -> bool {
        let place = place(self.language);
        let manifest = fs::read_to_string(project.join("dbmedic-policy.toml")).unwrap();
        let has_own_tools = manifest.contains(".tools");
        let manifest: toml::Table = manifest.parse().unwrap();
        let lock = one_at_a_time(self.language);
        let _held = lock.lock().unwrap();
        fs::create_dir_all(place.join(".tools")).unwrap();
        if has_own_tools {
            symlink(place.join(".tools"), project.join(".tools")).unwrap();
        }
        let shell = |line: &str| {
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", line]).current_dir(&place);
            shell.stdin(Stdio::null()).output().unwrap()
        };
        let tools = manifest.get("tools").and_then(toml::Value::as_array);
        tools.into_iter().flatten().all(|tool| {
            let line = |key: &str| tool[key].as_str().unwrap().to_owned();
            let version = tool
                .get("version")
                .and_then(toml::Value::as_str)
                .unwrap_or("");
            let is_there = || {
                let shown = shell(&line("shows"));
                let text = data(&shown) + &talk(&shown);
                shown.status.success() && text.contains(version)
            };
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

    /// The commands of its README.
    pub(crate) fn readme(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir().join("README.md")).unwrap();
        let mut lines = Vec::new();
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with("```") {
                inside = line == "```sh";
            } else if inside {
                lines.push(line.to_owned());
            }
        }
        assert!(lines.len() >= 2, "{text}");
        lines
    }

    /// Runs a line of shell in the project, as its author would. What can be kept between projects of a
    /// language is kept.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let lock = one_at_a_time(self.language);
        let _held = lock.lock().unwrap();
        let place = place(self.language);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", dbmedic().parent().unwrap().display());
        Command::new("sh")
            .args(["-c", line])
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .env("PATH", path)
            .env("DBMEDIC", dbmedic())
            .env("CARGO_TARGET_DIR", place.join("target"))
            .env("ZIG_GLOBAL_CACHE_DIR", place.join("cache"))
            .env("GOCACHE", place.join("cache"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap()
    }

    /// Builds the component.
    pub(crate) fn build(&self) {
        let built = self.shell("sh build.sh");
        assert!(built.status.success(), "{}{}", data(&built), talk(&built));
    }

    /// Changes a file.
    pub(crate) fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.dir().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} does not stand in {file}");
        fs::write(path, text.replacen(old, new, 1)).unwrap();
    }

    /// A build leaves the component, and what the project's `.gitignore` names.
    pub(crate) fn nothing_else_is_there(&self) {
        let git = |line: &str| self.shell(line);
        let begun = git("git init -q . && git -c core.excludesFile= status --porcelain -uall");
        let status = data(&begun);
        assert!(begun.status.success(), "{}", talk(&begun));
        for line in status.lines() {
            for left in [
                "night-watch.wasm",
                ".tools",
                "target/",
                "cache",
                "node_modules",
            ] {
                assert!(!line.contains(left), "{status}");
            }
        }
    }
}

/// The root of this repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where tools and caches of a language stay.
fn place(language: &str) -> PathBuf {
    let target = dbmedic().parent().unwrap().parent().unwrap();
    target.join("languages").join(language)
}

/// Builds of one language share a cache, and tests run side by side.
fn one_at_a_time(language: &'static str) -> Arc<Mutex<()>> {
    type Locks = BTreeMap<&'static str, Arc<Mutex<()>>>;
    static LOCKS: OnceLock<Mutex<Locks>> = OnceLock::new();
    let mut locks = LOCKS.get_or_init(Mutex::default).lock().unwrap();
    Arc::clone(locks.entry(language).or_default())
}

/// The component of the template, built once; none where its tools cannot be had.
pub(crate) fn built(language: &'static str) -> Option<PathBuf> {
    static BUILT: OnceLock<Mutex<BTreeMap<&'static str, Option<PathBuf>>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap();
    let component = built.entry(language).or_insert_with(|| {
        let workshop = Workshop::with_tools(language)?;
        let done = workshop.shell("dbmedic policy build");
        assert!(done.status.success(), "{}", talk(&done));
        let kept = place(language).join(format!("{NAME}.wasm"));
        fs::copy(workshop.component(), &kept).unwrap();
        Some(kept)
    });
    component.clone()
}

/// A policy with its parameters' defaults, in no hurry.
pub(crate) fn policy(component: &Path) -> Policy {
    policy_with(component, &[])
}

/// The same with settings.
pub(crate) fn policy_with(component: &Path, settings: &[Setting]) -> Policy {
    let limits = Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 60_000,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits).unwrap();
    let component = Verified::unsigned(fs::read(component).unwrap());
    runtime.load(&component, settings).unwrap()
}
