//! `policy new`, `build`, `wit` and `component`: from nothing to a policy that can come into service.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::check::{self, CheckArgs};
use super::write_whole;
use crate::cli::{Ended, complain, say};
use crate::policy_component;
use crate::policy_project::{
    self, BuildError, CONTRACT, LANGUAGES, Language, Missing, PolicyName, Project,
};
use crate::regular_file;

/// The largest core module or WIT file that is read, bytes.
const MODULE_BYTES: u64 = 256 << 20;
const WIT_BYTES: u64 = 4 << 20;

/// Arguments of `policy new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The policy's name, and that of the folder that is made
    name: String,
    /// What it is to be written in
    #[arg(long = "lang", value_name = "LANGUAGE", value_parser = languages())]
    language: String,
}

/// Arguments of `policy build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The folder that `policy new` made
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Print the result of the check as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `policy component`.
#[derive(Debug, Args)]
pub(crate) struct ComponentArgs {
    /// The core module
    module: PathBuf,
    /// The component's file
    #[arg(short, long, value_name = "FILE.wasm")]
    out: PathBuf,
    /// A module that answers for `wasi_snapshot_preview1` instead of the one that dbmedic brings
    #[arg(long, value_name = "FILE.wasm")]
    adapt: Option<PathBuf>,
    /// The contract that the module was compiled for, where it does not carry it (default: that of
    /// `policy wit`)
    #[arg(long, value_name = "FILE.wit")]
    wit: Option<PathBuf>,
}

fn languages() -> PossibleValuesParser {
    PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name))
}

pub(super) fn new(args: &NewArgs) -> Ended {
    let name = PolicyName::parse(&args.name)?;
    let language = Language::of(&args.language)
        .with_context(|| format!("there is no language `{}`", args.language))?;
    let project = policy_project::create(Path::new(""), &name, language)?;
    complain(&format!(
        "made {0}; its README.md says what comes next: dbmedic policy build {0}",
        project.display()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn wit() -> Ended {
    io::stdout().lock().write_all(CONTRACT.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn build(args: &BuildArgs) -> Ended {
    let project = Project::open(&args.dir)?;
    let missing = project.missing_tools()?;
    if !missing.is_empty() {
        bail!("{}", told(&missing));
    }
    let dbmedic = env::current_exe().context("finding dbmedic itself")?;
    let component = match project.build(&dbmedic) {
        Ok(component) => component,
        Err(error @ (BuildError::Failed { .. } | BuildError::LeftNothing(_))) => {
            complain(&format!("error: {error}"));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    if !args.json {
        let bytes = component.metadata()?.len();
        say(&format!("built  {} {bytes} bytes", component.display()))?;
    }
    check::run(&CheckArgs::unsigned(component, args.json))
}

/// What is missing, and how it is brought.
fn told(missing: &[Missing]) -> String {
    let one = |missing: &Missing| {
        let Missing { tool, command } = missing;
        format!("{tool} is missing; bring it with: {command}")
    };
    missing.iter().map(one).collect::<Vec<_>>().join("; ")
}

pub(super) fn component(args: &ComponentArgs) -> Ended {
    let read = |path: &Path| {
        regular_file::read(path, MODULE_BYTES)
            .with_context(|| format!("reading {}", path.display()))
    };
    let module = read(&args.module)?;
    let adapter = args.adapt.as_deref().map(read).transpose()?;
    let wit = match &args.wit {
        None => CONTRACT.to_owned(),
        Some(path) => regular_file::read_text(path, WIT_BYTES)
            .with_context(|| format!("reading {}", path.display()))?,
    };
    let component = policy_component::from_module(&module, &wit, adapter.as_deref())
        .with_context(|| format!("{}", args.module.display()))?;
    write_whole(&args.out, &component)?;
    Ok(ExitCode::SUCCESS)
}
