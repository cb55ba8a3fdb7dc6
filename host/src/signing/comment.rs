//! What is signed along with a component: words of the form `name:value` in minisign's trusted
//! comment. Words that are not known are left alone, so that what other tools write can stand there.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The trusted comment of a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// The policy's name.
    pub policy: Option<String>,
    /// The policy's version.
    pub version: Option<String>,
    /// The component's SHA-256, lower-case hex.
    pub sha256: Option<String>,
    /// When it was signed, milliseconds since the Unix epoch.
    pub signed_ms: Option<u64>,
    /// From when on the signature holds no more, milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// A word that is known and cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` cannot be understood; {right}")]
pub struct CommentError {
    /// The word.
    pub word: String,
    /// What would be right.
    pub right: &'static str,
}

const TIME: &str = "write a day as 2027-06-30, or a time as 2027-06-30T12:00:00Z";

impl Comment {
    /// Reads a trusted comment.
    ///
    /// # Errors
    /// A known word with a value that makes no sense, or twice: an expiry that cannot be read must
    /// not become none.
    pub fn parse(text: &str) -> Result<Self, CommentError> {
        let mut comment = Self::default();
        for word in text.split_whitespace() {
            let wrong = |right| CommentError {
                word: word.to_owned(),
                right,
            };
            let Some((name, value)) = word.split_once(':') else {
                continue;
            };
            let time = || parse_time(value).ok_or_else(|| wrong(TIME));
            let twice = match name {
                "policy" => comment.policy.replace(value.to_owned()).is_some(),
                "version" => comment.version.replace(value.to_owned()).is_some(),
                "sha256" => comment.sha256.replace(value.to_lowercase()).is_some(),
                "signed" => comment.signed_ms.replace(time()?).is_some(),
                "expires" => comment.expires_ms.replace(time()?).is_some(),
                _ => false,
            };
            if twice {
                return Err(wrong("it stands there twice"));
            }
        }
        Ok(comment)
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: Option<u64>| ms.map(show_time);
        let words = [
            ("policy", self.policy.clone()),
            ("version", self.version.clone()),
            ("sha256", self.sha256.clone()),
            ("signed", time(self.signed_ms)),
            ("expires", time(self.expires_ms)),
        ];
        let mut first = true;
        for (name, value) in words {
            let Some(value) = value else { continue };
            let gap = if std::mem::take(&mut first) { "" } else { " " };
            write!(f, "{gap}{name}:{value}")?;
        }
        Ok(())
    }
}

/// A day (its end, UTC) or a time, as milliseconds since the Unix epoch.
pub fn parse_time(text: &str) -> Option<u64> {
    let timestamp = match text.parse::<Date>() {
        // A date with a time parses as a date too; the rest must not be lost.
        Ok(day) if text.len() == "2027-06-30".len() => day
            .tomorrow()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp(),
        _ => text.parse::<Timestamp>().ok()?,
    };
    u64::try_from(timestamp.as_millisecond()).ok()
}

/// A time for a person, and for [`parse_time`].
pub(super) fn show_time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{ms} ms"), |time| time.to_string())
}
