//! One event of a case: when it is, and what is put to the policy.

use super::expectation::expectation;
use super::finding::{finding, outcome};
use super::known::known;
use super::{LONGEST_MS, MOST};
use crate::document::Section;
use crate::model::PolicyEvent;
use crate::policy_tests::{LocalMoment, Step, When};

/// Between two events that say nothing of it, milliseconds: what the host waits by default before
/// it puts the same finding again.
const AFTER_MS: u64 = 5000;

pub(super) fn step(section: &mut Section<'_, '_>, is_first: bool) -> Step {
    let when = when(section, if is_first { 0 } else { AFTER_MS });
    let event = event(section);
    let times = section.whole("times", 1, 1..=MOST, 1..=MOST);
    let every_ms = section.whole("every_ms", AFTER_MS, 0..=LONGEST_MS, 0..=LONGEST_MS);
    if section.has("every_ms") && times == 1 {
        let hint = "say how often the event happens, for example `times = 10`";
        section.error("every_ms", "`every_ms`, but the event happens once", hint);
    }
    let expect = section.has("expect");
    let known = known(section);
    let expected = section.table("expect", expectation);
    Step {
        when,
        times,
        every_ms,
        event,
        known,
        expect: expect.then_some(expected),
    }
}

fn when(section: &mut Section<'_, '_>, default_ms: u64) -> When {
    let after_ms = section.whole("after_ms", default_ms, 0..=LONGEST_MS, 0..=LONGEST_MS);
    let since_ms = super::time(section, "at_ms");
    let moment = moment(section);
    let given: Vec<&str> = ["after_ms", "at_ms", "at"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    if let [first, second, ..] = given[..] {
        let message = format!("`{second}` and `{first}` both say when the event is");
        section.error(second, message, "leave one of the two out");
    }
    match (moment, since_ms) {
        (Some(moment), _) => When::Local(moment),
        (None, Some(since_ms)) => When::SinceBegin(since_ms),
        (None, None) => When::After(after_ms),
    }
}

/// When an event is, by a local clock, where it says so.
fn moment(section: &mut Section<'_, '_>) -> Option<LocalMoment> {
    const RIGHT: &str =
        "a time with its offset from UTC, for example \"2026-11-27T17:30:00+01:00\"";
    let text = section.text("at", RIGHT)?.to_owned();
    // The offset stands in the time itself: no table of time zones is needed.
    let read = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%:z", &text).ok();
    let moment = read.and_then(|read| {
        let at_ms = read.to_timestamp().ok()?.as_millisecond();
        Some(LocalMoment {
            at_ms: u64::try_from(at_ms).ok()?,
            utc_offset_minutes: read.offset()?.seconds() / 60,
        })
    });
    if moment.is_none() {
        section.error("at", format!("`at` is \"{text}\""), RIGHT);
    }
    moment
}

fn event(section: &mut Section<'_, '_>) -> PolicyEvent {
    let given: Vec<&str> = ["finding", "outcome", "tick"]
        .into_iter()
        .filter(|kind| section.has(kind))
        .collect();
    if given.len() != 1 {
        let message = format!("an event is one of three things, here {}", given.len());
        section.error(
            given.first().unwrap_or(&"finding"),
            message,
            "give `finding = {..}`, `outcome = {..}` or `tick = true`",
        );
    }
    let finding = section.table("finding", finding);
    let outcome = section.table("outcome", outcome);
    if !section.flag("tick", true) {
        section.error(
            "tick",
            "`tick` is false",
            "leave it out, or say `tick = true`",
        );
    }
    match given.first() {
        Some(&"outcome") => PolicyEvent::Outcome(outcome),
        Some(&"tick") => PolicyEvent::Tick,
        _ => PolicyEvent::Finding(finding),
    }
}
