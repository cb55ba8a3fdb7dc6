//! What every command that reads a table takes, and what it tells of it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::complain;
use super::progress::ProgressLine;
use crate::table::{Note, TableError, TableOptions, TableReader};

/// How a table is read.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The column of time (default: found by its name, like time, timestamp, ts or date)
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// Leave these columns out; separate several by commas
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Read these columns by their rate per second, whatever the data look like; `*` for all
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    counters: Vec<String>,
    /// Read these columns as they stand, whatever the data look like; `*` for all
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    gauges: Vec<String>,
}

impl ReadArgs {
    pub(crate) fn options(&self) -> TableOptions {
        TableOptions {
            time_column: self.time_column.clone(),
            ignore: self.ignore.clone(),
            counters: self.counters.clone(),
            gauges: self.gauges.clone(),
        }
    }
}

/// A table that is read once, row by row, and how.
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    /// The table: CSV with a header, separated by comma, semicolon, tab or `|`, compressed with gzip
    /// or not; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

impl TableArgs {
    /// Opens the table. `before_waiting` is called whenever more input is asked for.
    pub(crate) fn open(
        &self,
        before_waiting: impl FnMut() -> io::Result<()> + 'static,
    ) -> Result<TableReader, TableError> {
        let options = self.read.options();
        let reader = if self.is_standard_input() {
            let input = Attentive {
                input: io::stdin().lock(),
                before_waiting,
            };
            TableReader::new("standard input".into(), input, &options)
        } else {
            TableReader::open_with(&self.file, &options, |input| Attentive {
                input,
                before_waiting,
            })
        };
        let mut reader = reader?;
        tell_notes(&mut reader, None);
        Ok(reader)
    }

    fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    /// What the table is called: the file's name up to its first dot, `stdin` for standard input.
    pub(crate) fn name(&self) -> String {
        if self.is_standard_input() {
            return "stdin".into();
        }
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        match name.split('.').find(|part| !part.is_empty()) {
            Some(stem) => stem.to_owned(),
            None => "table".into(),
        }
    }
}

/// Tells what the reader noticed, in the place of the line of progress. Says whether metrics may
/// have other names from now on.
pub(crate) fn tell_notes(
    reader: &mut TableReader,
    mut progress: Option<&mut ProgressLine>,
) -> bool {
    let mut renamed = false;
    for note in reader.take_notes() {
        renamed |= matches!(note, Note::LateCounters { .. } | Note::NoCounters { .. });
        if let Some(line) = &mut progress {
            line.clear();
        }
        complain(&format!("note: {note}"));
    }
    renamed
}

/// Input that lets something happen before it waits for more.
struct Attentive<R, F> {
    input: R,
    before_waiting: F,
}

impl<R: Read, F: FnMut() -> io::Result<()>> Read for Attentive<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.before_waiting)()?;
        self.input.read(buffer)
    }
}
