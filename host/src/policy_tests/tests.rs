mod format;

use std::path::Path;

use super::*;

fn wrong(text: &str) -> String {
    parse(text, "wal.toml", Some(Path::new("/cases")))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_case_is_ten_lines() {
    let file = parse(
        "version = 1\n\
         [[cases]]\n\
         name = \"a damaged log is a crisis\"\n\
         never = { repair = [\"*\"] }\n\
         [[cases.events]]\n\
         finding = { kind = \"wal.corrupt-frame\", facts = { total_frames = 9 }, candidates = [\"wal.cut\"] }\n\
         expect = { classification = \"crisis\", repair = \"none\" }\n",
        "wal.toml",
        None,
    )
    .unwrap();
    let [case] = &file.cases[..] else {
        panic!("{file:?}")
    };
    assert_eq!(
        (case.line, case.never.repairs.as_slice()),
        (3, &["*".to_owned()][..])
    );
    let Story::Events(Events { steps, .. }) = &case.story else {
        panic!("{case:?}")
    };
    let PolicyEvent::Finding(finding) = &steps[0].event else {
        panic!("{steps:?}")
    };
    assert_eq!((finding.facts.len(), finding.candidates.len()), (1, 1));
    let expect = steps[0].expect.as_ref().unwrap();
    assert_eq!(expect.classification, Some(Some(Classification::Crisis)));
    assert_eq!(expect.repair, Some(None));
    assert_eq!(expect.level, None);
}

#[test]
fn mistakes_are_told_by_file_and_line() {
    let slip = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\nexpct = { level = \"warn\" }\n",
    );
    assert!(slip.contains("wal.toml:6:1: unknown "), "{slip}");
    assert!(slip.contains("did you mean `expect`?"), "{slip}");
    let word = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\nexpect = { level = \"panic\" }\n",
    );
    assert!(
        word.contains("wal.toml:6:") && word.contains("\"escalate\""),
        "{word}"
    );
    let newer = wrong("version = 9\n[[cases]]\nname = \"a\"\n");
    assert!(newer.contains("version 9 is unknown"), "{newer}");
    let none = wrong("version = 1\n");
    assert!(none.contains("begin one with [[cases]]"), "{none}");
    let idle = wrong("version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\n");
    assert!(idle.contains("it cannot fail"), "{idle}");
    let both = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\n\
         tick = true\nfinding = { kind = \"x\" }\n",
    );
    assert!(both.contains("one of three things, here 2"), "{both}");
    let twice = "[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\ntick = true\n";
    let twice = wrong(&format!("version = 1\n{twice}{twice}"));
    assert!(twice.contains("a case \"a\" already"), "{twice}");
}

#[test]
fn a_component_carries_cases_in_its_sections() {
    let text = b"version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\ntick = true\n";
    let mut section = vec![13];
    section.extend_from_slice(b"dbmedic:tests");
    section.extend_from_slice(text);
    let custom = |section: &[u8]| {
        let mut bytes = vec![0, u8::try_from(section.len()).unwrap()];
        bytes.extend_from_slice(section);
        bytes
    };
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.extend(custom(b"\x04name...."));
    component.extend(custom(&section));
    let files = carried(&component).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].cases[0].name, "a");
    assert!(carried(b"\0asm\x0d\0\x01\0").unwrap().is_empty());
    assert!(carried(b"nothing").unwrap().is_empty());
    let recording =
        "version = 1\n[[cases]]\nname = \"a\"\nrecording = \"x\"\nnever = { halt = true }\n";
    let refused = parse(recording, "section", None).unwrap_err().to_string();
    assert!(
        refused.contains("a component holds no recordings"),
        "{refused}"
    );
}

#[test]
fn an_expectation_names_confidence_reasons_alerts_and_suggestions() {
    let file = parse(
        "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\n[cases.events.expect]\n\
         confidence = [0.8, 0.95]\nverbosity = \"elevated\"\nrules = [\"a.b\"]\n\
         reasons = [\"c.d\", { rule = \"e.f\", text = \"held\" }]\nno_rules = [\"*\"]\n\
         alerts = [\"one\", { rule = \"two\", urgency = \"critical\", text = \"lock\" }]\n\
         suggestions = [\"ask\"]\nno_suggestions = [\"*\"]\n\
         [[cases.events]]\ntick = true\nexpect = { confidence = 0.9 }\n\
         constraints = [{ name = \"x\", violations_ago_ms = [59_999, 0] }, { name = \"y\", violations = 2 }]\n",
        "wal.toml",
        None,
    )
    .unwrap();
    let Story::Events(Events { steps, .. }) = &file.cases[0].story else {
        panic!("{file:?}")
    };
    let expect = steps[0].expect.as_ref().unwrap();
    assert_eq!(expect.confidence, Some(0.8..=0.95));
    assert_eq!(expect.verbosity, Some(Verbosity::Elevated));
    let reasons: Vec<_> = expect
        .reasons
        .iter()
        .map(|r| (&*r.rule, &*r.text))
        .collect();
    assert_eq!(reasons, [("a.b", ""), ("c.d", ""), ("e.f", "held")]);
    let two = ExpectedAlert {
        rule: "two".into(),
        urgency: Some(Urgency::Critical),
        text: "lock".into(),
    };
    assert_eq!((expect.alerts.len(), &expect.alerts[1]), (2, &two));
    assert_eq!(expect.suggestions, ["ask"]);
    let expect = steps[1].expect.as_ref().unwrap();
    assert_eq!(expect.confidence, Some(0.9..=0.9));
    let ago: Vec<_> = steps[1]
        .known
        .constraints
        .iter()
        .map(|c| &c.violations_ms[..])
        .collect();
    assert_eq!(ago, [&[59_999, 0][..], &[1_000, 0]], "the oldest first");
}

#[test]
fn mistakes_in_an_expectation_are_reported_by_line() {
    let slip = |expect: &str| {
        wrong(&format!(
            "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\nexpect = {expect}\n"
        ))
    };
    for (expect, message) in [
        ("{ alerts = [{ rul = \"x\" }] }", "did you mean `rule`?"),
        ("{ alerts = [{ text = \"x\" }] }", "`rule` is missing"),
        (
            "{ alerts = [1] }",
            "`alerts` has an entry that is a whole number",
        ),
        ("{ alerts = \"x\" }", "`alerts` is text, but must be a list"),
        (
            "{ reasons = [{ rule = \"x.y\", txt = \"z\" }] }",
            "did you mean `text`?",
        ),
        ("{ confidence = 1.5 }", "`confidence` is 1.5 to 1.5"),
        ("{ confidence = [0.9, 0.8] }", "`confidence` is 0.9 to 0.8"),
        (
            "{ confidence = [0.9] }",
            "`confidence` is a list of 1, but must be of 2",
        ),
        (
            "{ confidence = [0.1, 0.2, 0.3] }",
            "`confidence` is a list of 3, but must be of 2",
        ),
        ("{ confidence = \"high\" }", "`confidence` is text"),
        (
            "{ confidence = [0.1, \"x\"] }",
            "`confidence` is no list of finite numbers",
        ),
        ("{ confidance = 0.5 }", "did you mean `confidence`?"),
        ("{ sugestions = [\"x\"] }", "did you mean `suggestions`?"),
        (
            "{ suggestions = [\"\"] }",
            "`suggestions` has an empty text",
        ),
        ("{ verbosity = \"loud\" }", "\"elevated\""),
    ] {
        let slip = slip(expect);
        assert!(
            slip.contains("wal.toml:6:") && slip.contains(message),
            "{expect}: {slip}"
        );
    }
    let twice = wrong(
        "version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\ntick = true\n\
         constraints = [{ name = \"x\", violations = 1, violations_ago_ms = [0] },\n\
         { name = \"y\", violations_ago_ms = [0.5] }]\n",
    );
    assert!(twice.contains("violations are counted twice"), "{twice}");
    assert!(
        twice.contains("`violations_ago_ms` is no list of times"),
        "{twice}"
    );
}

/// What of this answer is not as expected.
fn judged(expect: &str) -> Vec<String> {
    let text = format!(
        "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntick = true\nexpect = {expect}\n"
    );
    let file = parse(&text, "a.toml", None).unwrap();
    let Story::Events(Events { steps, .. }) = &file.cases[0].story else {
        panic!("{file:?}")
    };
    let alert = |rule: &str, urgency, message: &str| crate::model::Alert {
        rule: rule.into(),
        urgency,
        message: message.into(),
    };
    let reason = |rule: &str, text: &str| crate::model::Reason {
        rule: rule.into(),
        text: text.into(),
    };
    let verdict = crate::model::Verdict {
        classification: Some(Classification::Wall),
        level: EscalationLevel::Escalate,
        repair: Some("index.rebuild".into()),
        halt: false,
        confidence: 0.9,
        verbosity: Verbosity::Incident,
        alerts: vec![
            alert("person_needed", Urgency::Critical, "lock held by batch"),
            alert("disk", Urgency::Info, "4.0 % free"),
        ],
        reasons: vec![
            reason("lock.stale", "held 500.0 s"),
            reason("lock.alone", "nobody"),
        ],
        suggestions: vec!["Ask the owner.".into(), "Take a snapshot.".into()],
        memory: Vec::new(),
        needs_approval: false,
    };
    let log = [crate::policy::LogLine {
        level: LogLevel::Warn,
        message: "asked twice".into(),
    }];
    let wrong = steps[0].expect.as_ref().unwrap().wrong(&verdict, &log);
    wrong.into_iter().map(|wrong| wrong.text).collect()
}

#[test]
fn every_field_is_held_against_the_answer() {
    let right = [
        "{ classification = \"wall\", level = \"escalate\", repair = \"index.rebuild\", halt = false }",
        "{ confidence = 0.9, verbosity = \"incident\" }",
        "{ confidence = [0.9, 1.0] }",
        "{ confidence = [0.5, 0.9] }",
        "{ reasons = [\"lock.alone\", { rule = \"lock.stale\", text = \"500.0 s\" }], no_rules = [\"*\"] }",
        "{ rules = [\"lock.alone\"], no_rules = [\"lock.fresh\"] }",
        "{ alerts = [\"disk\", { rule = \"person_needed\", urgency = \"critical\", text = \"batch\" }], no_alerts = [\"*\"] }",
        "{ suggestions = [\"owner\", \"snapshot\"], no_suggestions = [\"*\"] }",
        "{ suggestions = [\"owner\"], no_suggestions = [\"backup\"] }",
        "{ log = [\"twice\"], no_log = [\"*\", \"once\"] }",
        "{ log = [{ level = \"warn\", text = \"asked\" }] }",
    ];
    for expect in right {
        assert_eq!(judged(expect), Vec::<String>::new(), "{expect}");
    }
    let wrong = [
        ("{ confidence = 0.91 }", "expected confidence 0.91, got 0.9"),
        (
            "{ confidence = [0.91, 1.0] }",
            "expected confidence from 0.91 to 1, got 0.9",
        ),
        (
            "{ confidence = [0.1, 0.89] }",
            "expected confidence from 0.1 to 0.89, got 0.9",
        ),
        (
            "{ verbosity = \"normal\" }",
            "expected verbosity normal, got incident",
        ),
        (
            "{ rules = [\"lock.fresh\"] }",
            "expected the rule lock.fresh",
        ),
        (
            "{ reasons = [{ rule = \"lock.stale\", text = \"600\" }] }",
            "expected the rule lock.stale to say \"600\", it says \"held 500.0 s\"",
        ),
        (
            "{ rules = [\"lock.stale\"], no_rules = [\"*\"] }",
            "expected no rule lock.alone",
        ),
        (
            "{ no_rules = [\"lock.alone\"] }",
            "expected no rule lock.alone",
        ),
        ("{ alerts = [\"halted\"] }", "expected the alert halted"),
        (
            "{ alerts = [{ rule = \"disk\", text = \"5.0\" }] }",
            "expected the alert disk with \"5.0\", got info \"4.0 % free\"",
        ),
        (
            "{ alerts = [{ rule = \"disk\", urgency = \"warning\", text = \"4.0\" }] }",
            "expected the alert disk warning \"4.0\", got info \"4.0 % free\"",
        ),
        (
            "{ alerts = [\"disk\"], no_alerts = [\"*\"] }",
            "expected no alert person_needed",
        ),
        ("{ no_alerts = [\"disk\"] }", "expected no alert disk"),
        (
            "{ suggestions = [\"backup\"] }",
            "expected the suggestion \"backup\"",
        ),
        (
            "{ suggestions = [\"owner\"], no_suggestions = [\"*\"] }",
            "expected no suggestion \"Take a snapshot.\"",
        ),
        (
            "{ no_suggestions = [\"Ask\"] }",
            "expected no suggestion \"Ask the owner.\"",
        ),
        (
            "{ log = [{ level = \"error\", text = \"asked\" }] }",
            "expected the log line at level error \"asked\"",
        ),
        (
            "{ no_log = [\"*\"] }",
            "expected no log line \"asked twice\"",
        ),
    ];
    for (expect, message) in wrong {
        assert_eq!(judged(expect), [message], "{expect}");
    }
}
