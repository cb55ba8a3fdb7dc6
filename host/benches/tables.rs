//! What `dbmedic detect` costs: a table of ten metrics through the real binary, 100,000 and 1,000,000
//! rows, in seconds, processor seconds and the most memory it held.
//!
//! `cargo bench --bench tables`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench stops at the first surprise and prints what it found"
)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

const METRICS: usize = 10;
const SEED: u64 = 20_261_124;

/// Clock ticks of `/proc/PID/stat` in a second: fixed by Linux for programs.
const TICKS: f64 = 100.0;

/// What a run came to.
struct Run {
    seconds: f64,
    cpu_seconds: f64,
    most_kib: u64,
}

fn main() {
    println!(
        "{:>10} {:>9} {:>9} {:>10}",
        "rows", "seconds", "cpu s", "max RSS"
    );
    for rows in [100_000, 1_000_000] {
        let run = detect(rows);
        println!(
            "{rows:>10} {:>9.2} {:>9.2} {:>6} KiB",
            run.seconds, run.cpu_seconds, run.most_kib
        );
    }
}

/// A table of noise around 100, one row a second.
fn table(rows: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut text = Vec::new();
    write!(text, "time").unwrap();
    for metric in 0..METRICS {
        write!(text, ",metric_{metric}").unwrap();
    }
    for row in 0..rows {
        write!(text, "\n{}", 1_700_000_000 + row).unwrap();
        for _ in 0..METRICS {
            write!(text, ",{:.4}", 100.0 + 10.0 * random.random::<f64>()).unwrap();
        }
    }
    text.push(b'\n');
    text
}

fn detect(rows: u64) -> Run {
    let text = table(rows);
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dbmedic"))
        .args(["detect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut to = BufWriter::with_capacity(1 << 16, child.stdin.take().unwrap());
    let from = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
    let feeding = std::thread::spawn(move || {
        to.write_all(&text).unwrap();
        to.flush().unwrap();
        to
    });
    // All rows have their answers, and the child waits for more: now it can be looked at.
    let answers = from
        .split(b'\n')
        .take(usize::try_from(rows).unwrap() + 1)
        .count();
    assert_eq!(answers as u64, rows + 1);
    let seconds = start.elapsed().as_secs_f64();
    let (cpu_seconds, most_kib) = (cpu_seconds(&child), most_kib(&child));
    drop(feeding.join().unwrap());
    assert!(child.wait().unwrap().success());
    Run {
        seconds,
        cpu_seconds,
        most_kib,
    }
}

fn cpu_seconds(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    // User and system time are fields 14 and 15; the name is field 2.
    let ticks = after_name.split(' ').skip(11).take(2);
    ticks.map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}

fn most_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
