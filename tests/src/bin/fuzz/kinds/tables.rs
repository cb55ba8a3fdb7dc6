//! Telemetry as CSV.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, ends_well, replace};
use crate::mutate::{self, NUMBERS, chance, one};

/// 2026-01-31T12:00:00Z, seconds.
const BEGIN: i64 = 1_769_860_800;

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    let path = scene.join("table.csv");
    let mut rows = valid(rng, 200);
    let changes = rng.random_range(0..6);
    for _ in 0..changes {
        change(rng, &mut rows);
    }
    let mut bytes = text(rng, &rows).into_bytes();
    if chance(rng, 10) {
        let changes = rng.random_range(1..5);
        mutate::bytes(rng, &mut bytes, changes);
    }
    match rng.random_range(0..100) {
        0..8 => bytes = compressed(&bytes)?,
        8..10 => {
            bytes = compressed(&bytes)?;
            mutate::bytes(rng, &mut bytes, 2);
        }
        10 => bytes = compressed(&vec![b'1'; 300 << 20])?,
        11 => bytes = compressed(&b"1,".repeat(32 << 20))?,
        12 => {
            // More columns than anybody has.
            let columns: Vec<String> = (0..50_000).map(|i| format!("m{i}")).collect();
            bytes = format!("time,{}\n{}\n", columns.join(","), "1,".repeat(50_000)).into_bytes();
        }
        _ => {}
    }
    fs::write(&path, bytes)?;
    if chance(rng, 1) {
        replace(rng, &path)?;
        if path.symlink_metadata()?.file_type().is_file() || !path.is_file() && !path.is_dir() {
            // A pipe or a device is read to its end, as it should be: it has none.
            fs::remove_file(&path)?;
        }
    }
    Ok(match rng.random_range(0..20) {
        0..9 => Case::new(&["detect", "table.csv"], ends_well),
        9..12 => Case::new(&["detect", "table.csv", "--json"], ends_well),
        12..14 => Case::new(&["diagnose", "table.csv", "--rows", "120..140"], ends_well),
        14..17 => Case::new(&["diagnose", "table.csv", "--json"], ends_well),
        17 => Case::new(&["detect", "table.csv", "--counters", "*"], ends_well),
        _ => {
            seeds.policy_into(scene)?;
            let args = ["import", "table.csv", "-o", "table.rec", "--unsigned"];
            Case::new(&args, ends_well)
                .arg("--policy")
                .arg("policy.wasm")
                .writes(&["table.rec"])
        }
    })
}

/// A table with a header, in which something happens near its end.
pub(super) fn valid(rng: &mut StdRng, most_rows: usize) -> Vec<Vec<String>> {
    let metrics = rng.random_range(1..5);
    let mut header = vec![(*one(rng, &["time", "timestamp", "ts", "date", "time_ms"])).to_owned()];
    let names = [
        "latency_ms",
        "reads",
        "lock_waits",
        "cpu",
        "errors_total",
        "free_mb",
    ];
    header.extend(names.iter().take(metrics).map(|&name| name.to_owned()));
    let spelling = rng.random_range(0..4);
    let step = *one(rng, &[1, 10, 60, 3600]);
    let count = rng.random_range(most_rows / 2..=most_rows);
    let mut rows = vec![header];
    let mut total = 0.0;
    for i in 0..count {
        let at = BEGIN + i64::try_from(i).unwrap_or(0) * step;
        let time = match spelling {
            0 => at.to_string(),
            1 => format!("{at}000"),
            2 => iso(at, "-", ":", "T"),
            _ => iso(at, "", "", ""),
        };
        let mut row = vec![time];
        for metric in 0..metrics {
            let size = if i * 10 > count * 7 && metric == 0 {
                4.0
            } else {
                1.0
            };
            let value = size * (10.0 + rng.random_range(0.0..2.0));
            total += value;
            row.push(if metric == 4 {
                format!("{total:.0}")
            } else {
                format!("{value:.3}")
            });
        }
        rows.push(row);
    }
    rows
}

/// A time of the first days of February 2026, without a library: the days count on.
fn iso(at: i64, dash: &str, colon: &str, between: &str) -> String {
    let seconds = at - BEGIN + 12 * 3600;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!(
        "2026{dash}03{dash}{:02}{between}{hours:02}{colon}{minutes:02}{colon}{seconds:02}",
        days + 1
    )
}

/// The table as CSV, with one of the separators.
pub(super) fn text(rng: &mut StdRng, rows: &[Vec<String>]) -> String {
    let separator = *one(rng, &[",", ",", ",", ";", "\t", "|"]);
    let end = *one(rng, &["\n", "\n", "\n", "\r\n"]);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| {
                if cell.contains(['"', '\n', '\r']) || cell.contains(separator) {
                    format!("\"{}\"", cell.replace('"', "\"\""))
                } else {
                    cell.clone()
                }
            })
            .collect();
        text.push_str(&cells.join(separator));
        text.push_str(end);
    }
    text
}

fn change(rng: &mut StdRng, rows: &mut Vec<Vec<String>>) {
    if rows.len() < 3 {
        return;
    }
    let row = rng.random_range(1..rows.len());
    let column = rng.random_range(0..rows[row].len().max(1));
    match rng.random_range(0..40) {
        0 => drop(rows.remove(row)),
        1 => rows.insert(row, rows[row].clone()),
        2 => rows.swap(row, 1),
        3 => rows.truncate(row),
        4 => rows[row].push("1".into()),
        5 => drop(rows[row].pop()),
        6..14 => {
            let column = rng.random_range(0..rows[0].len());
            rows[0][column] = mutate::text(rng);
        }
        14..17 => {
            let column = rng.random_range(1..rows[0].len());
            rows[0][column].push_str(&mutate::text(rng));
        }
        17..19 => {
            if let Some(cell) = rows[row].get_mut(column) {
                *cell = mutate::text(rng);
            }
        }
        // A whole column of something.
        19..22 => {
            let number = (*one(rng, &NUMBERS)).to_owned();
            for row in &mut rows[1..] {
                if let Some(cell) = row.get_mut(column.max(1)) {
                    cell.clone_from(&number);
                }
            }
        }
        _ => {
            let words = [
                "", "NaN", "inf", "-inf", "null", "NULL", "0x10", "1,5", "1e400", "-0",
            ];
            let value = if chance(rng, 30) {
                *one(rng, &words)
            } else {
                *one(rng, &NUMBERS)
            };
            if let Some(cell) = rows[row].get_mut(column) {
                value.clone_into(cell);
            }
        }
    }
}

fn compressed(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
