//! A line of the decision log: its number, the digest of the line before, and what it tells.
//!
//! The beginning of a line is always spelled the same, so that a chain is followed without reading
//! the rest: `{"n":7,"prev":"HEX",` then `"crisis":true,` where it is one, then the one key that
//! says what follows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::model::{Context, PolicyEvent, Setting, Verdict};
use crate::policy::{Decision, Heard, Limits, LogLine, PolicyFailure};

/// The version of the format that this dbmedic writes and reads.
pub const VERSION: u32 = 1;

/// Longest line that is read, bytes. A longer one is damage, not an entry.
pub(super) const LONGEST_LINE: u64 = 64 << 20;

/// The SHA-256 of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum(pub(super) [u8; 32]);

impl Sum {
    /// Of a line without its line feed.
    pub(super) fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// Of a sum and a line after it: a running sum over lines that are not chained to each other.
    pub(super) fn then(self, line: &[u8]) -> Self {
        let mut sum = Sha256::new();
        sum.update(self.0);
        sum.update(line);
        Self(sum.finalize().into())
    }

    pub(super) fn hex(self) -> String {
        hex(&self.0)
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        from_hex(text, &mut bytes)?;
        Some(Self(bytes))
    }
}

/// Lower-case hexadecimal into bytes of just that length.
fn from_hex(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// What a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Policy,
    Decided,
    Lost,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Decided, "\"decided\":"),
        (Self::Policy, "\"policy\":"),
        (Self::Begin, "\"begin\":"),
        (Self::Lost, "\"lost\":"),
    ];

    fn key(self) -> &'static str {
        match self {
            Self::Decided => Self::ALL[0].1,
            Self::Policy => Self::ALL[1].1,
            Self::Begin => Self::ALL[2].1,
            Self::Lost => Self::ALL[3].1,
        }
    }
}

/// The beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) n: u64,
    pub(super) prev: Sum,
    pub(super) crisis: bool,
    pub(super) kind: Kind,
    /// Where the value begins that the kind's key has; it ends before the last brace.
    value: usize,
}

impl Head {
    /// Reads the beginning of a line without its line feed; none when it is not one of ours.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"n\":")?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let n = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let rest = rest[digits..].strip_prefix(b",\"prev\":\"")?;
        let prev = Sum::parse(rest.get(..64)?)?;
        let rest = rest[64..].strip_prefix(b"\",")?;
        let (crisis, rest) = match rest.strip_prefix(b"\"crisis\":true,") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (kind, key) = Kind::ALL
            .into_iter()
            .find(|(_, key)| rest.starts_with(key.as_bytes()))?;
        (line.last() == Some(&b'}')).then_some(Self {
            n,
            prev,
            crisis,
            kind,
            value: line.len() - rest.len() + key.len(),
        })
    }

    /// What the line tells, as JSON.
    pub(super) fn value(self, line: &[u8]) -> &[u8] {
        &line[self.value..line.len() - 1]
    }

    /// Whether the line stays when its file makes way: crises, and what is needed to read them.
    pub(super) fn stays(self) -> bool {
        self.crisis || self.kind == Kind::Policy
    }
}

/// A line as it stands in the file, with its line feed.
pub(super) fn write(n: u64, prev: Sum, crisis: bool, kind: Kind, value: &[u8]) -> Vec<u8> {
    let crisis = if crisis { "\"crisis\":true," } else { "" };
    let begin = format!(
        "{{\"n\":{n},\"prev\":\"{}\",{crisis}{}",
        prev.hex(),
        kind.key()
    );
    let mut line = Vec::with_capacity(begin.len() + value.len() + 2);
    line.extend_from_slice(begin.as_bytes());
    line.extend_from_slice(value);
    line.extend_from_slice(b"}\n");
    line
}

/// A run begins to write, or a file begins. Holds for what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// The version of the format.
    pub dbmedic_decisions: u32,
    /// The version of the dbmedic that writes.
    pub dbmedic: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The limits that policies are held to.
    pub limits: Limits,
    /// The limits of those that are held to others, by their configured names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_limits: BTreeMap<String, Limits>,
    /// The parameters that the operator set, by the policies' configured names.
    pub parameters: BTreeMap<String, Vec<Setting>>,
    /// What made way so far.
    pub dropped: Dropped,
}

impl Begin {
    /// The limits that the policy of a configured name is held to.
    pub fn limits_of(&self, name: &str) -> &Limits {
        self.named_limits.get(name).unwrap_or(&self.limits)
    }
}

/// What made way for newer entries, all in all. It stands in the chain, so that a gap that it does
/// not speak of is a gap that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// Every line up to this number made way, but for those that were kept.
    pub up_to: u64,
    /// Decisions that are gone.
    pub decisions: u64,
    /// Lines that were kept: crises, and the policies that judged.
    pub kept: u64,
    /// A running SHA-256 over the kept lines, hex; empty when there are none.
    pub kept_sum: String,
    /// What the log lost up to there, as the lines told that are gone.
    #[serde(default, skip_serializing_if = "Losses::is_none")]
    pub lost: Losses,
}

impl Dropped {
    /// Takes up a line that is gone.
    pub(super) fn count(&mut self, head: Head, line: &[u8]) {
        self.up_to = self.up_to.max(head.n);
        match head.kind {
            Kind::Decided => self.decisions += 1,
            Kind::Lost => {
                // One that cannot be read was changed; the chain tells.
                if let Ok(lost) = serde_json::from_slice::<Lost>(head.value(line)) {
                    self.lost.add(lost.losses);
                }
            }
            Kind::Begin | Kind::Policy => {}
        }
    }
}

/// A policy that decided with these settings, told before its first decision in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// Its name and version, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// The SHA-256 of its component, hex.
    pub digest: String,
    /// The SHA-256 of its packed settings, hex.
    pub settings: String,
    /// The packed settings themselves, hex.
    pub packed: String,
}

impl PolicyLine {
    /// The packed settings; none when they are not what the digest says.
    pub fn unpack(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.packed.len() / 2];
        from_hex(self.packed.as_bytes(), &mut bytes)?;
        (Sum::of(&bytes).hex() == self.settings).then_some(bytes)
    }
}

/// A decision with everything that led to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decided<'a> {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The target.
    pub target: Cow<'a, str>,
    /// The policy's name in the configuration.
    pub policy: Cow<'a, str>,
    /// The SHA-256 of its component, hex.
    pub digest: Cow<'a, str>,
    /// The SHA-256 of its packed settings, hex.
    pub settings: Cow<'a, str>,
    /// What was to be judged.
    pub event: Cow<'a, PolicyEvent>,
    /// What the policy was handed beside; without the settings, which stand in a line of their own.
    pub context: Cow<'a, Context>,
    /// What the policy asked telemetry, and what it was answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub telemetry: Vec<Heard>,
    /// Whether it asked more than is kept; such an entry cannot be replayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub telemetry_cut: bool,
    /// An [`Answer`], compared byte for byte.
    pub answer: Box<RawValue>,
    /// What the policy wrote into its log; no part of its answer.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub notes: Cow<'a, [LogLine]>,
    /// What it cost.
    pub cost: Cost,
}

/// What a policy answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// The answer that counts.
    pub verdict: Cow<'a, Verdict>,
    /// Why the policy's own does not, when it does not.
    pub failure: Cow<'a, Option<PolicyFailure>>,
}

impl<'a> From<&'a Decision> for Answer<'a> {
    fn from(decision: &'a Decision) -> Self {
        Self {
            verdict: Cow::Borrowed(&decision.verdict),
            failure: Cow::Borrowed(&decision.failure),
        }
    }
}

/// What a decision cost; differs from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Time, microseconds.
    pub us: u64,
    /// Fuel, where it is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Linear memory at its highest, bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What is not in the log and did not make way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Decisions that could not be written: the log fell behind, or the disk failed.
    pub decisions: u64,
    /// How many of them are crises.
    pub crises: u64,
    /// Lines that were on disk and are there no more: somebody cut off the log's end, or the disk
    /// lost it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gone: u64,
}

impl Losses {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, more: Self) {
        self.decisions += more.decisions;
        self.crises += more.crises;
        self.gone += more.gone;
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What was lost just before this line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lost {
    /// How much.
    #[serde(flatten)]
    pub losses: Losses,
    /// Why, in one line.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let prev = Sum::of(b"before");
        for crisis in [false, true] {
            let line = write(17, prev, crisis, Kind::Decided, b"{\"at_ms\":1}");
            let line = line.strip_suffix(b"\n").unwrap();
            let head = Head::read(line).unwrap();
            assert_eq!((head.n, head.prev, head.crisis), (17, prev, crisis));
            assert_eq!(head.kind, Kind::Decided);
            assert_eq!(head.value(line), b"{\"at_ms\":1}");
            serde_json::from_slice::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn other_lines_are_not_taken_for_ours() {
        let sum = "0".repeat(64);
        for line in [
            String::new(),
            "{}".into(),
            format!("{{\"n\":1,\"prev\":\"{sum}\",\"other\":1}}"),
            format!("{{\"n\":x,\"prev\":\"{sum}\",\"lost\":1}}"),
            format!("{{\"n\":1,\"prev\":\"{}G\",\"lost\":1}}", &sum[1..]),
            format!("{{\"n\":1,\"prev\":\"{sum}\",\"lost\":1"),
        ] {
            assert_eq!(Head::read(line.as_bytes()), None, "{line}");
        }
    }
}
