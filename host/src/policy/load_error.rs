//! Why a runtime does not start and why a component is not taken as a policy.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use super::{PolicyFailure, Toolchain};
use crate::model::SettingError;

/// What the engine said.
pub(super) type EngineError = Box<dyn Error + Send + Sync>;

/// Why the policy runtime does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A limit that makes no sense.
    #[error("policy limit `{name}` is {value}; set it between {least} and {most}")]
    Limit {
        /// The field of [`super::Limits`].
        name: &'static str,
        /// What was set.
        value: u64,
        /// The smallest value allowed.
        least: u64,
        /// The largest value allowed.
        most: u64,
    },
    /// The address space of this process is limited, and not even one policy fits.
    #[error(
        "policies need {needed_mib} MiB of address space, and {free_mib} MiB are left: raise the limit \
         (`ulimit -v`, `LimitAS` of systemd) by {} MiB at least, or lower `memory_mib` in \
         [policy.limits]; they run fastest with {fastest_mib} MiB, of which next to nothing is used",
        needed_mib.saturating_sub(*free_mib)
    )]
    AddressSpace {
        /// The least that is needed, MiB.
        needed_mib: u64,
        /// What the fastest layout takes, MiB.
        fastest_mib: u64,
        /// What is left under the limit, MiB.
        free_mib: u64,
    },
    /// The engine refuses its configuration.
    #[error("the WebAssembly engine does not start")]
    Engine(#[source] EngineError),
    /// The thread that watches the deadline cannot be started.
    #[error("the thread that watches the policies' deadline does not start")]
    Ticker(#[source] io::Error),
}

/// Why a component is not taken as a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No bytes.
    #[error("the policy file is empty")]
    Empty,
    /// Too large to compile.
    #[error("the policy is {bytes} bytes; limit `component_mib` allows {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most allowed, bytes.
        limit: usize,
    },
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component; wrap it with \
         `wasm-tools component new`, or link it with `wasm-component-ld`"
    )]
    CoreModule,
    /// Not WebAssembly at all.
    #[error("this is no WebAssembly component: it does not begin with a component's header")]
    NotWebAssembly,
    /// Damaged, or beyond the limits of the engine.
    #[error("the component does not compile; it is damaged, or larger than the limits allow")]
    Compile(#[source] EngineError),
    /// It wants what a policy must not have.
    #[error("{}", imports_message(.names, *.toolchain))]
    Imports {
        /// The imports that are not offered, in the order of the component.
        names: Vec<String>,
        /// What built it, as far as it shows.
        toolchain: Option<Toolchain>,
    },
    /// It was built against another contract.
    #[error(
        "the component does not fit the contract dbmedic:policy@0.2.0; build it against this \
         version's `wit/`"
    )]
    Contract(#[source] EngineError),
    /// It failed while starting.
    #[error("the policy does not start")]
    Start(#[source] PolicyFailure),
    /// It failed in `describe`.
    #[error("the policy fails to describe itself")]
    Describe(#[source] PolicyFailure),
    /// What `describe` says cannot be used.
    #[error("the policy's description is malformed: {what}")]
    MalformedDescription {
        /// The field and what is wrong.
        what: String,
    },
    /// The settings are wrong, all of the wrong ones named.
    #[error("{}", settings_message(.0))]
    Settings(Vec<SettingError>),
    /// It failed in `configure`.
    #[error("the policy fails to take its settings")]
    Configure(#[source] PolicyFailure),
    /// What `configure` answered cannot be used.
    #[error("the policy's answer to its settings is malformed: {what}")]
    MalformedSettings {
        /// What is wrong.
        what: String,
    },
}

fn imports_message(names: &[String], toolchain: Option<Toolchain>) -> String {
    let message = format!(
        "the component imports {}; a policy may import dbmedic:policy/telemetry and \
         dbmedic:policy/log, nothing else",
        names.join(", ")
    );
    if !names.iter().any(|name| name.starts_with("wasi:")) {
        return message;
    }
    let advice = toolchain.map_or(
        "build it without WASI: for Rust with `--target wasm32-unknown-unknown`, for other \
         languages with the templates in `sdk/`",
        Toolchain::advice,
    );
    format!("{message}; {advice}")
}

fn settings_message(errors: &[SettingError]) -> String {
    let mut message = String::from("the policy's settings are wrong:");
    for SettingError {
        name,
        message: what,
    } in errors
    {
        // Writing to a String cannot fail.
        write!(message, " `{name}` {what};").unwrap_or_default();
    }
    message.truncate(message.trim_end_matches(';').len());
    message
}
