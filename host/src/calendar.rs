//! The local time, and when the maintenance windows of the configuration open.
//!
//! Only a driver asks here: what depends on the time zones of this machine goes to the pipeline in an
//! event, and stands in a recording.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::model::{LocalTime, MaintenanceWindow, OffsetChange};

/// The zone of the machine, as it is named in the configuration.
pub const LOCAL: &str = "local";

/// Windows of one target that are listed beside those that are open.
const COMING: usize = 2;

/// Days ahead in which each weekly window opens at least once.
const DAYS_AHEAD: i64 = 8;

/// Between two computations, milliseconds. What is listed reaches further than that.
const INTERVAL_MS: u64 = 60_000;

/// A wall clock that was moved by less moves no window, milliseconds.
const SAME_MS: u64 = 1_000;

/// The longest window, milliseconds: one that is longer than a week never closes.
pub const LONGEST_MS: u64 = 7 * 86_400_000;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// All of them, with their names in the configuration.
    pub const ALL: [(&str, Self); 7] = [
        ("mon", Self::Mon),
        ("tue", Self::Tue),
        ("wed", Self::Wed),
        ("thu", Self::Thu),
        ("fri", Self::Fri),
        ("sat", Self::Sat),
        ("sun", Self::Sun),
    ];

    fn of(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// A maintenance window that opens each week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeeklyWindow {
    /// Its name, unique within its target.
    pub name: String,
    /// On which days it opens; on each day when empty.
    pub days: Vec<Day>,
    /// When it opens, minutes since midnight of the local time.
    pub start_minute: u16,
    /// How long it is open, milliseconds, at most [`LONGEST_MS`].
    pub duration_ms: u64,
    /// Whether repairs may begin meanwhile.
    pub allow_repairs: bool,
    /// Why, for a person.
    pub reason: Option<String>,
}

/// A zone that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called \"{0}\" on this machine")]
pub struct UnknownZone(String);

/// The zone of a configuration: a name of the IANA database, [`LOCAL`], or `UTC`.
///
/// # Errors
/// [`UnknownZone`] when the database of this machine does not have it.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    match name {
        "UTC" => Ok(TimeZone::UTC),
        // Without a zone of its own a machine lives by UTC.
        LOCAL => Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
        name => TimeZone::get(name).map_err(|_| UnknownZone(name.to_owned())),
    }
}

/// What the pipeline is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The local time.
    pub local_time: LocalTime,
    /// The windows that are open or come next, by target. Targets without one are left out.
    pub windows: BTreeMap<String, Vec<MaintenanceWindow>>,
}

/// Computes the plan, again and again.
pub struct Calendar {
    zone: TimeZone,
    windows: BTreeMap<String, Vec<WeeklyWindow>>,
    last: Option<Computed>,
}

/// A plan that was told.
struct Computed {
    /// When it was computed last, by the time of events, milliseconds since the Unix epoch.
    at_ms: u64,
    /// How far the wall clock was ahead of the time of events when it was told, milliseconds.
    ahead_ms: i64,
    plan: Plan,
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calendar")
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

impl Calendar {
    /// The calendar of targets with these windows.
    pub fn new(zone: TimeZone, windows: BTreeMap<String, Vec<WeeklyWindow>>) -> Self {
        Self {
            zone,
            windows,
            last: None,
        }
    }

    /// The plan when it is another one than the last time. `wall_ms` is the wall clock, `now_ms` the same
    /// moment by the time of events, in which the plan is told.
    pub fn changed(&mut self, wall_ms: u64, now_ms: u64) -> Option<Plan> {
        let ahead_ms = difference(wall_ms, now_ms);
        if let Some(last) = &self.last {
            let is_moved = last.ahead_ms.abs_diff(ahead_ms) >= SAME_MS;
            let is_due = now_ms.saturating_sub(last.at_ms) >= INTERVAL_MS;
            if !is_moved && !is_due {
                return None;
            }
        }
        let plan = self.plan(wall_ms, now_ms);
        if let Some(last) = &mut self.last
            && is_same(&last.plan, &plan)
        {
            // What was told stays what is compared with: small moves must not add up unseen.
            last.at_ms = now_ms;
            return None;
        }
        self.last = Some(Computed {
            at_ms: now_ms,
            ahead_ms,
            plan: plan.clone(),
        });
        Some(plan)
    }

    fn plan(&self, wall_ms: u64, now_ms: u64) -> Plan {
        let wall = timestamp(wall_ms);
        let ahead_ms = difference(wall_ms, now_ms);
        let event_ms = |at: Timestamp| {
            let at_ms = at.as_millisecond().saturating_sub(ahead_ms);
            u64::try_from(at_ms).unwrap_or(0)
        };
        let next = self.zone.following(wall).next();
        let local_time = LocalTime {
            utc_offset_minutes: self.zone.to_offset(wall).seconds() / 60,
            next_change: next.map(|change| OffsetChange {
                at_ms: event_ms(change.timestamp()),
                utc_offset_minutes: change.offset().seconds() / 60,
            }),
        };
        let windows = self.windows.iter().filter_map(|(target, weekly)| {
            let open = openings(weekly, &self.zone, wall, &event_ms);
            (!open.is_empty()).then(|| (target.clone(), open))
        });
        Plan {
            local_time,
            windows: windows.collect(),
        }
    }
}

/// The windows of one target that are open, and those that come next.
fn openings(
    weekly: &[WeeklyWindow],
    zone: &TimeZone,
    wall: Timestamp,
    event_ms: &impl Fn(Timestamp) -> u64,
) -> Vec<MaintenanceWindow> {
    let mut all: Vec<_> = weekly
        .iter()
        .flat_map(|window| {
            let openings = openings_of(window, zone, wall);
            openings.map(move |(begins, ends)| (begins, ends, window))
        })
        .collect();
    all.sort_by_key(|(begins, ends, _)| (*begins, *ends));
    let mut coming = 0;
    all.retain(|(begins, ..)| {
        coming += usize::from(*begins > wall);
        coming <= COMING
    });
    let window = |(begins, ends, of): (Timestamp, Timestamp, &WeeklyWindow)| MaintenanceWindow {
        name: of.name.clone(),
        begins_ms: event_ms(begins),
        ends_ms: event_ms(ends),
        allow_repairs: of.allow_repairs,
        by: None,
        reason: of.reason.clone(),
    };
    all.into_iter().map(window).collect()
}

/// When a window opens and closes that is not over yet, within the days ahead. A time that the clocks
/// skip is as much later as they are put forward; of one that they pass twice the first counts.
fn openings_of<'a>(
    window: &'a WeeklyWindow,
    zone: &'a TimeZone,
    wall: Timestamp,
) -> impl Iterator<Item = (Timestamp, Timestamp)> + 'a {
    let today = Zoned::new(wall, zone.clone()).date();
    let days_back = i64::try_from(window.duration_ms / 86_400_000).unwrap_or(0) + 1;
    let start = Time::midnight() + Span::new().minutes(i64::from(window.start_minute));
    let duration = i64::try_from(window.duration_ms).unwrap_or(i64::MAX);
    (-days_back..=DAYS_AHEAD).filter_map(move |days| {
        let date = today.checked_add(Span::new().days(days)).ok()?;
        if !window.days.is_empty() && !window.days.contains(&Day::of(date.weekday())) {
            return None;
        }
        let begins = date
            .to_datetime(start)
            .to_zoned(zone.clone())
            .ok()?
            .timestamp();
        let ends = begins
            .checked_add(SignedDuration::from_millis(duration))
            .ok()?;
        (ends > wall).then_some((begins, ends))
    })
}

fn is_same(one: &Plan, other: &Plan) -> bool {
    let is_near = |one: u64, other: u64| one.abs_diff(other) < SAME_MS;
    let change = |plan: &Plan| plan.local_time.next_change;
    let same_change = match (change(one), change(other)) {
        (Some(one), Some(other)) => {
            is_near(one.at_ms, other.at_ms) && one.utc_offset_minutes == other.utc_offset_minutes
        }
        (one, other) => one.is_none() && other.is_none(),
    };
    let same_window = |(one, other): (&MaintenanceWindow, &MaintenanceWindow)| {
        one.name == other.name
            && is_near(one.begins_ms, other.begins_ms)
            && is_near(one.ends_ms, other.ends_ms)
    };
    let same_windows = |one: &[MaintenanceWindow], other: &[MaintenanceWindow]| {
        one.len() == other.len() && one.iter().zip(other).all(same_window)
    };
    let mut targets = one.windows.iter().zip(&other.windows);
    one.local_time.utc_offset_minutes == other.local_time.utc_offset_minutes
        && same_change
        && one.windows.len() == other.windows.len()
        && targets
            .all(|((one, first), (other, second))| one == other && same_windows(first, second))
}

fn difference(one_ms: u64, other_ms: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(one_ms).saturating_sub(signed(other_ms))
}

/// A moment; one that no calendar reaches is the last that there is.
fn timestamp(at_ms: u64) -> Timestamp {
    let at = i64::try_from(at_ms).ok();
    at.and_then(|at| Timestamp::from_millisecond(at).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
