//! What people say of incidents, targets and alerts, and the local time that they live by.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OpenIncident, utc};

/// Who said something, when, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// Who, as it was given: the name of a unix user, or what `--by` said. Empty where nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl fmt::Display for Attribution {
    /// Who and why, to stand behind what was said: ` by alice (new disks)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.by.is_empty() {
            write!(f, " by {}", self.by)?;
        }
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// A person's answer to a repair of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairAnswer {
    /// The candidate's identifier.
    pub repair: String,
    /// Whether it was approved; denied otherwise. Of several answers on one repair the last one counts.
    pub granted: bool,
    /// Who answered, when and why.
    #[serde(flatten)]
    pub said: Attribution,
}

/// A time in which people work on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// Its name in the configuration; `command` where a person opened it.
    pub name: String,
    /// When it opens, milliseconds since the Unix epoch.
    pub begins_ms: u64,
    /// When it is over, milliseconds since the Unix epoch.
    pub ends_ms: u64,
    /// Whether repairs may begin meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_repairs: bool,
    /// Who opened it; none where the configuration did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl fmt::Display for MaintenanceWindow {
    /// The window while it is open.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.by.as_ref().filter(|by| !by.is_empty());
        write!(
            f,
            "in maintenance until {} ({})",
            utc(self.ends_ms),
            of.unwrap_or(&self.name)
        )?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// The maintenance of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The window that is open. Of several one that forbids repairs, and of these the one that ends last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<MaintenanceWindow>,
    /// The next window that opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<MaintenanceWindow>,
}

impl Maintenance {
    /// Whether no window is open and none is known to come.
    pub fn is_none(&self) -> bool {
        self.open.is_none() && self.next.is_none()
    }
}

/// How far the local time is from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTime {
    /// Minutes that the local time is ahead of UTC; negative where it is behind.
    pub utc_offset_minutes: i32,
    /// When that changes next, as for daylight saving; none where no change is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<OffsetChange>,
}

/// A change of the local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetChange {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Minutes that the local time is ahead of UTC from then on.
    pub utc_offset_minutes: i32,
}

impl OpenIncident {
    /// The denials that hold: of several answers on one repair the last one counts.
    pub fn denials(&self) -> impl Iterator<Item = &RepairAnswer> {
        let answers = self.answers.iter().enumerate();
        answers.filter_map(|(at, answer)| {
            let mut later = self.answers[at + 1..].iter();
            let is_replaced = later.any(|later| later.repair == answer.repair);
            (!answer.granted && !is_replaced).then_some(answer)
        })
    }

    /// What people said of it, to stand behind what it is about; empty when nobody did.
    pub fn what_people_said(&self) -> String {
        let acknowledged = self.acknowledged.iter();
        let acknowledged = acknowledged.map(|said| format!("; acknowledged{said}"));
        let denied = self
            .denials()
            .map(|answer| format!("; {} denied{}", answer.repair, answer.said));
        acknowledged.chain(denied).collect()
    }
}

/// Which alerts a silence is about: those that fit all that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceScope {
    /// Only those of this target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only those of problems of this kind, or of this group: `lock.stale-holder`, or `lock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only those of this alert rule, for example `person_needed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Crises too. Without this an alert of a crisis or a halt is always told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crises: bool,
}

impl SilenceScope {
    /// Whether an alert is one of those. `kind` is that of the problem that the alert is about, if it is
    /// about one; `is_crisis` says whether it tells a crisis or a halt.
    pub fn covers(&self, target: &str, kind: Option<&str>, rule: &str, is_crisis: bool) -> bool {
        let is_kind = |named: &String| kind.is_some_and(|kind| is_in_group(kind, named));
        (self.crises || !is_crisis)
            && self.target.as_ref().is_none_or(|named| named == target)
            && self.kind.as_ref().is_none_or(is_kind)
            && self.rule.as_ref().is_none_or(|named| named == rule)
    }
}

impl fmt::Display for SilenceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("alerts")?;
        if let Some(rule) = &self.rule {
            write!(f, " of rule {rule}")?;
        }
        if let Some(kind) = &self.kind {
            write!(f, " about {kind}")?;
        }
        if let Some(target) = &self.target {
            write!(f, " of target {target}")?;
        }
        if self.crises {
            f.write_str(", crises included")?;
        }
        Ok(())
    }
}

/// Whether a kind of problem is this one, or in this group: `lock.stale-holder` is in `lock`.
pub fn is_in_group(kind: &str, group: &str) -> bool {
    let rest = kind.strip_prefix(group);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Alerts that are withheld for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its identifier, for example `SIL-3`, unique within the host's state directory.
    pub id: String,
    /// Which alerts.
    #[serde(flatten)]
    pub scope: SilenceScope,
    /// When it is over, milliseconds since the Unix epoch.
    pub ends_ms: u64,
    /// Who asked for it, when and why.
    pub said: Attribution,
    /// Alerts that were withheld so far.
    #[serde(default)]
    pub withheld: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_answers_on_a_repair_the_last_one_counts() {
        let answer = |repair: &str, granted, note: Option<&str>| RepairAnswer {
            repair: repair.into(),
            granted,
            said: Attribution {
                by: "bob".into(),
                at_ms: 1,
                note: note.map(str::to_owned),
            },
        };
        let mut incident = OpenIncident {
            id: "INC-1".into(),
            kind: "index.corrupt".into(),
            subject: "by_name".into(),
            opened_ms: 0,
            sightings: 1,
            classification: None,
            acknowledged: None,
            answers: vec![answer("index.rebuild", false, None)],
        };
        assert_eq!(incident.what_people_said(), "; index.rebuild denied by bob");
        incident.answers.push(answer("index.rebuild", true, None));
        assert_eq!(incident.what_people_said(), "");
        incident
            .answers
            .push(answer("index.rebuild", false, Some("not now")));
        incident.answers.push(answer("lock.end-holder", true, None));
        incident.acknowledged = Some(Attribution {
            by: String::new(),
            at_ms: 1,
            note: None,
        });
        let expected = "; acknowledged; index.rebuild denied by bob (not now)";
        assert_eq!(incident.what_people_said(), expected);
    }

    #[test]
    fn a_silence_covers_what_fits_all_that_it_names() {
        let scope =
            |target: Option<&str>, kind: Option<&str>, rule: Option<&str>, crises| SilenceScope {
                target: target.map(str::to_owned),
                kind: kind.map(str::to_owned),
                rule: rule.map(str::to_owned),
                crises,
            };
        let cases = [
            (scope(Some("shop"), None, None, false), true),
            (scope(Some("sho"), None, None, false), false),
            (scope(None, Some("lock"), None, false), true),
            (scope(None, Some("lock.stale-holder"), None, false), true),
            (scope(None, Some("lock.stale"), None, false), false),
            (scope(None, Some("loc"), None, false), false),
            (scope(None, None, Some("person_needed"), false), true),
            (scope(None, None, Some("person"), false), false),
            (scope(Some("shop"), Some("wal"), None, false), false),
            (
                scope(Some("shop"), Some("lock"), Some("person_needed"), true),
                true,
            ),
        ];
        for (scope, expected) in cases {
            let kind = Some("lock.stale-holder");
            assert_eq!(
                scope.covers("shop", kind, "person_needed", false),
                expected,
                "{scope}"
            );
            let crisis = scope.covers("shop", kind, "person_needed", true);
            assert_eq!(crisis, expected && scope.crises, "{scope}");
        }
        // What is about no problem is of no kind.
        assert!(!scope(None, Some("lock"), None, false).covers("shop", None, "disk", false));
        assert!(scope(Some("shop"), None, None, false).covers("shop", None, "disk", false));
    }
}
