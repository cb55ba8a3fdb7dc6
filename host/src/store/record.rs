//! What stands in the journal, and how an entry is written as a row.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::command::{Asker, Command};
use crate::digest::hex;
use crate::escape::escaped_json;
use crate::model::Outcome;
use crate::pipeline::Effect;
use crate::repair::Intent;

/// Longest record that is written or read, bytes.
pub(super) const LONGEST: usize = 16 << 20;

/// Hexadecimal digits of a record's checksum: the beginning of a SHA-256, enough to notice damage; it keeps
/// nobody from forging a record.
const SUM_DIGITS: usize = 16;

/// What stands in the journal.
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// The pipeline wanted something done or told.
    Happened {
        /// What.
        effect: Effect,
    },
    /// A person gave a command.
    Said {
        /// What.
        #[serde(rename = "word")]
        command: Command,
        /// Who, when and why.
        #[serde(flatten)]
        asker: Asker,
    },
    /// A policy took a step of the gate, or was refused.
    Policy(crate::gate::GateRecord),
    /// A repair is about to begin. Enough to finish it or take it back after a crash.
    RepairIntended(Box<Intent>),
    /// A step of a repair is about to be taken.
    RepairStep {
        /// Which repair.
        repair_id: String,
        /// The incident it is for.
        incident: String,
        /// The step's name.
        step: String,
    },
    /// A repair is over.
    RepairClosed {
        /// Which repair.
        repair_id: String,
        /// How it ended.
        outcome: Outcome,
        /// Whether it was taken back only because dbmedic was interrupted in it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupted: bool,
    },
}

impl JournalEntry {
    /// The incident that it belongs to, if it belongs to one.
    pub fn incident(&self) -> Option<&str> {
        match self {
            Self::Happened { effect } => effect.incident(),
            Self::Said { command, .. } => command.incident(),
            Self::Policy(_) => None,
            Self::RepairIntended(intent) => Some(&intent.finding.incident),
            Self::RepairStep { incident, .. } => Some(incident),
            Self::RepairClosed { outcome, .. } => Some(&outcome.incident),
        }
    }

    fn target(&self) -> Option<&str> {
        match self {
            Self::Happened { effect } => effect.target(),
            Self::Said { command, .. } => command.target(),
            Self::RepairIntended(intent) => Some(&intent.target),
            Self::Policy(_) | Self::RepairStep { .. } | Self::RepairClosed { .. } => None,
        }
    }

    fn repair(&self) -> Option<&str> {
        match self {
            Self::RepairIntended(intent) => Some(&intent.repair_id),
            Self::RepairStep { repair_id, .. } | Self::RepairClosed { repair_id, .. } => {
                Some(repair_id)
            }
            Self::Happened { .. } | Self::Said { .. } | Self::Policy(_) => None,
        }
    }
}

/// A repair that was closed, of which the pipeline has not heard yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedRepair {
    /// The number of its end in the journal.
    pub seq: u64,
    /// The target; none where the journal does not know it.
    pub target: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it was taken back only because dbmedic was interrupted in it.
    pub interrupted: bool,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// The format's version.
    pub v: u32,
    /// Counts from 1.
    pub seq: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub entry: JournalEntry,
}

/// A repair that was begun and not closed.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRepair {
    /// What was intended.
    pub intent: Intent,
    /// The steps that were begun, in order.
    pub steps: Vec<String>,
}

/// An entry as it is written: its JSON, and beside it what is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(super) at_ms: u64,
    pub(super) kind: String,
    pub(super) target: Option<String>,
    pub(super) incident: Option<String>,
    pub(super) repair: Option<String>,
    pub(super) command: Option<String>,
    /// Whether the pipeline has heard it; none for what is neither a command nor the end of a repair.
    pub(super) heard: Option<bool>,
    pub(super) json: String,
}

impl Row {
    /// # Errors
    /// [`StoreError::TooLong`].
    pub(crate) fn of(at_ms: u64, entry: &JournalEntry) -> Result<Self, StoreError> {
        let is_heard = matches!(
            entry,
            JournalEntry::Said { .. } | JournalEntry::RepairClosed { .. }
        );
        Ok(Self::with(
            at_ms,
            entry,
            json(entry)?,
            is_heard.then_some(false),
        ))
    }

    /// An entry with its JSON, as it stands in a row.
    pub(super) fn with(
        at_ms: u64,
        entry: &JournalEntry,
        json: String,
        heard: Option<bool>,
    ) -> Self {
        let command = match entry {
            JournalEntry::Said { asker, .. } => asker.id.clone(),
            _ => None,
        };
        Self {
            at_ms,
            kind: kind(&json).to_owned(),
            target: entry.target().map(str::to_owned),
            incident: entry.incident().map(str::to_owned),
            repair: entry.repair().map(str::to_owned),
            command,
            heard,
            json,
        }
    }
}

/// A record as JSON. People read it with whatever is at hand, so it holds nothing that a terminal obeys.
pub(super) fn json(record: &impl Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string(record).map_err(StoreError::Record)?;
    let text = escaped_json(&text).into_owned();
    if text.len() > LONGEST {
        return Err(StoreError::TooLong { bytes: text.len() });
    }
    Ok(text)
}

/// The name of what an entry tells: of an effect that happened its own, else the entry's.
fn kind(json: &str) -> &str {
    let effect = json.strip_prefix(r#"{"happened":{"effect":{""#);
    let name = effect.or_else(|| json.strip_prefix(r#"{""#));
    let end = name.and_then(|name| name.split('"').next());
    end.unwrap_or_default()
}

/// The checksum of a record, which holds for the row that it stands in.
pub(super) fn sum(key: &str, json: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update([0]);
    hash.update(json);
    hex(&hash.finalize()[..SUM_DIGITS / 2])
}
