//! The kinds of input.

use std::fmt;

use clap::ValueEnum;

/// A kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// `dbmedic.toml`.
    Configurations,
    /// Recordings of runs and of tables.
    Recordings,
    /// Telemetry as CSV.
    Tables,
    /// Learned signatures.
    Signatures,
    /// Public and secret keys, and signatures of policies.
    Keys,
    /// Test cases of policies.
    Cases,
    /// Policies.
    Components,
    /// The files of a state directory.
    State,
    /// SQLite databases with their logs and journals.
    Databases,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}
