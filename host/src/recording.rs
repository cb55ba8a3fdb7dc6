//! A recording: everything the pipeline was told and what it answered, in one file.
//!
//! JSON Lines, version 2: a header, then one line for each event with the effects it had. Values
//! only, no secret, no path of a target. It is enough to run the same pipeline again.

mod incidents;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Setting;
use crate::pipeline::{Carried, Decided, Effect, Event, PipelineOptions, RecordedFailure};
use crate::policy::{Limits, PolicyFailure, PolicyIdentity};
use crate::regular_file;

pub use incidents::{IncidentSpan, incident_spans, incident_spans_until};

/// The version of the format that this dbmedic writes and reads.
pub const VERSION: u32 = 2;

/// The version before. It differs in what was learned, and is read where nothing was.
const WITHOUT_LEARNED: u64 = 1;

/// Longest line that is read, bytes. A longer one is damage, not a recording.
const LONGEST_LINE: u64 = 64 << 20;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub dbmedic_recording: u32,
    /// The version of the dbmedic that wrote it.
    pub dbmedic: String,
    /// The seed of whatever was left to chance.
    pub seed: u64,
    /// When it begins, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The policy that decided at the beginning; events tell of those that came in its place.
    pub policy: PolicyIdentity,
    /// The settings it was given.
    pub settings: Vec<Setting>,
    /// The policies besides the default one, by their configured names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, NamedPolicy>,
    /// The limits that all were held to, but for named ones with limits of their own.
    pub limits: Limits,
    /// The pipeline's options.
    pub options: PipelineOptions,
    /// What was carried over from before.
    pub carried: Carried,
}

/// Another policy than the default one, as it was configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedPolicy {
    /// Which one it was at the beginning.
    #[serde(flatten)]
    pub identity: PolicyIdentity,
    /// The settings it was given, and those that come in its place.
    pub settings: Vec<Setting>,
    /// The limits that it was held to, where they were others than those of the default policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// A line after the first.
#[derive(Serialize)]
struct Line<'a> {
    event: &'a Event,
    effects: &'a [Effect],
}

/// An event as it was recorded, with its effects as bytes.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// What the pipeline was told.
    pub event: Event,
    /// What it answered, as JSON, byte for byte.
    pub effects: Box<RawValue>,
}

impl Recorded {
    /// The failures of the policy that depended on the machine. None where the effects cannot be
    /// read: they are then told as a difference.
    pub fn failures_of_machine(&self) -> Vec<RecordedFailure> {
        #[derive(Deserialize)]
        struct OnlyDecided {
            decided: Option<Decided>,
        }
        let effects: Vec<OnlyDecided> =
            serde_json::from_str(self.effects.get()).unwrap_or_default();
        effects
            .into_iter()
            .filter_map(|effect| effect.decided)
            .flat_map(|decided| {
                let said: Vec<_> = if decided.line.is_empty() {
                    vec![(None, decided.failure)]
                } else {
                    let line = decided.line.into_iter();
                    line.map(|said| (Some(said.policy), said.failure)).collect()
                };
                let (target, incident, asked) = (decided.target, decided.incident, decided.asked);
                said.into_iter().filter_map(move |(policy, failure)| {
                    Some(RecordedFailure {
                        target: target.clone(),
                        incident: incident.clone(),
                        asked,
                        policy,
                        failure: failure.filter(PolicyFailure::depends_on_machine)?,
                    })
                })
            })
            .collect()
    }
}

/// What can go wrong with a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be opened, read or written.
    #[error("recording {}: {source}", path.display())]
    Io {
        /// The recording.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("recording {}, line {line}: {what}", path.display())]
    Damaged {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The format is newer, or an older one that cannot be read any more.
    #[error(
        "recording {}: format version {found}, this dbmedic reads {VERSION}; replay it with the dbmedic that wrote it",
        path.display()
    )]
    Version {
        /// The recording.
        path: PathBuf,
        /// The version that stands in it.
        found: u64,
    },
}

impl RecordingError {
    /// Whether the recording is damaged: what comes before can be read.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// Writes a recording.
#[derive(Debug)]
pub struct RecordingWriter {
    path: PathBuf,
    out: File,
    /// What is whole of the file, bytes.
    bytes: u64,
}

impl RecordingWriter {
    /// Begins a recording. An existing file is not overwritten.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordingError> {
        let io = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::create_new(path).map_err(io)?;
        let mut writer = Self {
            path: path.to_owned(),
            out: file,
            bytes: 0,
        };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an event and its effects.
    pub fn write(&mut self, event: &Event, effects: &[Effect]) -> Result<(), RecordingError> {
        self.line(&Line { event, effects })
    }

    /// Adds a line whole. When that fails, nothing of it stays, so that the rest can be replayed.
    fn line(&mut self, line: &impl Serialize) -> Result<(), RecordingError> {
        let write = |out: &mut File| {
            let mut text = serde_json::to_vec(line)?;
            text.push(b'\n');
            out.write_all(&text)?;
            Ok(text.len() as u64)
        };
        match write(&mut self.out) {
            Ok(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(source) => {
                // A line that stays half is told by whoever reads it.
                drop(self.out.set_len(self.bytes));
                Err(RecordingError::Io {
                    path: self.path.clone(),
                    source,
                })
            }
        }
    }
}

/// Reads a recording, line by line.
#[derive(Debug)]
pub struct RecordingReader {
    path: PathBuf,
    input: BufReader<File>,
    line: u64,
    header: Header,
}

impl RecordingReader {
    /// Opens a recording and reads its header.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let io = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        let mut input = BufReader::new(regular_file::open(path).map_err(io)?);
        let damaged = |what: String| RecordingError::Damaged {
            path: path.to_owned(),
            line: 1,
            what,
        };
        let text = read_line(&mut input)
            .map_err(io)?
            .ok_or_else(|| damaged("the file is empty".into()))?;
        let any: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| damaged(format!("not a dbmedic recording: {e}")))?;
        let version = any
            .get("dbmedic_recording")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| {
                damaged("not a dbmedic recording: no `dbmedic_recording` in it".into())
            })?;
        let learned = any["carried"]["detectors"].as_object();
        let read_too = version == WITHOUT_LEARNED && learned.is_none_or(serde_json::Map::is_empty);
        if version != u64::from(VERSION) && !read_too {
            return Err(RecordingError::Version {
                path: path.to_owned(),
                found: version,
            });
        }
        let header = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            input,
            line: 1,
            header,
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next event; none at the end.
    pub fn next_event(&mut self) -> Result<Option<Recorded>, RecordingError> {
        self.line += 1;
        let damaged = |what: String| RecordingError::Damaged {
            path: self.path.clone(),
            line: self.line,
            what,
        };
        let line = read_line(&mut self.input).map_err(|source| RecordingError::Io {
            path: self.path.clone(),
            source,
        })?;
        let Some(line) = line else { return Ok(None) };
        if line.last() != Some(&b'\n') {
            return Err(damaged("the line is cut off".into()));
        }
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|e| damaged(e.to_string()))
    }
}

/// One line with its line feed, if it has one; none at the end of the file.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let mut line = Vec::new();
    input
        .by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some(line))
}
