//! Every oddity of a table: what is made of it, or how it is refused.

use std::fmt::Write as _;
use std::io::{Read, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn open(text: &[u8], options: &TableOptions) -> Result<TableReader, TableError> {
    TableReader::new("x.csv".into(), std::io::Cursor::new(text.to_vec()), options)
}

/// All that was read of a table.
#[derive(Debug, Default, PartialEq)]
struct Whole {
    metrics: Vec<String>,
    rows: Vec<(u64, u64, String, Vec<Option<f64>>)>,
    notes: Vec<Note>,
}

fn read_with(text: &[u8], options: &TableOptions) -> Result<Whole, TableError> {
    let mut table = open(text, options)?;
    let mut read = Whole {
        metrics: table.metrics().to_vec(),
        ..Whole::default()
    };
    while let Some(row) = table.next_row()? {
        assert_eq!(row.index, read.rows.len() as u64);
        read.rows.push((
            row.line,
            row.at_ms,
            row.time_text.to_owned(),
            row.values.to_vec(),
        ));
    }
    read.notes = table.take_notes();
    Ok(read)
}

fn gauges() -> TableOptions {
    TableOptions {
        gauges: vec!["*".into()],
        ..TableOptions::default()
    }
}

fn read(text: &str) -> Whole {
    read_with(text.as_bytes(), &gauges()).unwrap()
}

fn values(text: &str) -> Vec<Vec<Option<f64>>> {
    read(text).rows.into_iter().map(|row| row.3).collect()
}

fn refusal(text: &[u8]) -> String {
    read_with(text, &gauges())
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default()
}

#[test]
fn a_plain_table() {
    let table = read("time,cpu,disk\n2026-01-31T12:00:00Z,1,0.5\n2026-01-31T12:00:05Z,2,1e3\n");
    assert_eq!(table.metrics, ["cpu", "disk"]);
    assert_eq!(
        table.rows,
        [
            (
                2,
                1_769_860_800_000,
                "2026-01-31T12:00:00Z".into(),
                vec![Some(1.0), Some(0.5)]
            ),
            (
                3,
                1_769_860_805_000,
                "2026-01-31T12:00:05Z".into(),
                vec![Some(2.0), Some(1000.0)]
            ),
        ]
    );
    assert_eq!(table.notes, []);
}

#[test]
fn one_content_in_many_dresses() {
    let plain = values("timestamp,value,b\n1,1.5,3\n2,2.5,4\n");
    for text in [
        "timestamp,value,b\r\n1,1.5,3\r\n2,2.5,4\r\n",
        "timestamp,value,b\r1,1.5,3\r2,2.5,4\r",
        "timestamp,value,b\n1,1.5,3\n2,2.5,4",
        "\u{feff}timestamp,value,b\n1,1.5,3\n2,2.5,4\n",
        "\u{feff}\"timestamp\",\"value\",\"b\"\r\n\"1\",\"1.5\",\"3\"\r\n\"2\",\"2.5\",\"4\"\r\n",
        "timestamp;value;b\n1;1.5;3\n2;2.5;4\n",
        "timestamp;value;b\n1;1,5;3\n2;2,5;4\n",
        "timestamp\tvalue\tb\n1\t1.5\t3\n2\t2.5\t4\n",
        "timestamp|value|b\n1|1.5|3\n2|2.5|4\n",
        "\n\ntimestamp,value,b\n\n1,1.5,3\n\n\n2,2.5,4\n\n",
        " timestamp , value , b \n 1 , 1.5 , 3 \n 2 , 2.5 , 4 \n",
        "value,Timestamp,b\n1.5,1,3\n2.5,2,4\n",
        "TIME,value,b\n1,1.5,3\n2,2.5,4\n",
        "@timestamp,value,b\n1,1.5,3\n2,2.5,4\n",
        "ts,value,host,b\n1,1.5,web-1,3\n2,2.5,web-1,4\n",
        "epoch,value,\"a, \"\"quoted\"\"\nname\",b\n1,1.5,x,3\n2,2.5,\"y,\n\",4\n",
    ] {
        assert_eq!(values(text), plain, "{text:?}");
    }
}

#[test]
fn a_table_of_one_metric_and_a_gzipped_one() {
    let text = "timestamp,value\n2014-04-01 00:00:00,20.0\n2014-04-01 00:05:00,20.5\n";
    let table = read(text);
    assert_eq!(table.metrics, ["value"]);
    assert_eq!(table.rows[1].1 - table.rows[0].1, 300_000);
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    let mut twice = gz.finish().unwrap();
    assert_eq!(read_with(&twice, &gauges()).unwrap(), table);
    // As `cat a.gz b.gz` makes it.
    let mut more = GzEncoder::new(Vec::new(), Compression::fast());
    more.write_all(b"2014-04-01 00:10:00,21.0\n").unwrap();
    twice.extend(more.finish().unwrap());
    assert_eq!(read_with(&twice, &gauges()).unwrap().rows.len(), 3);
}

#[test]
fn missing_values() {
    for cell in [
        "", " ", "NaN", "nan", "inf", "-inf", "Infinity", "1e999", "null", "NULL", "N/A", "-",
        "\\N",
    ] {
        assert_eq!(
            values(&format!("time,a,b\n1,7,1\n2,{cell},2\n3,8,3\n")),
            [
                vec![Some(7.0), Some(1.0)],
                vec![None, Some(2.0)],
                vec![Some(8.0), Some(3.0)]
            ],
            "{cell:?}"
        );
    }
    // Missing from the start.
    assert_eq!(
        values("time,a\n1,\n2,\n3,5\n"),
        [vec![None], vec![None], vec![Some(5.0)]]
    );
}

#[test]
fn text_is_left_out_and_said() {
    let table = read("time,host,cpu,version,\n1,web-1,3,1.2.3,\n2,web-2,4,1.2.4,\n");
    assert_eq!(table.metrics, ["cpu"]);
    assert_eq!(
        table.notes,
        [
            Note::Unnamed(vec![5]),
            Note::Labels(vec!["host".into(), "version".into()])
        ]
    );
    // What begins empty may hold text all the same.
    let table = read("time,error,cpu\n1,,3\n2,timeout,4\n3,,5\n");
    assert_eq!(table.notes, [Note::Labels(vec!["error".into()])]);
    assert_eq!(table.rows[2].3, [None, Some(5.0)]);
}

#[test]
fn what_the_user_leaves_out_is_not_read() {
    let options = TableOptions {
        ignore: vec!["pod".into()],
        time_column: Some("seen".into()),
        ..gauges()
    };
    let table = read_with(b"time,pod,seen,a\n1,12,5,1\n2,1f,6,2\n", &options).unwrap();
    assert_eq!(table.metrics, ["time", "a"]);
    assert_eq!(table.rows[0].1, 5000);
}

#[test]
fn time_that_stands_still_or_runs_back() {
    let table = read("time,a\n10,1\n10,2\n20,3\n15,4\n30,5\n");
    let times: Vec<u64> = table.rows.iter().map(|row| row.1 / 1000).collect();
    assert_eq!(times, [10, 10, 20, 20, 30]);
    assert_eq!(table.notes, [Note::Backward { line: 5 }]);
}

#[test]
fn a_late_row_is_no_reset_of_a_counter() {
    let rates = |text: &str| -> Vec<Option<f64>> {
        let read = read_with(text.as_bytes(), &TableOptions::default()).unwrap();
        read.rows.iter().map(|row| row.3[0]).collect()
    };
    let late = rates("time,hits_total\n10,100\n20,200\n15,150\n30,300\n");
    assert_eq!(late, [None, Some(10.0), None, Some(10.0)]);
    let sent_again = rates("time,hits_total\n10,100\n20,200\n10,100\n20,200\n30,300\n");
    assert_eq!(sent_again[4], Some(10.0));
    // A second episode appended to the first: no rate goes across.
    let mut text = String::from("time,hits_total\n");
    for (first, per_s) in [(5000, 10), (0, 20)] {
        for row in 0..20 {
            writeln!(text, "{},{}", first + row * 10, first + row * 10 * per_s).unwrap();
        }
    }
    let appended = rates(&text);
    assert_eq!(appended[1..20], [Some(10.0); 19]);
    assert_eq!(appended[20..28], [None; 8]);
    assert_eq!(appended[28..], [Some(20.0); 12]);
}

#[test]
fn a_time_column_says_its_unit_and_a_compact_date_is_a_date() {
    let times = |text: &str| -> Vec<u64> { read(text).rows.iter().map(|row| row.1).collect() };
    assert_eq!(times("time_ms,a\n0,1\n1000,2\n"), [0, 1000]);
    assert_eq!(times("at_ms,a\n0,1\n1000,2\n"), [0, 1000]);
    assert_eq!(times("time_us,a\n0,1\n1000,2\n"), [0, 1]);
    assert_eq!(times("time_s,a\n0,1\n1000,2\n"), [0, 1_000_000]);
    let dates = times("time,a\n20260131120000,1\n20260131120005,2\n");
    assert_eq!(dates, [1_769_860_800_000, 1_769_860_805_000]);
    let days = times("date,a\n20260131,1\n20260201,2\n");
    assert_eq!(days[1] - days[0], 86_400_000);
    let said = refusal(b"date,a\n20260131,1\n20260132,2\n");
    assert!(said.contains("x.csv, line 3, column 1 `date`"), "{said}");
}

#[test]
fn a_counter_that_stands_still_at_first_goes_on_under_another_name() {
    let mut text = String::from("time,queries,queries_per_s\n");
    for n in 0..200_u32 {
        let queries = 1000 + n.saturating_sub(99) * 50;
        writeln!(text, "{},{queries},{}", n * 10, n % 3).unwrap();
    }
    let mut table = open(text.as_bytes(), &TableOptions::default()).unwrap();
    let mut levels = Vec::new();
    let mut rates = Vec::new();
    loop {
        let name = table.metrics()[0].clone();
        let Some(row) = table.next_row().unwrap() else {
            break;
        };
        if name == "queries" {
            levels.push(row.values[0]);
        } else {
            assert_eq!(name, "queries_per_s_per_s");
            rates.push(row.values[0]);
        }
    }
    assert_eq!(levels.len(), 160);
    assert!(levels.iter().flatten().all(|level| *level >= 1000.0));
    assert_eq!(rates, [Some(5.0); 40]);
    assert_eq!(
        table.take_notes(),
        [Note::LateCounters {
            names: vec!["queries".into()],
            line: 161
        }]
    );
}

#[test]
fn counters_are_read_by_their_rate() {
    let mut text = String::from("time,queries,hits_total,load\n");
    for n in 0..40 {
        writeln!(text, "{},{},{},{}", n * 10, 100 * n, 50 * n, n % 3).unwrap();
    }
    let auto = read_with(text.as_bytes(), &TableOptions::default()).unwrap();
    assert_eq!(auto.rows[39].3, [Some(10.0), Some(5.0), Some(0.0)]);
    assert_eq!(auto.rows[1].3, [None, Some(5.0), None]);
    assert_eq!(
        auto.notes,
        [
            Note::Counters {
                names: vec!["hits_total".into()],
                line: 2
            },
            Note::Counters {
                names: vec!["queries".into()],
                line: 32
            },
        ]
    );
    assert_eq!(
        read(&text).rows[39].3,
        [Some(3900.0), Some(1950.0), Some(0.0)]
    );
}

#[test]
fn what_cannot_be_read_is_refused_by_file_line_and_column() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &["x.csv", "empty"]),
        (b"\n \n", &["x.csv", "empty"]),
        (
            b"a,b\n1,2\n",
            &["line 1", "no column of time", "`a`, `b`", "--time-column"],
        ),
        (b"1,2\n3,4\n", &["line 1", "header", "tail -n +1"]),
        (b"2026-01-31T12:00:00Z,4\n", &["line 1", "header"]),
        (b"time\n1\n", &["line 1", "no column of numbers"]),
        (
            b"time,host\n1,web\n",
            &["line 2", "all columns hold text: `host`"],
        ),
        (
            b"time,a,b,a\n1,1,1,1\n",
            &["line 1", "column 4 `a`", "column 2 too"],
        ),
        (
            b"time,a,time\n1,1,1\n",
            &["line 1", "column 3 `time`", "column 1 too"],
        ),
        (
            b"time,a\n1,1\n2,1,3\n",
            &["x.csv, line 3:", "3 fields, the header 2"],
        ),
        (
            b"time,a,b\r\n1,1,2\r\n\r\n2,1\r\n",
            &["x.csv, line 4:", "2 fields, the header 3"],
        ),
        (
            b"time,a\n1,1\nsoon,2\n",
            &["x.csv, line 3, column 1 `time`", "`soon`", "RFC 3339"],
        ),
        (b"time,a\n,1\n", &["line 2, column 1 `time`"]),
        (b"time,a\n-5,1\n", &["line 2, column 1 `time`", "`-5`"]),
        (
            b"time,a,b\n1,1,1\n2,3,oops\n",
            &["x.csv, line 3, column 3 `b`", "`oops`", "--ignore"],
        ),
        (
            b"time,a\r\n1,1\r\n2,3\r\n3,oops\r\n",
            &["x.csv, line 4, column 2 `a`"],
        ),
        (b"time,a\n1,1\n2,\xff\n", &["line 3, column 2 `a`", "UTF-8"]),
        (b"time,\xff\n1,1\n", &["line 1", "UTF-8"]),
        (b"\xff\xfet\0i\0m\0e\0,\0a\0\n\0", &["x.csv", "UTF-16"]),
        (b"PK\x03\x04\0\0\0\0\n", &["x.csv", "not a CSV table"]),
        (b"\x1f\x8b\x08junk", &["x.csv", "gzip data is damaged"]),
        (
            b"time,a\n40,1\n30,1\n20,1\n10,1\n",
            &["line 5, column 1", "newest to the oldest"],
        ),
    ];
    for (text, expected) in cases {
        let said = refusal(text);
        for part in *expected {
            assert!(
                said.contains(part),
                "{:?}: {part:?} in {said:?}",
                String::from_utf8_lossy(text)
            );
        }
    }
}

#[test]
fn columns_that_are_not_there() {
    for options in [
        TableOptions {
            time_column: Some("tmie".into()),
            ..TableOptions::default()
        },
        TableOptions {
            ignore: vec!["tmie".into()],
            ..TableOptions::default()
        },
        TableOptions {
            counters: vec!["tmie".into()],
            ..TableOptions::default()
        },
        TableOptions {
            gauges: vec!["tmie".into()],
            ..TableOptions::default()
        },
    ] {
        let said = open(b"time,a\n1,1\n", &options).err().unwrap().to_string();
        assert!(
            said.contains("no column `tmie`; did you mean `time`?"),
            "{said}"
        );
    }
}

#[test]
fn a_header_alone_is_a_table_without_rows() {
    for text in ["time,a", "time,a\n", "time,a\r\n\r\n"] {
        let table = read(text);
        assert_eq!(table.metrics, ["a"]);
        assert_eq!(table.rows.len(), 0);
    }
}

#[test]
fn an_open_quote_does_not_fill_the_memory() {
    let text = std::io::Cursor::new(b"time,a\n1,1\n2,\"".to_vec())
        .chain(std::io::repeat(b'x').take(1 << 30));
    let mut table = TableReader::new("x.csv".into(), text, &gauges()).unwrap();
    assert!(table.next_row().unwrap().is_some());
    let said = table.next_row().err().unwrap().to_string();
    assert!(
        said.contains("x.csv, line 3") && said.contains("quote"),
        "{said}"
    );
}

/// Gives a piece at a time, as a pipe does, and fails when asked for one too many.
struct Pieces(Vec<&'static [u8]>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(!self.0.is_empty(), "waits for more than it needs");
        let piece = self.0.remove(0);
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

#[test]
fn a_row_does_not_wait_for_the_next() {
    let pieces = Pieces(vec![b"ti", b"me,a\n", b"1,5", b"\n", b"2,6\n"]);
    let mut table = TableReader::new("x.csv".into(), pieces, &gauges()).unwrap();
    for value in [5.0, 6.0] {
        assert_eq!(table.next_row().unwrap().unwrap().values, [Some(value)]);
    }
}

#[test]
fn lines_are_those_of_the_file() {
    for (text, lines) in [
        ("time,a\n1,1\n2,2", [2, 3]),
        ("time,a\r\n1,1\r\n2,2\r\n", [2, 3]),
        ("time,a\r1,1\r2,2\r", [2, 3]),
        ("\r\n\r\ntime,a\r\n\r\n1,1\r\n\r\n2,2", [5, 7]),
        ("time,a,b\n1,1,\"x\ny\"\n2,2,\"\"\n", [2, 4]),
    ] {
        let read: Vec<u64> = read(text).rows.iter().map(|row| row.0).collect();
        assert_eq!(read, lines, "{text:?}");
    }
}
