//! What a person asks of dbmedic, whether it runs or not: a command, with who asked, when and why.
//!
//! A command is written into the journal before anything comes of it, by the dbmedic that runs, or where none
//! runs by who gave it: then the next one hears it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::model::{Attribution, Candidate, SilenceScope};
use crate::pipeline::Event;

/// How long an approval waits for a dbmedic that does not run, milliseconds: as long as one waits for
/// its repair in one that runs.
const APPROVAL_WAITS_MS: u64 = 3_600_000;

/// The longest silence, and the longest maintenance window that a person opens, milliseconds: 30 days.
/// Whoever forgets it is not left without alerts for good.
pub const LONGEST_MS: u64 = 30 * 86_400_000;

/// The longest reason, bytes.
pub const REASON_BYTES: usize = 4_096;

/// The longest name of who asks, bytes.
pub const BY_BYTES: usize = 256;

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Do the repair that this incident waits for.
    Approve {
        /// The incident.
        incident: String,
        /// The repair, as the person was told of it. None in what older versions wrote: the one
        /// that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repair: Option<Candidate>,
    },
    /// Do not do this repair of this incident.
    Deny {
        /// The incident.
        incident: String,
        /// The repair, as the person was told of it.
        repair: Candidate,
    },
    /// Somebody works on this incident.
    Acknowledge {
        /// The incident.
        incident: String,
    },
    /// Lift the halt of this target.
    Release {
        /// The target.
        target: String,
    },
    /// Withhold alerts for a time.
    Silence {
        /// Which alerts.
        scope: SilenceScope,
        /// For how long, milliseconds.
        for_ms: u64,
    },
    /// Remove a silence.
    RemoveSilence {
        /// Its identifier.
        silence: String,
    },
    /// Open a maintenance window.
    StartMaintenance {
        /// The target.
        target: String,
        /// For how long, milliseconds.
        for_ms: u64,
        /// Whether repairs may begin meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_repairs: bool,
    },
    /// Close the maintenance window that is open.
    StopMaintenance {
        /// The target.
        target: String,
    },
}

impl Command {
    /// The incident that it is about, if it is about one.
    pub fn incident(&self) -> Option<&str> {
        match self {
            Self::Approve { incident, .. }
            | Self::Deny { incident, .. }
            | Self::Acknowledge { incident } => Some(incident),
            _ => None,
        }
    }

    /// The target that it names, if it names one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Release { target }
            | Self::StartMaintenance { target, .. }
            | Self::StopMaintenance { target } => Some(target),
            Self::Silence { scope, .. } => scope.target.as_deref(),
            Self::Approve { .. }
            | Self::Deny { .. }
            | Self::Acknowledge { .. }
            | Self::RemoveSilence { .. } => None,
        }
    }
}

/// Who asked for a command, when and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    /// Names the command, so that it is taken up once. Missing in what older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When; missing in what older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Moment>,
    /// Who; empty in what older versions wrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A command with who asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who asked, when and why.
    #[serde(flatten)]
    pub asker: Asker,
    /// What.
    #[serde(flatten)]
    pub command: Command,
}

/// Why a command is not acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooLate {
    /// It was given for what may be another matter by now.
    #[error(
        "not acted on, it was said more than an hour ago or the clock was set since; say it again if it still holds"
    )]
    Approval,
    /// Its time was over before a dbmedic ran, or the clock was set since.
    #[error(
        "not acted on, its time was over before a dbmedic ran or the clock was set since; say it again if it still holds"
    )]
    Over,
}

impl Request {
    /// A request that is made now.
    pub fn new(id: String, by: String, reason: Option<String>, command: Command) -> Self {
        Self {
            asker: Asker {
                id: Some(id),
                said: Some(Moment::now()),
                by,
                reason,
            },
            command,
        }
    }

    /// As the pipeline hears it at `at_ms`, milliseconds since the Unix epoch by the time of events.
    ///
    /// # Errors
    /// An approval is too late after an hour, and what has an end after that. Both are too late when
    /// nobody knows how long ago they were asked for, because the wall clock was set.
    pub fn event(&self, at_ms: u64) -> Result<Event, TooLate> {
        let age_ms = match &self.asker.said {
            Some(said) => said.age_ms(),
            // An older version did not say.
            None => Some(0),
        };
        self.event_at_age(at_ms, age_ms)
    }

    fn event_at_age(&self, at_ms: u64, age_ms: Option<u64>) -> Result<Event, TooLate> {
        let said = Attribution {
            by: self.asker.by.clone(),
            at_ms,
            note: self.asker.reason.clone(),
        };
        let ends_ms = |for_ms: u64| {
            let left_ms = for_ms
                .min(LONGEST_MS)
                .checked_sub(age_ms.ok_or(TooLate::Over)?);
            let left_ms = left_ms
                .filter(|left_ms| *left_ms > 0)
                .ok_or(TooLate::Over)?;
            Ok(at_ms.saturating_add(left_ms))
        };
        Ok(match self.command.clone() {
            Command::Approve { .. } if age_ms.is_none_or(|age| age > APPROVAL_WAITS_MS) => {
                return Err(TooLate::Approval);
            }
            Command::Approve { incident, repair } => Event::Approved {
                incident,
                repair,
                said,
            },
            Command::Deny { incident, repair } => Event::Denied {
                incident,
                repair: repair.id,
                said,
            },
            Command::Acknowledge { incident } => Event::Acknowledged { incident, said },
            Command::Release { target } => Event::Released { target, said },
            Command::Silence { scope, for_ms } => Event::Silenced {
                scope,
                ends_ms: ends_ms(for_ms)?,
                said,
            },
            Command::RemoveSilence { silence } => Event::SilenceRemoved { silence, said },
            Command::StartMaintenance {
                target,
                for_ms,
                allow_repairs,
            } => Event::MaintenanceStarted {
                target,
                ends_ms: ends_ms(for_ms)?,
                allow_repairs,
                said,
            },
            Command::StopMaintenance { target } => Event::MaintenanceStopped { target, said },
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approve {
                incident,
                repair: Some(repair),
            } => write!(f, "approves {} for {incident}", repair.id),
            Self::Approve { incident, .. } => write!(f, "approves the repair of {incident}"),
            Self::Deny { incident, repair } => write!(f, "denies {} for {incident}", repair.id),
            Self::Acknowledge { incident } => write!(f, "acknowledges {incident}"),
            Self::Release { target } => write!(f, "releases {target}"),
            Self::Silence { scope, for_ms } => {
                write!(f, "silences {scope} for {}", minutes(*for_ms))
            }
            Self::RemoveSilence { silence } => write!(f, "removes the silence {silence}"),
            Self::StartMaintenance {
                target,
                for_ms,
                allow_repairs,
            } => {
                let repairs = if *allow_repairs {
                    ", repairs allowed"
                } else {
                    ""
                };
                let length = minutes(*for_ms);
                write!(f, "starts maintenance of {target} for {length}{repairs}")
            }
            Self::StopMaintenance { target } => write!(f, "stops maintenance of {target}"),
        }
    }
}

impl fmt::Display for Request {
    /// The command, with who gave it where that is known, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.asker.by.is_empty() {
            write!(f, "{} ", self.asker.by)?;
        }
        write!(f, "{}", self.command)?;
        match &self.asker.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// A length of time for a person.
fn minutes(ms: u64) -> String {
    match ms / 60_000 {
        0 => format!("{} s", ms / 1000),
        minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn request(command: Command) -> Request {
        Request::new(
            "1".into(),
            "alice".into(),
            Some("new disks".into()),
            command,
        )
    }

    #[test]
    fn what_has_an_end_keeps_it_however_late_it_is_taken_up() {
        let silence = request(Command::Silence {
            scope: SilenceScope::default(),
            for_ms: 2 * HOUR_MS,
        });
        let start = request(Command::StartMaintenance {
            target: "shop".into(),
            for_ms: 2 * HOUR_MS,
            allow_repairs: false,
        });
        let ends_ms = |request: &Request, age_ms| match request.event_at_age(9_000_000, age_ms) {
            Ok(Event::Silenced { ends_ms, .. } | Event::MaintenanceStarted { ends_ms, .. }) => {
                Ok(ends_ms)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        for request in [&silence, &start] {
            assert_eq!(ends_ms(request, Some(0)), Ok(9_000_000 + 2 * HOUR_MS));
            assert_eq!(ends_ms(request, Some(HOUR_MS)), Ok(9_000_000 + HOUR_MS));
            assert_eq!(ends_ms(request, Some(2 * HOUR_MS - 1)), Ok(9_000_001));
            assert_eq!(ends_ms(request, Some(2 * HOUR_MS)), Err(TooLate::Over));
            assert_eq!(
                ends_ms(request, None),
                Err(TooLate::Over),
                "the clock was set"
            );
        }
        // Whatever stands in a file.
        let endless = request(Command::Silence {
            scope: SilenceScope::default(),
            for_ms: u64::MAX,
        });
        assert_eq!(ends_ms(&endless, Some(0)), Ok(9_000_000 + LONGEST_MS));
    }

    #[test]
    fn an_approval_is_too_late_after_an_hour_and_nothing_else_is() {
        let incident = || "INC-3".to_owned();
        let approve = request(Command::Approve {
            incident: incident(),
            repair: None,
        });
        for (age_ms, is_late) in [
            (Some(HOUR_MS), false),
            (Some(HOUR_MS + 1), true),
            (None, true),
        ] {
            assert_eq!(
                approve.event_at_age(1, age_ms).is_err(),
                is_late,
                "{age_ms:?}"
            );
            for other in [
                Command::Acknowledge {
                    incident: incident(),
                },
                Command::Release {
                    target: "shop".into(),
                },
                Command::RemoveSilence {
                    silence: "SIL-1".into(),
                },
                Command::StopMaintenance {
                    target: "shop".into(),
                },
            ] {
                assert!(request(other).event_at_age(1, age_ms).is_ok());
            }
        }
    }

    #[test]
    fn a_request_is_kept_as_it_was_given() {
        let asked = Request::new(
            "7".into(),
            "al\u{1b}ice".into(),
            Some("line\nbreak".into()),
            Command::Acknowledge {
                incident: "INC-3".into(),
            },
        );
        let text = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), asked);
        // As older versions wrote it.
        let old = r#"{"approve":{"incident":"INC-1"}}"#;
        let old: Request = serde_json::from_str(old).unwrap();
        assert_eq!(old.asker, Asker::default());
        assert_eq!(old.to_string(), "approves the repair of INC-1");
    }
}
