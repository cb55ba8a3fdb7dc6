//! `dbmedic recording`: shown, cut, joined and anonymised recordings replay by themselves.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{data, run, talk};
use crate::policy_cases::record;

fn recording(args: &[&str]) -> Output {
    run(&[&["recording"], args].concat())
}

fn show(path: &str) -> Value {
    let shown = recording(&["show", path, "--json"]);
    serde_json::from_str(&data(&shown)).unwrap_or_else(|error| panic!("{error}: {}", talk(&shown)))
}

fn replays(path: &str) {
    let replayed = run(&["replay", path]);
    assert_eq!(
        replayed.status.code(),
        Some(0),
        "{path}: {}{}",
        data(&replayed),
        talk(&replayed)
    );
}

fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", talk(output));
}

#[test]
fn a_part_of_a_recording_replays_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    record(Path::new(&path("whole")));
    let whole = show(&path("whole"));
    assert_eq!(whole["events"], 10, "{whole}");
    assert_eq!(whole["kinds"]["observed"], 10, "{whole}");
    let incident = whole["incidents"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    done(&recording(&[
        "cut",
        &path("whole"),
        "--until",
        "5s",
        "-o",
        &path("first"),
    ]));
    done(&recording(&[
        "cut",
        &path("whole"),
        "--from",
        "5s",
        "-o",
        &path("second"),
    ]));
    let (first, second) = (show(&path("first")), show(&path("second")));
    assert_eq!(
        (&first["events"], &second["events"]),
        (&5.into(), &5.into())
    );
    assert!(
        second["incidents"].get(&incident).is_some(),
        "an incident is carried over: {second}"
    );
    replays(&path("first"));
    replays(&path("second"));
    done(&recording(&[
        "join",
        &path("first"),
        &path("second"),
        "-o",
        &path("joined"),
    ]));
    assert_eq!(
        fs::read(path("joined")).unwrap(),
        fs::read(path("whole")).unwrap()
    );
    done(&recording(&[
        "cut",
        &path("whole"),
        "--incident",
        &incident,
        "-o",
        &path("incident"),
    ]));
    replays(&path("incident"));
    for (args, message) in [
        (
            &["join", &path("second"), &path("first"), "-o", &path("x")][..],
            "in the order of their times",
        ),
        (
            &["cut", &path("whole"), "--from", "1h", "-o", &path("x")],
            "no event in that part",
        ),
        (
            &[
                "cut",
                &path("whole"),
                "--incident",
                "INC-99",
                "-o",
                &path("x"),
            ],
            "no INC-99 is in",
        ),
        (
            &["cut", &path("whole"), "-o", &path("first")],
            "exists already",
        ),
    ] {
        let refused = recording(args);
        assert_eq!(refused.status.code(), Some(2), "{}", talk(&refused));
        assert!(
            talk(&refused).contains(message),
            "{message}: {}",
            talk(&refused)
        );
        assert!(!Path::new(&path("x")).exists(), "nothing half written");
    }
}

#[test]
fn a_damaged_recording_is_read_up_to_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    record(Path::new(&path("whole")));
    let whole = fs::read(path("whole")).unwrap();
    fs::write(path("torn"), &whole[..whole.len() - 40]).unwrap();
    let shown = recording(&["show", &path("torn")]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(data(&shown).contains("events     9: "), "{}", data(&shown));
    assert!(
        talk(&shown).contains("line 11: the line is cut off"),
        "{}",
        talk(&shown)
    );
    let cut = recording(&["cut", &path("torn"), "-o", &path("mended")]);
    done(&cut);
    assert!(talk(&cut).contains("read up to damage"), "{}", talk(&cut));
    assert_eq!(show(&path("mended"))["events"], 9);
    replays(&path("mended"));
}

#[test]
fn a_recording_without_names_replays_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    record(Path::new(&path("whole")));
    assert!(
        fs::read_to_string(path("whole"))
            .unwrap()
            .contains("orders")
    );
    let done_so = recording(&["anonymise", &path("whole"), "-o", &path("nameless")]);
    done(&done_so);
    assert!(
        talk(&done_so).contains("1 of kind database"),
        "{}",
        talk(&done_so)
    );
    let text = fs::read_to_string(path("nameless")).unwrap();
    assert!(
        !text.contains("orders") && text.contains("database-1"),
        "{text}"
    );
    replays(&path("nameless"));
    assert_eq!(show(&path("nameless"))["events"], 10);
}
