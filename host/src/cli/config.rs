//! `config`: make and check a config file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{Ended, complain, complain_lines, say, say_json, tell_error};
use crate::assemble::check_policies;
use crate::config::{self, Config, ConfigErrors, Loaded};
use crate::gate::GateError;
use crate::regular_file;
use crate::signature_dir::SignatureDir;

/// What can be done with a config file.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented config file
    Init {
        /// The file to write; it must not exist
        #[arg(default_value = "dbmedic.toml")]
        file: PathBuf,
    },
    /// Find the mistakes in a config file, the policy's parameters included
    Check {
        /// The config file (default: dbmedic.toml)
        file: Option<PathBuf>,
        /// The config file, as for `run`
        #[arg(short, long = "config", value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &ConfigCommand) -> Ended {
    match command {
        ConfigCommand::Init { file } => {
            config::init(file)?;
            complain(&format!(
                "wrote {}; edit it, then `dbmedic config check`",
                file.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Check { file, config, json } => {
            let usual = Path::new("dbmedic.toml");
            check(
                config.as_deref().or(file.as_deref()).unwrap_or(usual),
                *json,
            )
        }
    }
}

fn check(file: &Path, json: bool) -> Ended {
    match Config::load(file) {
        Err(errors) if json => {
            say_json(&errors)?;
            Ok(if regular_file::open(file).is_err() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            })
        }
        // Of a file that is not there, or is none, nothing can be said.
        Err(errors) if regular_file::open(file).is_err() => Err(errors.into()),
        Err(errors) => Ok(wrong(&errors.into())),
        Ok(loaded) => {
            let known = SignatureDir::at(&loaded.config.signature_dir).load();
            if let Some(error) = known.left_out.into_iter().next() {
                return Ok(wrong(&error.into()));
            }
            if let Err(error) = check_policies(&loaded) {
                let errors = match in_the_file(&loaded, error) {
                    Ok(errors) if json => {
                        say_json(&errors)?;
                        return Ok(ExitCode::FAILURE);
                    }
                    Ok(errors) => errors.into(),
                    Err(error) => error,
                };
                return Ok(wrong(&errors));
            }
            if let Err(errors) = loaded.needs_state_dir() {
                if json {
                    say_json(&errors)?;
                    return Ok(ExitCode::FAILURE);
                }
                return Ok(wrong(&errors.into()));
            }
            if json {
                say_json(&loaded.warnings)?;
            } else {
                loaded
                    .warnings
                    .iter()
                    .for_each(|warning| complain_lines(&warning.to_string()));
                say(&format!("{}: ok", file.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The answer is no, and why.
fn wrong(error: &anyhow::Error) -> ExitCode {
    tell_error(error);
    ExitCode::FAILURE
}

/// The parameters that a policy refuses, each at its line. Any other error stays what it is.
fn in_the_file(loaded: &Loaded, error: anyhow::Error) -> anyhow::Result<ConfigErrors> {
    let Some(GateError::Refused {
        policy, refusal, ..
    }) = error.downcast_ref::<GateError>()
    else {
        return Err(error);
    };
    if refusal.fields.is_empty() {
        return Err(error);
    }
    let table = loaded.config.path_of_policy(policy);
    let problem = |(name, message): &(String, String)| {
        let field = format!("{table}.parameters.{name}");
        let text = format!("`{name}`: {message}");
        loaded.places.problem(&field, text, None)
    };
    Ok(ConfigErrors(refusal.fields.iter().map(problem).collect()))
}
