//! Whether a policy copes with a memory that it did not leave: bytes of any kind, and its own, damaged.
//!
//! The host hands a policy nothing but its own memory. That may still be of a version with another
//! layout, or damaged on a disk; a policy that reads it as numbers judges by chance.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Decision, Isolation, MEMORY_BYTES, Policy, PolicyFailure, Question, Telemetry};
use crate::model::{Classification, EscalationLevel};

/// Answers that did not come in time, after which nothing more is asked.
const PATIENCE: usize = 3;

/// A memory that is none of the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrangeMemory {
    /// A single byte, all bits set.
    OneByte,
    /// Eight bytes by chance: a number, to who reads it as one.
    EightBytes,
    /// Some bytes by chance.
    SomeBytes,
    /// As many bytes by chance as a memory may have.
    MostBytes,
    /// As many zeros.
    Zeros,
    /// As many bytes with all bits set.
    Ones,
    /// Text, as another policy might write it.
    Text,
    /// The first half of its own.
    FirstHalf,
    /// Its own with the first byte changed.
    FirstChanged,
    /// Its own with the last byte changed.
    LastChanged,
    /// Its own with a byte behind it.
    Longer,
}

use StrangeMemory::{
    EightBytes, FirstChanged, FirstHalf, LastChanged, Longer, MostBytes, OneByte, Ones, SomeBytes,
    Text, Zeros,
};

/// Those that are nothing of the policy's: it must judge as with an empty memory.
const FOREIGN: [StrangeMemory; 7] = [OneByte, EightBytes, SomeBytes, MostBytes, Zeros, Ones, Text];
/// Those that may still be read: it must answer.
const DAMAGED: [StrangeMemory; 4] = [FirstHalf, FirstChanged, LastChanged, Longer];

impl StrangeMemory {
    fn bytes(self, own: &[u8]) -> Vec<u8> {
        match self {
            OneByte => vec![0xff],
            EightBytes => by_chance(8),
            SomeBytes => by_chance(200),
            MostBytes => by_chance(MEMORY_BYTES),
            Zeros => vec![0; MEMORY_BYTES],
            Ones => vec![0xff; MEMORY_BYTES],
            Text => br#"{"seen":4294967295,"since_ms":-1,"class":"crisis"}"#.to_vec(),
            FirstHalf => own[..own.len() / 2].to_vec(),
            FirstChanged => changed(own, 0),
            LastChanged => changed(own, own.len().saturating_sub(1)),
            Longer => own
                .iter()
                .copied()
                .chain([0x80])
                .take(MEMORY_BYTES)
                .collect(),
        }
    }
}

impl fmt::Display for StrangeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OneByte => "one byte 0xff",
            EightBytes => "8 random bytes",
            SomeBytes => "200 random bytes",
            MostBytes => "16 KiB of random bytes",
            Zeros => "16 KiB of zeros",
            Ones => "16 KiB of 0xff",
            Text => "text of another policy",
            FirstHalf => "the first half of its own",
            FirstChanged => "its own with the first byte changed",
            LastChanged => "its own with the last byte changed",
            Longer => "its own with a byte behind it",
        })
    }
}

/// Bytes that look like chance and are always the same.
fn by_chance(bytes: usize) -> Vec<u8> {
    let blocks =
        (0_u32..).flat_map(|block| -> [u8; 32] { Sha256::digest(block.to_le_bytes()).into() });
    blocks.take(bytes).collect()
}

fn changed(own: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = own.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x5a;
    }
    bytes
}

/// What a policy must not do with a memory that is not its own.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryFault {
    /// The question, counted from 0.
    pub question: usize,
    /// The memory that it was asked with.
    pub memory: StrangeMemory,
    /// What came of it.
    pub what: FaultKind,
}

/// How a policy fails on such a memory.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// It does not answer, though it does with an empty or its own memory.
    Fails(PolicyFailure),
    /// It judges otherwise than with an empty memory.
    JudgesOtherwise {
        /// With an empty memory.
        empty: Judged,
        /// With this one.
        strange: Judged,
    },
}

/// What decides of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    classification: Option<Classification>,
    level: EscalationLevel,
    repair: Option<String>,
    halt: bool,
}

impl From<&Decision> for Judged {
    fn from(decision: &Decision) -> Self {
        let verdict = &decision.verdict;
        Self {
            classification: verdict.classification,
            level: verdict.level,
            repair: verdict.repair.clone(),
            halt: verdict.halt,
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.classification {
            Some(Classification::Hiccup) => "hiccup",
            Some(Classification::Obstacle) => "obstacle",
            Some(Classification::Wall) => "wall",
            Some(Classification::Crisis) => "crisis",
            None => "no class",
        };
        let level = match self.level {
            EscalationLevel::Normal => "normal",
            EscalationLevel::Watch => "watch",
            EscalationLevel::Warn => "warn",
            EscalationLevel::Escalate => "escalate",
        };
        let repair = self.repair.as_deref().unwrap_or("no repair");
        let halt = if self.halt { ", halt" } else { "" };
        write!(f, "{class}, {level}, {repair}{halt}")
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails(failure) => write!(f, "{failure}"),
            Self::JudgesOtherwise { empty, strange } => {
                write!(f, "{strange}; with an empty memory {empty}")
            }
        }
    }
}

/// Asks every question with an empty memory, with foreign ones, and with its own damaged in several
/// ways. Returns where the policy fails, and where it judges otherwise than with an empty memory
/// although the bytes are none of its own.
///
/// A question that it fails at with an empty memory is compared with nothing.
pub fn check_memory<T: Telemetry + Default>(
    policy: &Policy,
    questions: &mut [Question<T>],
) -> Vec<MemoryFault> {
    let alone = policy.with_isolation(Isolation::Fresh);
    let mut found = Vec::new();
    let mut late = 0;
    for (number, question) in questions.iter_mut().enumerate() {
        let own = std::mem::take(&mut question.context.memory);
        let mut ask = |memory: Vec<u8>| {
            question.context.memory = memory;
            alone.decide(&question.event, &question.context, &mut question.telemetry)
        };
        let empty = ask(Vec::new());
        let damaged = DAMAGED.iter().filter(|_| !own.is_empty());
        let all = FOREIGN
            .iter()
            .chain(damaged)
            .filter(|_| empty.failure.is_none());
        for &memory in all {
            let decision = ask(memory.bytes(&own));
            let judged = Judged::from(&decision);
            let what = match decision.failure {
                Some(PolicyFailure::Busy { .. }) => continue,
                Some(failure) => {
                    late += usize::from(failure.depends_on_machine());
                    FaultKind::Fails(failure)
                }
                None if FOREIGN.contains(&memory) && judged != Judged::from(&empty) => {
                    FaultKind::JudgesOtherwise {
                        empty: Judged::from(&empty),
                        strange: judged,
                    }
                }
                None => continue,
            };
            found.push(MemoryFault {
                question: number,
                memory,
                what,
            });
            if late >= PATIENCE {
                break;
            }
        }
        question.context.memory = own;
        if late >= PATIENCE {
            break;
        }
    }
    found
}
