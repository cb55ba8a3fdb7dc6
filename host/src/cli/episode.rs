//! Episodes of a table: which rows are abnormal, and how far each metric is from its normal in
//! them.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde::{Serialize, Serializer};

use super::complain;
use crate::signature::{Deviations, LEAST_NORMAL_ROWS, NORMAL_ROWS};
use crate::table::{Note, TableOptions, TableReader};

/// Rows from the first to the last, both included, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Rows {
    fn contain(self, row: u64) -> bool {
        (self.first..=self.last).contains(&row)
    }
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let ends = text.split_once("..").and_then(|(first, last)| {
            let last = last.strip_prefix('=').unwrap_or(last);
            Some((number(first)?, number(last)?))
        });
        match ends {
            Some((first, last)) if first <= last => Ok(Self { first, last }),
            Some((first, last)) => Err(format!("row {last} comes before row {first}")),
            None => Err("write A..B, the first and the last row, counted from 0".into()),
        }
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.first, self.last].serialize(serializer)
    }
}

/// A table that can be read more than once.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    /// What came from standard input.
    piped: Option<Vec<u8>>,
    /// With what is a counter decided by the whole table: a stream has to hold back what may be one,
    /// and a short table would lose the metrics that never fall in it.
    options: TableOptions,
}

impl Table {
    /// `-` is standard input, which is read to its end. The table is read through once.
    pub(crate) fn new(path: &Path, options: TableOptions) -> anyhow::Result<Self> {
        let piped = if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .context("standard input")?;
            Some(bytes)
        } else {
            None
        };
        let mut table = Self {
            path: path.to_owned(),
            piped,
            options,
        };
        table.decide_counters()?;
        Ok(table)
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        match self.piped {
            Some(_) => "standard input".into(),
            None => self.path.display().to_string(),
        }
    }

    /// Begins to read it.
    pub(crate) fn open(&self) -> anyhow::Result<TableReader> {
        let (name, options) = (self.name(), &self.options);
        if let Some(bytes) = &self.piped {
            return Ok(TableReader::new(name, Cursor::new(bytes.clone()), options)?);
        }
        let file = File::open(&self.path).with_context(|| self.name())?;
        Ok(TableReader::new(name, file, options)?)
    }

    /// How far each metric is from its normal in each of these episodes: from the rows right before
    /// it that belong to none of them.
    pub(crate) fn deviations(&self, episodes: &[Rows]) -> anyhow::Result<Vec<Deviations>> {
        let mut reader = self.open()?;
        let names = reader.metrics().to_vec();
        let mut normal: VecDeque<Vec<Option<f64>>> = VecDeque::new();
        let mut read: Vec<Episode> = episodes.iter().map(|_| Episode::default()).collect();
        let mut rows = 0;
        while let Some(row) = reader.next_row()? {
            rows = row.index + 1;
            let mut calm = true;
            for (episode, at) in read.iter_mut().zip(episodes) {
                if row.index == at.first {
                    episode.normal = normal.iter().cloned().collect();
                }
                if at.contain(row.index) {
                    calm = false;
                    episode.abnormal.push(row.values.to_vec());
                }
            }
            if calm {
                if normal.len() == NORMAL_ROWS {
                    normal.pop_front();
                }
                normal.push_back(row.values.to_vec());
            }
        }
        let mut all = Vec::new();
        for (episode, at) in read.iter().zip(episodes) {
            if at.last >= rows {
                bail!(
                    "{}: rows {at} are not all there: it has {rows} rows, counted from 0",
                    self.name()
                );
            }
            if episode.normal.len() < LEAST_NORMAL_ROWS {
                bail!(
                    "{}: {} normal rows before row {}, which is too few to tell what is normal: at \
                     least {LEAST_NORMAL_ROWS} rows must come before the abnormal ones",
                    self.name(),
                    episode.normal.len(),
                    at.first
                );
            }
            all.push(episode.deviations(&names));
        }
        Ok(all)
    }

    fn decide_counters(&mut self) -> anyhow::Result<()> {
        let mut reader = self.open()?;
        let columns = reader.metrics().to_vec();
        let mut counters = BTreeSet::new();
        loop {
            let more = reader.next_row()?.is_some();
            for note in reader.take_notes() {
                let note = match note {
                    // Read again, it is one from the start, by its own name.
                    Note::LateCounters { names, line } => Note::Counters { names, line },
                    note => note,
                };
                match &note {
                    Note::Counters { names, .. } => counters.extend(names.iter().cloned()),
                    Note::NoCounters { names, .. } => {
                        for name in names {
                            counters.remove(name);
                        }
                    }
                    _ => {}
                }
                complain(&format!("note: {note}"));
            }
            if !more {
                break;
            }
        }
        let gauges = columns.into_iter().filter(|m| !counters.contains(m));
        self.options.gauges = gauges.collect();
        self.options.counters = counters.into_iter().collect();
        Ok(())
    }
}

/// The rows of one episode.
#[derive(Debug, Default)]
struct Episode {
    normal: Vec<Vec<Option<f64>>>,
    abnormal: Vec<Vec<Option<f64>>>,
}

impl Episode {
    fn deviations(&self, names: &[String]) -> Deviations {
        let column = |rows: &[Vec<Option<f64>>], metric: usize| -> Vec<f64> {
            rows.iter().filter_map(|row| row[metric]).collect()
        };
        let columns: Vec<(Vec<f64>, Vec<f64>)> = (0..names.len())
            .map(|m| (column(&self.normal, m), column(&self.abnormal, m)))
            .collect();
        Deviations::between(
            names
                .iter()
                .zip(&columns)
                .map(|(name, (normal, abnormal))| (name.as_str(), &normal[..], &abnormal[..])),
        )
    }
}
