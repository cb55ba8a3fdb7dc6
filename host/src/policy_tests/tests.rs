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
    let Story::Events(steps) = &case.story else {
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
