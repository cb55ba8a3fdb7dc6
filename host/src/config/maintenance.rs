//! Reads the maintenance windows of a target, and the zone of their times.

use super::constraints::name;
use super::resolve::Resolve;
use crate::calendar::{self, Day, LOCAL, WeeklyWindow};
use crate::document::Section;

/// The longest reason, bytes.
const REASON_BYTES: usize = 1_000;

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;

/// The zone. Whether this machine knows it is checked where files are looked at too.
pub(super) fn time_zone(root: &mut Section<'_, '_>, resolve: &Resolve, default: String) -> String {
    let right = "a name of the IANA database as \"Europe/Berlin\", \"UTC\", or \"local\" for the machine's own";
    let Some(name) = root.text("time_zone", right) else {
        return default;
    };
    if matches!(resolve, Resolve::OnDisk)
        && name != LOCAL
        && let Err(error) = calendar::zone(name)
    {
        root.error("time_zone", error.to_string(), right);
    }
    name.to_owned()
}

/// The windows of a target.
pub(super) fn maintenance(section: &mut Section<'_, '_>) -> Vec<WeeklyWindow> {
    let mut windows = Vec::new();
    let mut names = Vec::new();
    section.tables("maintenance", |section| {
        let name = name(section, "maintenance window", &mut names);
        let days = days(section);
        let start_minute = start(section);
        if !section.has("duration_minutes") {
            section.error(
                "duration_minutes",
                "a maintenance window without a length",
                "add `duration_minutes = 60`",
            );
        }
        let minutes = section.whole(
            "duration_minutes",
            60,
            1..=calendar::LONGEST_MS / MINUTE_MS,
            1..=1_440,
        );
        let allow_repairs = section.flag("allow_repairs", false);
        let reason = reason(section);
        if let (Some(name), Some(start_minute)) = (name, start_minute) {
            windows.push(WeeklyWindow {
                name,
                days,
                start_minute,
                duration_ms: minutes * MINUTE_MS,
                allow_repairs,
                reason,
            });
        }
    });
    windows
}

fn days(section: &mut Section<'_, '_>) -> Vec<Day> {
    let right = "days of the week as [\"sat\", \"sun\"]; each day when left out";
    let written = section.texts("days", right);
    if section.has("days") && written.is_empty() {
        section.error("days", "`days` names no day", right);
    }
    let mut days = Vec::new();
    for text in written {
        match Day::ALL.iter().find(|(name, _)| *name == text) {
            Some((_, day)) if days.contains(day) => {
                section.error("days", format!("`days` names \"{text}\" twice"), right);
            }
            Some((_, day)) => days.push(*day),
            None => section.error("days", format!("`days` has \"{text}\""), right),
        }
    }
    days
}

/// Minutes since midnight.
fn start(section: &mut Section<'_, '_>) -> Option<u16> {
    let right = "the local time at which it opens, from \"00:00\" to \"23:59\"";
    if !section.has("start") {
        section.error(
            "start",
            "a maintenance window without a beginning",
            "add `start = \"02:00\"`",
        );
    }
    let text = section.text("start", right)?;
    let number = |digits: &str, most: u16| {
        let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u16> = digits.parse().ok().filter(|_| is_two);
        number.filter(|number| *number <= most)
    };
    let minutes = text
        .split_once(':')
        .and_then(|(hours, minutes)| Some(number(hours, 23)? * 60 + number(minutes, 59)?));
    if minutes.is_none() {
        section.error("start", format!("`start` is \"{text}\""), right);
    }
    minutes
}

fn reason(section: &mut Section<'_, '_>) -> Option<String> {
    let right = "one line for a person";
    let reason = section.text("reason", right)?;
    if reason.len() > REASON_BYTES {
        let message = format!("`reason` is longer than {REASON_BYTES} bytes");
        section.error("reason", message, right);
    }
    Some(reason.to_owned())
}
