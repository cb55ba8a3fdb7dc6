//! The header of a table: what separates the fields, which column is the time, which may be metrics.

use std::collections::{HashMap, HashSet};

use csv::ByteRecord;

use super::TableOptions;
use super::error::{Column, Place, Problem, TableError};
use super::note::listed;
use super::time::TimeFormat;

/// Names of a time column in lower case, the most telling first.
const TIME_NAMES: &[&str] = &[
    "timestamp",
    "@timestamp",
    "datetime",
    "date_time",
    "date time",
    "date/time",
    "time",
    "ts",
    "_time",
    "date",
    "epoch",
    "unixtime",
    "unix_time",
    "unix_timestamp",
    "timestamp_ms",
    "timestamp_us",
    "timestamp_ns",
    "time_ms",
    "time_us",
    "time_ns",
    "time_s",
    "ts_ms",
    "at_ms",
    "epoch_ms",
    "collected_at",
    "recorded_at",
    "created_at",
];

/// Share of a name's letters that must be right for it to be what was meant.
const SIMILAR: f64 = 0.7;

/// What stands between the fields, found from the header: the candidate that stands there most
/// often outside quotes; the comma when there is none.
pub(super) fn separator(line: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for &byte in line {
        quoted ^= byte == b'"';
        for (separator, count) in &mut counts {
            *count += u32::from(!quoted && byte == *separator);
        }
    }
    // Of equals the last is taken: the comma stands at the end.
    counts.reverse();
    counts
        .iter()
        .max_by_key(|(_, count)| *count)
        .map_or(b',', |(separator, _)| *separator)
}

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Header {
    /// The time.
    pub(super) time: usize,
    /// Columns that may be metrics, in the table's order, with their names.
    pub(super) others: Vec<(usize, String)>,
    /// Columns, counted from 1, that have no name and are left out.
    pub(super) unnamed: Vec<usize>,
}

/// Reads a header. `place` is where it stands.
pub(super) fn read(
    record: &ByteRecord,
    place: &Place,
    options: &TableOptions,
) -> Result<Header, TableError> {
    let refuse = |problem| TableError {
        place: place.clone(),
        problem,
    };
    let mut names = Vec::with_capacity(record.len());
    for field in record {
        let name = std::str::from_utf8(field).map_err(|_| refuse(Problem::NotUtf8))?;
        names.push(name.trim());
    }
    if names.iter().all(|name| name.is_empty()) {
        return Err(refuse(Problem::Empty));
    }
    let is_data = |name: &&str| name.parse::<f64>().is_ok() || TimeFormat::of(name, None).is_some();
    if names.iter().filter(|name| !name.is_empty()).all(is_data)
        || (is_data(&names[0]) && !names[0].is_empty())
    {
        return Err(refuse(Problem::NoHeader));
    }
    let time = time_column(&names, options).map_err(&refuse)?;
    let known: HashSet<&str> = names.iter().copied().collect();
    let ignored: HashSet<&str> = options.ignore.iter().map(String::as_str).collect();
    for asked in options
        .ignore
        .iter()
        .chain(&options.counters)
        .chain(&options.gauges)
    {
        // Of many columns each may be named: nearly all are found at once.
        if asked != "*" && !known.contains(asked.as_str()) {
            find(&names, asked).map_err(&refuse)?;
        }
    }
    let mut others = Vec::new();
    let mut unnamed = Vec::new();
    let mut seen = HashMap::from([(names[time], time + 1)]);
    for (index, name) in names.iter().enumerate() {
        if index == time || ignored.contains(name) {
            continue;
        }
        if name.is_empty() {
            unnamed.push(index + 1);
            continue;
        }
        if let Some(first) = seen.insert(*name, index + 1) {
            return Err(TableError {
                place: Place {
                    column: Some(Column {
                        number: index + 1,
                        name: (*name).to_owned(),
                    }),
                    ..place.clone()
                },
                problem: Problem::DuplicateColumn { first },
            });
        }
        others.push((index, (*name).to_owned()));
    }
    if others.is_empty() {
        return Err(refuse(Problem::NoMetrics(String::new())));
    }
    Ok(Header {
        time,
        others,
        unnamed,
    })
}

fn time_column(names: &[&str], options: &TableOptions) -> Result<usize, Problem> {
    if let Some(asked) = &options.time_column {
        return find(names, asked);
    }
    TIME_NAMES
        .iter()
        .find_map(|known| {
            names
                .iter()
                .position(|name| name.eq_ignore_ascii_case(known))
        })
        .ok_or_else(|| Problem::NoTimeColumn(listed(names)))
}

/// The column of this name.
fn find(names: &[&str], asked: &str) -> Result<usize, Problem> {
    names.iter().position(|name| *name == asked).ok_or_else(|| {
        let similar = names
            .iter()
            .map(|name| (strsim::normalized_damerau_levenshtein(name, asked), name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(similar, _)| *similar >= SIMILAR);
        let hint = match similar {
            Some((_, name)) => format!("did you mean `{name}`?"),
            None => format!("the columns are {}", listed(names)),
        };
        Problem::UnknownColumn {
            name: asked.to_owned(),
            hint,
        }
    })
}
