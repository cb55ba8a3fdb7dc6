//! `config`: make and check a config file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Ended, complain, say, say_json};
use crate::assemble::load_policy;
use crate::config::{self, Config, ConfigErrors, Places};
use crate::model::SettingError;
use crate::policy::LoadError;

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
        /// The config file
        #[arg(default_value = "dbmedic.toml")]
        file: PathBuf,
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
        ConfigCommand::Check { file, json } => match Config::load(file) {
            Err(errors) if *json => {
                say_json(&errors)?;
                Ok(ExitCode::FAILURE)
            }
            Err(errors) => Err(errors.into()),
            Ok(loaded) => {
                let policy = &loaded.config.policy;
                let policy = load_policy(
                    policy.file.as_deref(),
                    policy.limits.clone(),
                    &policy.parameters,
                );
                if let Err(error) = policy {
                    let wrong = in_the_file(&loaded.places, error)?;
                    if *json {
                        say_json(&wrong)?;
                        return Ok(ExitCode::FAILURE);
                    }
                    return Err(wrong.into());
                }
                if *json {
                    say_json(&loaded.warnings)?;
                } else {
                    loaded
                        .warnings
                        .iter()
                        .for_each(|warning| complain(&warning.to_string()));
                    say(&format!("{}: ok", file.display()))?;
                }
                Ok(ExitCode::SUCCESS)
            }
        },
    }
}

/// The parameters that the policy refuses, each at its line. Any other error stays what it is.
fn in_the_file(places: &Places, error: anyhow::Error) -> anyhow::Result<ConfigErrors> {
    let Some(LoadError::Settings(wrong)) = error.downcast_ref::<LoadError>() else {
        return Err(error);
    };
    let problem = |wrong: &SettingError| {
        let field = format!("policy.parameters.{}", wrong.name);
        places.problem(&field, format!("`{}`: {}", wrong.name, wrong.message), None)
    };
    Ok(ConfigErrors(wrong.iter().map(problem).collect()))
}
