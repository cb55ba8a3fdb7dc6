//! Tables of telemetry from outside: a column of time, any number of metrics, one row at a time.
//!
//! CSV with a header, separated by comma, semicolon, tab or bar, compressed with gzip or not, from
//! a file or a pipe. Memory does not grow with the rows, and no row waits for the next one. What
//! has more than one meaning is refused with file, line and column; what was understood in a way
//! that a user should know of is a [`Note`]. Nothing is judged or printed here.

mod counters;
mod error;
mod header;
mod input;
mod note;
mod time;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};

use counters::Found;
pub use error::{Column, Place, Problem, TableError};
pub use note::Note;
use note::RATE_SUFFIX;
use time::{Order, TimeFormat, Timeline, Unit};

/// The longest row that is read, bytes.
pub const ROW_BYTES: usize = 16 << 20;

/// What stands for a missing value besides an empty cell and a number that is not finite.
const MISSING: &[&str] = &[
    "null",
    "none",
    "na",
    "n/a",
    "#n/a",
    "nil",
    "undefined",
    "-",
    "--",
    "?",
    "\\n",
];

/// What the user says of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// The column of time; found by its name when not given.
    pub time_column: Option<String>,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Columns that are counters; `*` for all that are not named as gauges.
    pub counters: Vec<String>,
    /// Columns that are gauges; `*` for all that are not named as counters.
    pub gauges: Vec<String>,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Its number among the rows, counted from 0; the header does not count.
    pub index: u64,
    /// Its line in the text, counted from 1.
    pub line: u64,
    /// Its time, milliseconds since the Unix epoch, never less than that of the row before. A time
    /// without a zone counts as UTC.
    pub at_ms: u64,
    /// Its time as it stands in the table.
    pub time_text: &'a str,
    /// One for each of [`TableReader::metrics`], in that order: a finite number, of a counter its
    /// rate per second; none where the cell is empty or no number (NaN, infinity, `null`), at a
    /// counter's resets, of a counter in a row that comes late, and while it is not known whether a
    /// column is a counter.
    pub values: &'a [Option<f64>],
}

/// A metric's place in the rows of the text.
#[derive(Debug)]
struct MetricColumn {
    index: usize,
    name: String,
    counter: counters::Column,
    cells: Cells,
}

/// What the cells of a column were so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cells {
    Missing,
    Numbers,
    Text,
}

/// Reads a table row by row.
pub struct TableReader {
    file: String,
    csv: csv::Reader<Box<dyn Read>>,
    since_row: Rc<Cell<usize>>,
    record: ByteRecord,
    /// The line that `record` begins at.
    line: u64,
    /// Whether `record` holds the first row, which was read ahead.
    ahead: bool,
    /// Whether a comma stands before the decimals, as where a semicolon separates.
    decimal_comma: bool,
    time: Column,
    unit: Option<Unit>,
    format: Option<TimeFormat>,
    timeline: Timeline,
    backward_rows: u64,
    names: Vec<String>,
    columns: Vec<MetricColumn>,
    values: Vec<Option<f64>>,
    rows: u64,
    notes: Vec<Note>,
}

impl TableReader {
    /// Opens a file. Its first row is read ahead, to tell metrics from text.
    pub fn open(path: &Path, options: &TableOptions) -> Result<Self, TableError> {
        Self::open_with(path, options, |file| file)
    }

    /// Opens a file and reads it through what `through` makes of it.
    pub fn open_with<R: Read + 'static>(
        path: &Path,
        options: &TableOptions,
        through: impl FnOnce(File) -> R,
    ) -> Result<Self, TableError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, through(file), options),
            Err(error) => Err(TableError {
                place: Place {
                    file: name,
                    line: None,
                    column: None,
                },
                problem: Problem::Io(error),
            }),
        }
    }

    /// Reads from anything; `name` is what messages call it. Waits for the first row.
    pub fn new(
        name: String,
        input: impl Read + 'static,
        options: &TableOptions,
    ) -> Result<Self, TableError> {
        let mut place = Place {
            file: name,
            line: None,
            column: None,
        };
        let input = match input::open(input) {
            Ok(input) => input,
            Err(problem) => return Err(TableError { place, problem }),
        };
        if input.first_line.trim_ascii().is_empty() {
            return Err(TableError {
                place,
                problem: Problem::Empty,
            });
        }
        let separator = header::separator(&input.first_line);
        let mut csv = ReaderBuilder::new()
            .delimiter(separator)
            .buffer_capacity(input::BUFFER_BYTES)
            .from_reader(input.text);
        let record = match csv.byte_headers() {
            Ok(record) => record.clone(),
            Err(error) => {
                return Err(TableError {
                    place,
                    problem: problem_of(error),
                });
            }
        };
        place.line = Some(line_of(&csv, &record));
        let header = header::read(&record, &place, options)?;
        let mut notes = Vec::new();
        if !header.unnamed.is_empty() {
            notes.push(Note::Unnamed(header.unnamed));
        }
        let time = Column {
            number: header.time + 1,
            name: String::from_utf8_lossy(&record[header.time])
                .trim()
                .to_owned(),
        };
        let unit = Unit::named(&time.name);
        let mut reader = Self {
            file: place.file,
            csv,
            since_row: input.since_row,
            record: ByteRecord::new(),
            line: 0,
            ahead: false,
            decimal_comma: separator == b';',
            time,
            unit,
            format: None,
            timeline: Timeline::default(),
            backward_rows: 0,
            names: Vec::new(),
            columns: Vec::new(),
            values: Vec::new(),
            rows: 0,
            notes,
        };
        reader.ahead = reader.read_record()?;
        reader.choose_metrics(header.others, options)?;
        Ok(reader)
    }

    /// The names of the metrics in the next row. Columns of text are not among them; a column that is
    /// empty at first and turns out to hold text stays without values. They are those of the columns,
    /// except after a [`Note::LateCounters`].
    pub fn metrics(&self) -> &[String] {
        &self.names
    }

    /// The name of the time column.
    pub fn time_column(&self) -> &str {
        &self.time.name
    }

    /// What was noticed since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Rows so far whose time lies before that of the row before.
    pub fn backward_rows(&self) -> u64 {
        self.backward_rows
    }

    /// The next row; none at the end. Nothing is allocated for it.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        if !std::mem::take(&mut self.ahead) && !self.read_record()? {
            return Ok(None);
        }
        let line = self.line;
        let (at_ms, order) = self.read_time(line)?;
        self.read_values(line, at_ms, order)?;
        let index = self.rows;
        self.rows += 1;
        let time_text = self.record.get(self.time.number - 1).unwrap_or_default();
        Ok(Some(Row {
            index,
            line,
            at_ms,
            time_text: std::str::from_utf8(time_text).unwrap_or_default(),
            values: &self.values,
        }))
    }

    fn read_record(&mut self) -> Result<bool, TableError> {
        self.since_row.set(0);
        let begun = self.csv.position().line();
        match self.csv.read_byte_record(&mut self.record) {
            Ok(more) => {
                self.line = line_of(&self.csv, &self.record);
                Ok(more)
            }
            Err(error) => {
                let line = match error.kind() {
                    csv::ErrorKind::UnequalLengths { .. } => line_of(&self.csv, &self.record),
                    _ => begun,
                };
                Err(self.error(Some(line), None, problem_of(error)))
            }
        }
    }

    /// Leaves out the columns that hold text in the first row.
    fn choose_metrics(
        &mut self,
        others: Vec<(usize, String)>,
        options: &TableOptions,
    ) -> Result<(), TableError> {
        let (mut labels, mut counters) = (Vec::new(), Vec::new());
        let named = counters::Named::by(options);
        for (index, name) in others {
            let cell = self.record.get(index).unwrap_or_default();
            let cells = match read_number(cell, self.decimal_comma) {
                Number::Missing => Cells::Missing,
                Number::Finite(_) => Cells::Numbers,
                Number::Text => {
                    labels.push(name);
                    continue;
                }
            };
            let counter = counters::Column::new(&name, &named);
            if counter.is_counter() {
                counters.push(name.clone());
            }
            self.columns.push(MetricColumn {
                index,
                name: name.clone(),
                counter,
                cells,
            });
            self.names.push(name);
        }
        if self.names.is_empty() {
            let text = format!("; all columns hold text: {}", note::listed(&labels));
            let line = Some(self.line);
            return Err(self.error(line, None, Problem::NoMetrics(text)));
        }
        if !labels.is_empty() {
            self.notes.push(Note::Labels(labels));
        }
        if !counters.is_empty() {
            let line = self.line;
            self.notes.push(Note::Counters {
                names: counters,
                line,
            });
        }
        self.values = vec![None; self.names.len()];
        Ok(())
    }

    fn read_time(&mut self, line: u64) -> Result<(u64, Order), TableError> {
        let cell = self.record.get(self.time.number - 1).unwrap_or_default();
        let read_ms = std::str::from_utf8(cell)
            .map_err(|_| Problem::NotUtf8)
            .and_then(|text| {
                let format = self.format.or_else(|| TimeFormat::of(text, self.unit));
                self.format = format;
                format
                    .and_then(|format| format.read(text))
                    .ok_or_else(|| Problem::NotATime(excerpt(cell)))
            });
        let placed = read_ms.and_then(|ms| self.timeline.place(ms).ok_or(Problem::NewestFirst));
        let placed = match placed {
            Ok(placed) => placed,
            Err(problem) => return Err(self.error(Some(line), Some(self.time.clone()), problem)),
        };
        if placed.order == Order::Late {
            self.backward_rows += 1;
            if self.backward_rows == 1 {
                self.notes.push(Note::Backward { line });
            }
        }
        Ok((placed.at_ms, placed.order))
    }

    fn read_values(&mut self, line: u64, at_ms: u64, order: Order) -> Result<(), TableError> {
        let decimal_comma = self.decimal_comma;
        let (mut counters, mut late, mut no_counters) = (Vec::new(), Vec::new(), Vec::new());
        for (position, column) in self.columns.iter_mut().enumerate() {
            let cell = self.record.get(column.index).unwrap_or_default();
            self.values[position] = None;
            if order == Order::Anew {
                column.counter.begin_anew();
            }
            match (read_number(cell, decimal_comma), column.cells) {
                (Number::Missing, _) | (_, Cells::Text) => {}
                (Number::Finite(value), _) => {
                    column.cells = Cells::Numbers;
                    if order == Order::Late {
                        self.values[position] = column.counter.take_late(value);
                        continue;
                    }
                    let (seen, found) = column.counter.take(at_ms, value);
                    self.values[position] = seen;
                    match found {
                        Found::Nothing => {}
                        Found::Counter => counters.push(column.name.clone()),
                        Found::LateCounter => {
                            // Not the series that its levels were.
                            let mut name = column.name.clone();
                            while self.names.contains(&name) {
                                name.push_str(RATE_SUFFIX);
                            }
                            self.names[position] = name;
                            late.push(column.name.clone());
                        }
                        Found::NoCounter => {
                            self.names[position].clone_from(&column.name);
                            no_counters.push(column.name.clone());
                        }
                    }
                }
                (Number::Text, Cells::Missing) => {
                    column.cells = Cells::Text;
                    self.notes.push(Note::Labels(vec![column.name.clone()]));
                }
                (Number::Text, Cells::Numbers) => {
                    let problem = match std::str::from_utf8(cell) {
                        Ok(_) => Problem::NotANumber(excerpt(cell)),
                        Err(_) => Problem::NotUtf8,
                    };
                    let column = Column {
                        number: column.index + 1,
                        name: column.name.clone(),
                    };
                    return Err(self.error(Some(line), Some(column), problem));
                }
            }
        }
        if !counters.is_empty() {
            self.notes.push(Note::Counters {
                names: counters,
                line,
            });
        }
        if !late.is_empty() {
            self.notes.push(Note::LateCounters { names: late, line });
        }
        if !no_counters.is_empty() {
            self.notes.push(Note::NoCounters {
                names: no_counters,
                line,
            });
        }
        Ok(())
    }
}

impl TableReader {
    fn error(&self, line: Option<u64>, column: Option<Column>, problem: Problem) -> TableError {
        TableError {
            place: Place {
                file: self.file.clone(),
                line,
                column,
            },
            problem,
        }
    }
}

/// What stands in a cell.
enum Number {
    Finite(f64),
    Missing,
    Text,
}

fn read_number(cell: &[u8], decimal_comma: bool) -> Number {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return Number::Missing;
    }
    let Ok(text) = std::str::from_utf8(cell) else {
        return Number::Text;
    };
    let mut number = text.parse::<f64>().ok();
    if number.is_none() && decimal_comma && text.matches(',').count() == 1 && !text.contains('.') {
        number = text.replace(',', ".").parse().ok();
    }
    match number {
        Some(number) if number.is_finite() => Number::Finite(number),
        Some(_) => Number::Missing,
        None if MISSING.iter().any(|word| word.eq_ignore_ascii_case(text)) => Number::Missing,
        None => Number::Text,
    }
}

/// A cell as it is shown in a message.
fn excerpt(cell: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(cell);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// The line that the record just read begins at. The position that comes with a record is where
/// reading began, blank lines before it included; every line has its end (see `input`), so it can be
/// counted back from where reading stands now.
fn line_of<R: Read>(csv: &csv::Reader<R>, record: &ByteRecord) -> u64 {
    let fields = record.as_slice();
    let inside = fields.split(|&byte| byte == b'\n').count() as u64 - 1;
    csv.position().line().saturating_sub(1 + inside)
}

fn problem_of(error: csv::Error) -> Problem {
    match error.into_kind() {
        csv::ErrorKind::Io(io) => input::problem_of(io),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Problem::Ragged {
            expected: expected_len,
            found: len,
        },
        // The rest concerns text, positions and serde, none of which is used here.
        other => Problem::Io(std::io::Error::other(format!("{other:?}"))),
    }
}
