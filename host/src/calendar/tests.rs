use super::*;

/// Central Europe by its rule, whatever this machine knows of zones.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn ms(text: &str) -> u64 {
    let at: Timestamp = text.parse().unwrap();
    u64::try_from(at.as_millisecond()).unwrap()
}

fn weekly(days: &[Day], start: &str, minutes: u64) -> WeeklyWindow {
    let (hour, minute) = start.split_once(':').unwrap();
    WeeklyWindow {
        name: "backup".into(),
        days: days.to_vec(),
        start_minute: hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap(),
        duration_ms: minutes * 60_000,
        allow_repairs: false,
        reason: None,
    }
}

/// Beginnings and ends of what is listed at a moment.
fn listed(zone: &TimeZone, windows: Vec<WeeklyWindow>, at: &str) -> Vec<(String, String)> {
    let windows = BTreeMap::from([("shop".to_owned(), windows)]);
    let mut calendar = Calendar::new(zone.clone(), windows);
    let plan = calendar.changed(ms(at), ms(at)).unwrap();
    let all = plan.windows.get("shop").cloned().unwrap_or_default();
    let text = |at_ms| crate::model::utc(at_ms);
    all.iter()
        .map(|window| (text(window.begins_ms), text(window.ends_ms)))
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
    all.iter().map(owned).collect()
}

#[test]
fn what_is_open_and_the_next_two_are_listed_by_the_local_time() {
    // A Wednesday, at 01:30 in Berlin.
    let at = "2026-06-10T23:30:00Z";
    let windows = vec![weekly(&[Day::Thu, Day::Sun], "01:00", 60)];
    let expected = [
        ("2026-06-10T23:00:00Z", "2026-06-11T00:00:00Z"),
        ("2026-06-13T23:00:00Z", "2026-06-14T00:00:00Z"),
        ("2026-06-17T23:00:00Z", "2026-06-18T00:00:00Z"),
    ];
    assert_eq!(listed(&berlin(), windows.clone(), at), pairs(&expected));
    // At its very end it is over.
    let listed = listed(&berlin(), windows, "2026-06-11T00:00:00Z");
    assert_eq!(listed, pairs(&expected[1..]));
}

#[test]
fn a_window_that_began_days_ago_is_open_still() {
    let windows = vec![weekly(&[Day::Fri], "18:00", 3 * 1_440)];
    let listed = listed(&TimeZone::UTC, windows, "2026-06-15T17:59:59Z");
    assert_eq!(
        listed[0],
        ("2026-06-12T18:00:00Z".into(), "2026-06-15T18:00:00Z".into())
    );
}

#[test]
fn daylight_saving_moves_windows_by_the_clock_and_not_their_length() {
    let windows = || vec![weekly(&[], "02:30", 60)];
    // 2026-03-29: from 02:00 to 03:00 the clocks skip; 02:30 is an hour later, 03:30 there.
    let spring = listed(&berlin(), windows(), "2026-03-28T02:00:00Z");
    let expected = [
        ("2026-03-28T01:30:00Z", "2026-03-28T02:30:00Z"),
        ("2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"),
        ("2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"),
    ];
    assert_eq!(spring, pairs(&expected));
    // 2026-10-25: 02:30 comes twice, the first counts.
    let autumn = listed(&berlin(), windows(), "2026-10-24T12:00:00Z");
    let expected = [
        ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        ("2026-10-26T01:30:00Z", "2026-10-26T02:30:00Z"),
    ];
    assert_eq!(autumn, pairs(&expected));
}

#[test]
fn the_local_time_knows_its_next_change() {
    let mut calendar = Calendar::new(berlin(), BTreeMap::new());
    let at_ms = ms("2026-02-01T00:00:00Z");
    let plan = calendar.changed(at_ms, at_ms).unwrap();
    assert_eq!(plan.windows, BTreeMap::new());
    assert_eq!(plan.local_time.utc_offset_minutes, 60);
    let change = plan.local_time.next_change.unwrap();
    assert_eq!(
        (change.at_ms, change.utc_offset_minutes),
        (ms("2026-03-29T01:00:00Z"), 120)
    );
    let utc = Calendar::new(TimeZone::UTC, BTreeMap::new()).changed(at_ms, at_ms);
    let nothing = LocalTime {
        utc_offset_minutes: 0,
        next_change: None,
    };
    assert_eq!(utc.unwrap().local_time, nothing);
}

#[test]
fn a_plan_is_told_when_it_changes_and_in_the_time_of_events() {
    let windows = BTreeMap::from([("shop".to_owned(), vec![weekly(&[], "10:00", 60)])]);
    let mut calendar = Calendar::new(TimeZone::UTC, windows);
    let (wall_ms, now_ms) = (ms("2026-06-10T09:00:00Z"), 5_000_000);
    let first = |plan: Plan| plan.windows["shop"][0].begins_ms;
    assert_eq!(
        first(calendar.changed(wall_ms, now_ms).unwrap()),
        now_ms + 3_600_000
    );
    // Nothing new, also where the wall clock is adjusted a little.
    assert_eq!(calendar.changed(wall_ms + 1_000, now_ms + 1_000), None);
    assert_eq!(calendar.changed(wall_ms + 1_900, now_ms + 1_000), None);
    assert_eq!(calendar.changed(wall_ms + 70_000, now_ms + 70_000), None);
    // The wall clock was set forward: the window comes sooner.
    let moved = calendar
        .changed(wall_ms + 71_000 + 600_000, now_ms + 71_000)
        .unwrap();
    assert_eq!(first(moved), now_ms + 3_000_000);
    // A window ended.
    let over_ms = 7_200_000;
    let next = calendar
        .changed(wall_ms + over_ms, now_ms + over_ms - 600_000)
        .unwrap();
    assert_eq!(next.windows["shop"].len(), 2);
}

#[test]
fn zones_are_named_as_everywhere() {
    assert_eq!(zone("UTC").unwrap(), TimeZone::UTC);
    assert!(zone(LOCAL).is_ok());
    let error = zone("Mars/Olympus").unwrap_err().to_string();
    assert!(error.contains("Mars/Olympus"), "{error}");
}
