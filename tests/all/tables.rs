//! Tables of telemetry from outside: `detect` and `import` with the real binary.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::common::{data, dbmedic, run, talk};

/// Rows of [`load`] before the trouble, and of the trouble.
const CALM: usize = 300;
const TROUBLE: usize = 20;

/// A table of two metrics, one sample every 5 s, that go far off in rows `CALM..CALM + TROUBLE`.
fn load() -> String {
    let mut text = String::from("time,latency_ms,queue\n");
    for row in 0..CALM + TROUBLE + 100 {
        let trouble = (CALM..CALM + TROUBLE).contains(&row);
        let (latency, queue) = if trouble { (900, 80) } else { (40, 5) };
        let wobble = (row * 7 + row / 5) % 5;
        let (latency, queue) = (latency + wobble, queue + (row * 3 + row / 7) % 4);
        writeln!(text, "{},{latency},{queue}", 1_700_000_000 + row * 5).unwrap();
    }
    text
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap()
}

fn spawn(args: &[&str]) -> Child {
    Command::new(dbmedic())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs with this standard input.
fn run_on(args: &[&str], input: &[u8]) -> Output {
    let mut child = spawn(args);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A child that stops early closes its end; that is not this test's business.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", talk(output));
}

#[test]
fn each_row_has_its_answer_and_the_trouble_is_one_anomaly() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "load.csv", load());
    let output = run(&["detect", &file]);
    succeeds(&output);
    let mut csv = csv::Reader::from_reader(output.stdout.as_slice());
    let names = csv.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(names, "time,score,alarm,onset,metrics,reason");
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), CALM + TROUBLE + 100);
    let mut onsets = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row[0], (1_700_000_000 + index * 5).to_string());
        let score: f64 = row[1].parse().unwrap();
        assert!((0.0..=1.0).contains(&score), "row {index}: {score}");
        assert_eq!(&row[2] == "1", !row[4].is_empty(), "row {index}: {row:?}");
        assert_eq!(&row[2] == "1", !row[5].is_empty(), "row {index}: {row:?}");
        if &row[3] == "1" {
            assert_eq!(&row[2], "1", "row {index}");
            onsets.push(index);
        }
    }
    assert_eq!(onsets.len(), 1, "{onsets:?}");
    assert!((CALM..CALM + 5).contains(&onsets[0]), "{onsets:?}");
    let onset = &rows[onsets[0]];
    let carriers: Vec<&str> = onset[4].split(';').collect();
    assert!(carriers.contains(&"latency_ms"), "{carriers:?}");
    assert!(onset[5].contains("latency_ms"), "{}", &onset[5]);
    assert!(talk(&output).contains("1 anomaly"), "{}", talk(&output));
}

#[test]
fn an_anomaly_that_looks_like_a_known_trouble_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "load.csv", load());
    let kept = dir.path().join("signatures");
    let kept = kept.to_str().unwrap();
    let reasons = || -> Vec<(usize, String)> {
        let output = run(&["detect", &file, "--signatures", kept]);
        succeeds(&output);
        let mut csv = csv::Reader::from_reader(output.stdout.as_slice());
        let rows = csv.records().map(Result::unwrap).enumerate();
        rows.filter(|(_, row)| &row[2] == "1")
            .map(|(index, row)| (index, row[5].to_owned()))
            .collect()
    };
    let before = reasons();
    assert!(
        before
            .iter()
            .all(|(_, reason)| !reason.contains("looks like"))
    );
    let rows = format!("{CALM}..{}", CALM + TROUBLE - 1);
    succeeds(&run(&[
        "learn",
        "queueing",
        "--from",
        &file,
        "--rows",
        &rows,
        "--signatures",
        kept,
    ]));
    let after = reasons();
    let same = |one: &[(usize, String)]| one.iter().map(|(index, _)| *index).collect::<Vec<_>>();
    assert_eq!(same(&before), same(&after), "the alarm stays where it was");
    let named = after
        .iter()
        .filter(|(_, r)| r.contains("looks like `queueing` ("));
    assert!(named.count() > 0, "{after:?}");
}

#[test]
fn a_pipe_a_compressed_file_and_json_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let text = load();
    let file = write(dir.path(), "load.csv", &text);
    let plain = run(&["detect", &file]);
    succeeds(&plain);
    let packed = write(dir.path(), "load.csv.gz", gzipped(&text));
    let unnamed = write(dir.path(), "load", gzipped(&text));
    for output in [
        run(&["detect", &packed]),
        run(&["detect", &unnamed]),
        run_on(&["detect", "-"], text.as_bytes()),
        run_on(&["detect", "-"], &gzipped(&text)),
    ] {
        succeeds(&output);
        assert_eq!(output.stdout, plain.stdout);
    }
    let json = run(&["detect", &file, "--json"]);
    succeeds(&json);
    let mut csv = csv::Reader::from_reader(plain.stdout.as_slice());
    let (mut rows, mut lasting) = (0, 0);
    for (line, row) in data(&json).lines().zip(csv.records().map(Result::unwrap)) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["time"], row[0]);
        assert_eq!(line["alarm"], &row[2] == "1");
        assert_eq!(line["onset"], &row[3] == "1");
        lasting += u32::from(line["lasts"] == true);
        assert!(line["lasts"] == true || line["alarm"] == false, "{line}");
        let metrics = line["metrics"].as_array().unwrap();
        let metrics: Vec<_> = metrics.iter().map(|m| m.as_str().unwrap()).collect();
        assert_eq!(metrics.join(";"), row[4]);
        assert_eq!(line["reason"], row[5]);
        let methods = line["scores"].as_array().unwrap();
        let methods: Vec<_> = methods
            .iter()
            .map(|m| m["method"].as_str().unwrap())
            .collect();
        assert_eq!(methods.contains(&"Pattern"), &row[2] == "1", "{line}");
        assert_eq!(line["confidence"].is_number(), &row[2] == "1", "{line}");
        rows += 1;
    }
    assert_eq!(rows, CALM + TROUBLE + 100);
    // Longer than it is news, and no longer than the trouble.
    assert!((15..25).contains(&lasting), "{lasting}");
}

#[test]
fn a_counter_whose_load_begins_late_is_read_by_its_rate_from_then_on() {
    let mut text = String::from("time,queries,load\n");
    let mut queries = 5_000_000;
    for row in 0..1000_u32 {
        // Nothing runs at first; then some fifty a row, and a burst in row 900.
        queries += match row {
            ..300 => 0,
            900 => 5000,
            _ => 50 + row * 7 % 5,
        };
        writeln!(
            text,
            "{},{queries},{}",
            1_700_000_000 + row * 5,
            7 + row % 3
        )
        .unwrap();
    }
    let output = run_on(&["detect", "-", "--json"], text.as_bytes());
    succeeds(&output);
    let said = talk(&output);
    assert_eq!(said.matches("stood still at first").count(), 1, "{said}");
    assert!(said.contains("from line 361 on"), "{said}");
    let lines = data(&output);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let onsets: Vec<(u64, Value)> = (0..)
        .zip(lines)
        .filter(|(_, line): &(u64, Value)| line["onset"] == true)
        .map(|(row, line)| (row, line["metrics"].clone()))
        .collect();
    // That the load begins is one; that its level is no more seen is none.
    let after: Vec<_> = onsets.iter().filter(|(row, _)| *row >= 360).collect();
    assert_eq!(after.len(), 1, "{onsets:?}");
    assert_eq!(after[0].0, 900);
    assert_eq!(after[0].1, serde_json::json!(["queries_per_s"]));
}

/// A row is written, its answer read, then the next row written.
fn answers_row_by_row(args: &[&str], header: bool) {
    let mut child = spawn(args);
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    to.write_all(b"time,latency_ms\n").unwrap();
    for row in 0..50 {
        writeln!(to, "2026-01-31T12:00:{row:02}Z,{}", 40 + row % 3).unwrap();
        if row == 0 && header {
            from.read_line(&mut line).unwrap();
            assert_eq!(line, "time,score,alarm,onset,metrics,reason\n");
        }
        line.clear();
        from.read_line(&mut line).unwrap();
        assert!(
            line.contains(&format!("2026-01-31T12:00:{row:02}Z")),
            "{line}"
        );
        assert!(line.ends_with('\n'));
    }
    drop(to);
    line.clear();
    assert_eq!(from.read_to_string(&mut line).unwrap(), 0, "{line}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_live_stream_is_answered_row_by_row() {
    answers_row_by_row(&["detect", "-"], true);
    answers_row_by_row(&["detect", "-", "--json"], false);
}

#[test]
fn an_alarm_fails_only_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "load.csv", load());
    let calm: Vec<String> = load().lines().take(CALM).map(str::to_owned).collect();
    let calm = write(dir.path(), "calm.csv", calm.join("\n"));
    for (args, code) in [
        (&["detect", &file][..], 0),
        (&["detect", &file, "--fail-on-alarm"], 1),
        (&["detect", &calm, "--fail-on-alarm"], 0),
        (&["detect", "/no/such.csv", "--fail-on-alarm"], 2),
    ] {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            talk(&output)
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = spawn(&["detect", "-"]);
    drop(child.stdout.take());
    let mut to = child.stdin.take().unwrap();
    // Fails once the other end is gone, as it should.
    drop(to.write_all(load().as_bytes()));
    drop(to);
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    assert_eq!(talk(&output), "");
}

#[test]
fn what_cannot_be_read_is_refused_and_what_was_read_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cases = [
        ("empty.csv", "", "empty.csv: the table is empty", 0),
        ("data.csv", "1,2\n3,4\n", "line 1: a header", 0),
        ("twice.csv", "time,a,a\n1,2,3\n", "line 1, column 3 `a`", 0),
        ("timeless.csv", "a,b\n1,2\n", "--time-column", 0),
        (
            "texts.csv",
            "time,a\n1,x\n2,y\n",
            "all columns hold text: `a`",
            0,
        ),
        (
            "ragged.csv",
            "time,a\n1,2\n2,3\n4\n",
            "ragged.csv, line 4",
            2,
        ),
        (
            "late.csv",
            "time,a\n1,2\nlate,3\n",
            "late.csv, line 3, column 1 `time`",
            1,
        ),
        (
            "word.csv",
            "time,a\n1,2\n2,oops\n",
            "word.csv, line 3, column 2 `a`",
            1,
        ),
        (
            "newest.csv",
            "time,a\n9,1\n8,1\n7,1\n6,1\n",
            "newest to the oldest",
            3,
        ),
    ];
    for (name, text, expected, rows) in cases {
        let file = write(dir, name, text);
        let output = run(&["detect", &file]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", talk(&output));
        assert!(
            talk(&output).contains(expected),
            "{name}: {}",
            talk(&output)
        );
        let lines = data(&output).lines().count();
        assert_eq!(lines.saturating_sub(1), rows, "{name}: {}", data(&output));

        let recording = dir.join(format!("{name}.rec"));
        let output = run(&["import", &file, "-o", recording.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", talk(&output));
        assert!(
            talk(&output).contains(expected),
            "{name}: {}",
            talk(&output)
        );
        assert!(!recording.exists(), "{name}");
    }
    let left = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(left, cases.len(), "scratch files were left behind");
}

#[test]
fn a_header_alone_gives_a_header_alone() {
    let output = run_on(&["detect", "-"], b"time,a\n");
    succeeds(&output);
    assert_eq!(data(&output), "time,score,alarm,onset,metrics,reason\n");
    let output = run_on(&["import", "-", "-o", "/no/such/dir/x.rec"], b"time,a\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(talk(&output).contains("no rows"), "{}", talk(&output));
}

#[test]
fn what_was_understood_is_said_on_standard_error() {
    let mut text = String::from("Zeit;host;queries;load\n");
    for row in 0..60 {
        writeln!(
            text,
            "2026-01-31 12:{row:02}:00;web-1;{};0,{}",
            row * 100,
            row % 3 + 1
        )
        .unwrap();
    }
    let output = run_on(&["detect", "-", "--time-column", "Zeit"], text.as_bytes());
    succeeds(&output);
    assert_eq!(data(&output).lines().count(), 61);
    let said = talk(&output);
    assert!(
        said.contains("left out, as they hold text: `host`"),
        "{said}"
    );
    assert!(
        said.contains("read as counters") && said.contains("`queries`"),
        "{said}"
    );
    let args = [
        "detect",
        "-",
        "--time-column",
        "Zeit",
        "--gauges",
        "*",
        "--ignore",
        "host",
    ];
    let output = run_on(&args, text.as_bytes());
    succeeds(&output);
    assert!(!talk(&output).contains("note"), "{}", talk(&output));
    let output = run_on(
        &["detect", "-", "--gauges", "querys"],
        b"time,queries\n1,2\n",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        talk(&output).contains("did you mean `queries`"),
        "{}",
        talk(&output)
    );
}

fn import(dir: &Path, name: &str, more: &[&str]) -> PathBuf {
    let file = write(dir, &format!("{name}.csv"), load());
    let recording = dir.join(format!("{name}.rec"));
    let args = ["import", &file, "-o", recording.to_str().unwrap()];
    let output = run(&[&args, more].concat());
    succeeds(&output);
    assert!(output.stdout.is_empty());
    recording
}

#[test]
fn an_imported_table_is_replayed_with_its_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let recording = import(dir.path(), "load", &[]);
    let to = recording.to_str().unwrap();
    let told = run(&["replay", to]);
    succeeds(&told);
    assert!(
        talk(&told).contains("as recorded, byte for byte"),
        "{}",
        talk(&told)
    );
    assert!(
        data(&told).contains("anomaly.unexplained"),
        "{}",
        data(&told)
    );
    assert!(data(&told).contains("policy"), "{}", data(&told));

    let json = run(&["replay", to, "--json"]);
    let effects: Vec<Value> = data(&json)
        .lines()
        .flat_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["effects"].as_array().unwrap().clone()
        })
        .collect();
    let of = |kind: &str| {
        effects
            .iter()
            .filter_map(|e| e.get(kind))
            .collect::<Vec<_>>()
    };
    let [opened] = of("incident_opened")[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(opened["target"], "load");
    assert_eq!(opened["finding"]["kind"], "anomaly.unexplained");
    assert!(
        opened["finding"]["candidates"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_eq!(of("incident_resolved").len(), 1);
    assert!(!of("decided").is_empty());
    assert!(of("repair").is_empty());

    // Another policy's numbers: another judgement of the same rows.
    let other = run(&["replay", to, "--set", "report_severity=0.99"]);
    assert!(!talk(&other).contains("panicked"), "{}", talk(&other));
}

#[test]
fn an_import_takes_the_constraints_and_the_name_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(
        dir.path(),
        "dbmedic.toml",
        "version = 1\n[[constraints]]\nname = \"queue\"\nmetric = \"queue\"\nupper = 50\n",
    );
    let recording = import(dir.path(), "load", &["--target", "shop", "-c", &config]);
    let told = run(&["replay", recording.to_str().unwrap(), "--json"]);
    succeeds(&told);
    assert!(
        data(&told).contains("constraint.violated"),
        "{}",
        data(&told)
    );
    assert!(data(&told).contains("\"target\":\"shop\""));
    // What is there is not overwritten.
    let before = std::fs::read(&recording).unwrap();
    let file = dir.path().join("load.csv");
    let args = [
        "import",
        file.to_str().unwrap(),
        "-o",
        recording.to_str().unwrap(),
    ];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        talk(&output).contains("exists already"),
        "{}",
        talk(&output)
    );
    assert_eq!(std::fs::read(&recording).unwrap(), before);
}

#[test]
fn a_bound_is_violated_while_its_series_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("time,ops,wal_bytes\n");
    for row in 0..30 {
        let log = Some(2_000_000_000 - row).filter(|_| row < 10);
        let log = log.map_or_else(String::new, |bytes| bytes.to_string());
        writeln!(text, "{},{},{log}", 1_700_000_000 + row * 5, 7 + row % 3).unwrap();
    }
    let file = write(dir.path(), "log.csv", text);
    let recording = dir.path().join("log.rec");
    let recording = recording.to_str().unwrap();
    succeeds(&run(&["import", &file, "-o", recording]));
    let told = run(&["replay", recording, "--json"]);
    succeeds(&told);
    let of = |kind: &str| -> Vec<Value> {
        let lines = data(&told);
        let lines = lines.lines();
        let effects = lines.flat_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["effects"].as_array().unwrap().clone()
        });
        effects.filter_map(|e| e.get(kind).cloned()).collect()
    };
    let [opened] = &of("incident_opened")[..] else {
        panic!("{}", data(&told));
    };
    let finding = &opened["finding"];
    assert_eq!(finding["kind"], "constraint.violated");
    assert_eq!(finding["subject"], "wal_size");
    // The bound allows a repair; of a target of which only the numbers are known there is none.
    assert!(data(&told).contains("constraint.nothing-offered"));
    assert_eq!(finding["candidates"].as_array().unwrap().len(), 0);
    assert!(of("repair").is_empty());
    // Three of its intervals after the last value.
    let [resolved] = &of("incident_resolved")[..] else {
        panic!("{}", data(&told));
    };
    assert_eq!(
        resolved["resolved"]["resolved_ms"],
        (1_700_000_000_u64 + 13 * 5) * 1000
    );
}
