//! The format: what is a mistake in it, what is written is read again, and its schema.

use super::wrong;
use crate::policy_tests::{Case, Story, parse, schema, write};

#[test]
fn what_a_whole_case_expects_has_an_order_and_a_number() {
    let mistake = |rest: &str| {
        wrong(&format!(
            "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\n{rest}\n"
        ))
    };
    for (rest, message) in [
        (
            "[[cases.expect]]\nevery = true\ntimes = 2",
            "`every` and `times` both",
        ),
        (
            "[[cases.expect]]\ntimes = 1.5",
            "`times` is no whole number",
        ),
        ("[[cases.expect]]\nwithin_ms = 5", "these have no order"),
        ("[[cases.expect]]\nevent = 0", "counted from 1"),
        (
            "[[cases.expect]]\nabout = \"tock\"",
            "one of \"finding\", \"outcome\", \"tick\"",
        ),
        ("[[cases.expect]]\nlevl = \"warn\"", "did you mean `level`?"),
        (
            "[[cases.expect]]\nrefuses = true",
            "`refuses` belongs to an event",
        ),
    ] {
        let told = mistake(rest);
        assert!(told.contains(message), "{rest}: {told}");
    }
    let in_order = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\nin_order = true\n[[cases.events]]\ntick = true\n\
         [[cases.expect]]\ntimes = 0\n",
    );
    assert!(in_order.contains("no single answer meets"), "{in_order}");
}

#[test]
fn mistakes_in_what_happens_are_reported_by_line() {
    let mistake = |event: &str| {
        wrong(&format!(
            "version = 1\n[[cases]]\nname = \"a\"\nnever = {{ halt = true }}\n[[cases.events]]\ntick = true\n{event}\n"
        ))
    };
    for (event, message) in [
        ("after_ms = 1\nat_ms = 2", "both say when the event is"),
        ("every_ms = 5", "but the event happens once"),
        ("memory = \"abc\"", "hexadecimal digits"),
        (
            "clock_change = { after_ms = 5 }",
            "the clock's present offset is missing",
        ),
        (
            "series = [{ name = \"a\", points = \"5 y\" }]",
            "`points`: `y` is no number",
        ),
        (
            "series = [{ name = \"a\", points = [1], value = 2 }]",
            "given twice",
        ),
        (
            "series = [{ name = \"a\", points = [1, 2], ago_ms = [0] }]",
            "a time for each",
        ),
        (
            "series = [{ name = \"a\", ago_ms = [0] }]",
            "`ago_ms` without `points`",
        ),
        ("resolved = \"INC-1\"", "must be a list of texts"),
        (
            "incidents = [{ id = \"INC-1\", kind = \"x\" }]",
            "`subject` is missing",
        ),
    ] {
        let told = mistake(event);
        assert!(told.contains(message), "{event}: {told}");
    }
    let samples = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\nsamples = { a = \"5..6\" }\n\
         [[cases.events]]\ntick = true\n",
    );
    assert!(samples.contains("wal.toml:5:"), "{samples}");
    assert!(
        samples.contains("does not say how long the line is"),
        "{samples}"
    );
    let fact = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\n\
         finding = { kind = \"x\", facts = { a = [1, \"b\"] } }\n",
    );
    assert!(fact.contains("`a` is no list of one kind"), "{fact}");
}

/// Every kind of thing that a case can say, and what an event may come with.
const EVERYTHING: &str = "version = 1\n[[cases]]\nname = \"a \\\"b\\\"\"\nbegins_ms = 5000000\n\
    sample_every_ms = 500\nparameters = { a = 1, b = 1.5, c = \"x\" }\nsamples = { s = \"1x3 _ 2\" }\n\
    never = { repair = [\"*\"], rules = [\"r\"], alerts = [\"q\"], halt = true }\n\
    [[cases.events]]\nat = \"2026-11-27T17:30:00.250-03:30\"\nlevel = \"warn\"\nlevel_for_ms = 7\n\
    target = \"t\"\ntarget_kind = \"metrics\"\nacknowledged_by = \"eve\"\nutc_offset_minutes = 60\n\
    clock_change = { after_ms = 9, utc_offset_minutes = 120 }\nresolved = [\"INC-9\"]\n\
    metrics = { m = 2.5, n = 3 }\nmemory = \"00ff\"\n\
    constraints = [{ name = \"c\", metric = \"m\", status = \"critical\", value = 1.0, upper = 2.0, \
    utilization = 0.5, violations_ago_ms = [0, 5] }]\n\
    repairs = [{ kind = \"k\", repair = \"r\", successes = 1, failures = 4, failures_in_a_row = 2, last_ago_ms = 3 }]\n\
    series = [{ name = \"s\", value = 1.0 }, { name = \"z\", points = [1, 2], ago_ms = [0, 5], \
    baseline = { median = 1.0, mad = 0.5, count = 7, established = false } }]\n\
    answers = [{ repair = \"r\", by = \"eve\", granted = false, note = \"no\" }]\n\
    incidents = [{ id = \"INC-1\", kind = \"k\", subject = \"s\", opened_ago_ms = 8, sightings = 2, \
    classification = \"wall\", acknowledged = { by = \"bob\", ago_ms = 1 }, answers = [{ repair = \"r\", by = \"eve\" }] }]\n\
    maintenance = { name = \"w\", began_ago_ms = 4, ends_after_ms = 6, allow_repairs = true, by = \"eve\", reason = \"why\" }\n\
    next_maintenance = { name = \"v\", begins_after_ms = 4, ends_after_ms = 6 }\n\
    [cases.events.finding]\nkind = \"k\"\nincident = \"INC-1\"\nsubject = \"s\"\nsummary = \"sum\\u001b\"\nseverity = 0.25\n\
    facts = { i = 1, n = 1.0, t = \"x\", b = true, li = [1, 2], lt = [\"a\"] }\n\
    candidate = [{ id = \"r\", summary = \"do\", level = \"replay\", met = [\"a\"], unmet = [\"b\"], duration_ms = 9, \
    loss_commits = 1, loss_percent = 2.0, loss_rows = 3, loss_since_ms = 4, undoable = false }, { id = \"q\" }]\n\
    evidence = [{ series = [\"s\"], scores = { pattern = 0.5 }, confidence = 0.5, severity = \"high\", reasons = [\"x\"], ago_ms = 2 }]\n\
    [cases.events.expect]\nclassification = \"none\"\nlevel = \"normal\"\nrepair = \"none\"\nneeds_approval = true\nhalt = false\n\
    confidence = [0.1, 0.2]\nverbosity = \"elevated\"\nreasons = [\"a\", { rule = \"b\", text = \"c\" }]\nno_rules = [\"*\"]\n\
    alerts = [\"a\", { rule = \"b\", urgency = \"info\", text = \"c\" }]\nno_alerts = [\"d\"]\nsuggestions = [\"e\"]\n\
    no_suggestions = [\"f\"]\nlog = [\"g\", { level = \"error\", text = \"h\" }]\nno_log = [\"i\"]\n\
    [[cases.events]]\nat_ms = 9\noutcome = { kind = \"k\", repair = \"r\", result = \"failed\", reason = \"why\", \
    duration_ms = 3, loss_commits = 1, notes = [\"n\"] }\nexpect = { refuses = true }\n\
    [[cases.events]]\ntick = true\ntimes = 3\nevery_ms = 4\n";

/// A case without the places of its text, which writing moves.
fn unplaced(mut case: Case) -> Case {
    case.line = 0;
    if let Story::Events(events) = &mut case.story {
        for expect in events
            .steps
            .iter_mut()
            .filter_map(|step| step.expect.as_mut())
        {
            expect.places.clear();
        }
    }
    case
}

#[test]
fn a_case_that_is_written_is_read_as_it_was() {
    let read = |text: &str| {
        let mut file =
            parse(text, "a.toml", None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        unplaced(file.cases.remove(0))
    };
    let case = read(EVERYTHING);
    assert_eq!(read(&write::file(std::slice::from_ref(&case))), case);
}

#[test]
fn the_schema_has_every_key_that_the_reader_asks_for() {
    let schema = schema();
    let event = "/properties/cases/items/properties/events/items/properties";
    for (place, key) in [
        ("/properties", "version"),
        ("/properties/cases/items/properties", "in_order"),
        (event, "resolved"),
        (
            &format!("{event}/finding/properties/candidate/items/properties"),
            "loss_rows",
        ),
        (
            &format!("{event}/finding/properties/evidence/items/properties/scores/properties"),
            "behavior",
        ),
        (
            &format!("{event}/expect/properties/log/items/anyOf/1/properties"),
            "level",
        ),
    ] {
        let keys = schema
            .pointer(place)
            .unwrap_or_else(|| panic!("{place}: {schema}"));
        assert!(keys.get(key).is_some(), "{place}: {key}: {keys}");
    }
    let facts = schema.pointer(&format!(
        "{event}/finding/properties/facts/additionalProperties"
    ));
    assert!(
        facts.is_some_and(|facts| facts["anyOf"].is_array()),
        "{facts:?}"
    );
}
