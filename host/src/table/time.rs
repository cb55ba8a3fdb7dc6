//! Times in cells, and time that never runs back.
//!
//! A time without a zone counts as UTC: nothing here asks the machine for its own zone, so the same
//! table gives the same result everywhere.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

/// Steps back in a row, from the table's start, that show that it runs from newest to oldest.
const NEWEST_FIRST_AFTER: u32 = 3;

/// Late rows that go on from one another after which the clock was set back, or another episode
/// was appended. Fewer come from a second host or were sent again.
const SET_BACK_ROWS: u32 = 8;

/// Rows from then on that are an episode of their own: its time goes on past where the first ended.
const EPISODE_ROWS: u32 = 30;

/// Years that a date without separators may lie in. No time in seconds since 1970 that anybody has
/// measured so far looks like one.
const COMPACT_YEARS: std::ops::RangeInclusive<i16> = 1970..=2099;

/// How the cells of a time column are written. Found from the first and kept, so that a number that
/// grows does not change its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// A date, with or without a time and a zone.
    Calendar,
    /// A date in digits alone: `20260131`, or with hours, minutes, seconds and milliseconds.
    Compact,
    /// A number of this unit since 1970.
    Epoch(Unit),
}

/// The unit of an epoch time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    /// The unit that a column's name ends in, as `time_ms` does; none when it says none.
    pub(super) fn named(column: &str) -> Option<Self> {
        let between = |c: char| !c.is_alphanumeric();
        let (_, last) = column.trim_end_matches(between).rsplit_once(between)?;
        Some(match last.to_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => Self::Seconds,
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => {
                Self::Milliseconds
            }
            "us" | "\u{b5}s" | "\u{3bc}s" | "usec" | "usecs" | "micros" | "microsecond"
            | "microseconds" => Self::Microseconds,
            "ns" | "nsec" | "nsecs" | "nanos" | "nanosecond" | "nanoseconds" => Self::Nanoseconds,
            _ => return None,
        })
    }

    /// By magnitude: seconds reach 10^11 in the year 5138, milliseconds were there in 1973, and so
    /// on by thousands.
    fn of(number: f64) -> Self {
        match number {
            n if n < 1e11 => Self::Seconds,
            n if n < 1e14 => Self::Milliseconds,
            n if n < 1e17 => Self::Microseconds,
            _ => Self::Nanoseconds,
        }
    }
}

impl TimeFormat {
    /// The format of a cell of a column whose name says this unit; none when it is no time.
    pub(super) fn of(cell: &str, named: Option<Unit>) -> Option<Self> {
        let cell = cell.trim();
        if let Some(number) = number(cell) {
            return Some(match named {
                Some(unit) => Self::Epoch(unit),
                None if compact_ms(cell).is_some() => Self::Compact,
                None => Self::Epoch(Unit::of(number)),
            });
        }
        calendar_ms(cell).map(|_| Self::Calendar)
    }

    /// The time in a cell, milliseconds since the Unix epoch; none when it is no time of this
    /// format, or one before 1970.
    pub(super) fn read(self, cell: &str) -> Option<u64> {
        let cell = cell.trim();
        match self {
            Self::Calendar => calendar_ms(cell),
            Self::Compact => compact_ms(cell),
            Self::Epoch(unit) => epoch_ms(cell, unit),
        }
    }
}

/// A number that is finite and not negative.
fn number(cell: &str) -> Option<f64> {
    let first = *cell.as_bytes().first()?;
    if !(first.is_ascii_digit() || matches!(first, b'.' | b'+')) {
        return None;
    }
    let number: f64 = cell.parse().ok()?;
    number.is_finite().then_some(number)
}

fn epoch_ms(cell: &str, unit: Unit) -> Option<u64> {
    if let Ok(whole) = cell.parse::<u64>() {
        return match unit {
            Unit::Seconds => whole.checked_mul(1000),
            Unit::Milliseconds => Some(whole),
            Unit::Microseconds => Some(whole / 1000),
            Unit::Nanoseconds => Some(whole / 1_000_000),
        };
    }
    let number = number(cell)?;
    let ms = match unit {
        Unit::Seconds => number * 1e3,
        Unit::Milliseconds => number,
        Unit::Microseconds => number / 1e3,
        Unit::Nanoseconds => number / 1e6,
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and beyond u64 it is cut off there"
    )]
    let ms = ms.round() as u64;
    Some(ms)
}

fn calendar_ms(cell: &str) -> Option<u64> {
    // What databases, loggers and spreadsheets write besides ISO 8601 is turned into it first.
    let pieces = match Pieces::parse(cell) {
        Ok(pieces) => return to_ms(&pieces, None),
        Err(_) if cell.len() < 8 || cell.len() > 64 || !cell.is_ascii() => return None,
        Err(_) => cell.replace('/', "-"),
    };
    let (stamp, zone) = match pieces.rsplit_once(' ') {
        Some((stamp, zone)) if !zone.contains(':') || zone.starts_with(['+', '-']) => {
            (stamp.trim_end(), Some(offset(zone)?))
        }
        _ => (pieces.as_str(), None),
    };
    to_ms(&Pieces::parse(stamp).ok()?, zone)
}

/// The time in `YYYYMMDD`, with `hh`, `hhmm`, `hhmmss` or `hhmmssfff` behind it; none when there is
/// no such day or time.
fn compact_ms(digits: &str) -> Option<u64> {
    let written = matches!(digits.len(), 8 | 10 | 12 | 14 | 17);
    if !written || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |d| d.parse().ok());
    let (year, millis) = (part(0, 4)?, part(14, 17)?);
    let small = |from, to| i8::try_from(part(from, to)?).ok();
    let date = Date::new(year, small(4, 6)?, small(6, 8)?).ok()?;
    let time = Time::new(
        small(8, 10)?,
        small(10, 12)?,
        small(12, 14)?,
        i32::from(millis) * 1_000_000,
    );
    let at = Offset::UTC
        .to_timestamp(DateTime::from_parts(date, time.ok()?))
        .ok()?;
    COMPACT_YEARS
        .contains(&year)
        .then(|| u64::try_from(at.as_millisecond()).ok())?
}

/// An offset that stands apart, like `UTC`, `Z`, `+02`, `+0200` or `+02:00`.
fn offset(zone: &str) -> Option<Offset> {
    if ["UTC", "GMT", "Z"]
        .iter()
        .any(|name| zone.eq_ignore_ascii_case(name))
    {
        return Some(Offset::UTC);
    }
    Pieces::parse(&format!("2000-01-01T00:00:00{zone}"))
        .ok()?
        .to_numeric_offset()
}

fn to_ms(pieces: &Pieces<'_>, zone: Option<Offset>) -> Option<u64> {
    let zone = match (zone, pieces.to_numeric_offset()) {
        (Some(zone), _) | (None, Some(zone)) => zone,
        // A named zone without an offset would need a table of zones.
        (None, None) if pieces.time_zone_annotation().is_some() => return None,
        (None, None) => Offset::UTC,
    };
    let time = pieces.time().unwrap_or(Time::midnight());
    let at = zone
        .to_timestamp(DateTime::from_parts(pieces.date(), time))
        .ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// Puts the times of a table in an order that never runs back.
///
/// A row that comes late counts as of the latest time so far. When many rows go on from there (a
/// clock was set back, a file appended that starts earlier), time goes on with their steps; and it
/// is again what is read once that passes what was read before, as when the clock is put right.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    rows: u64,
    at_ms: u64,
    /// The largest time read since the clock was last set back.
    latest_ms: u64,
    /// The rows just before, if they came late.
    late: Option<Run>,
    /// Added to what is read since the clock was set back.
    offset_ms: i64,
    /// How it was before the clock was set back, to return to.
    before: Option<Before>,
    /// Whether the next row in order begins anew.
    anew: bool,
    steps_back: u32,
}

/// Late rows that go on from one another.
#[derive(Debug, Clone, Copy)]
struct Run {
    latest_ms: u64,
    rows: u32,
}

/// How a timeline was before the clock was set back.
#[derive(Debug, Clone, Copy)]
struct Before {
    latest_ms: u64,
    offset_ms: i64,
    /// Rows since then.
    rows: u32,
}

/// Where a row stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Milliseconds since the Unix epoch; never less than that of the row before.
    pub(super) at_ms: u64,
    pub(super) order: Order,
}

/// How a row stands to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It comes after it.
    Follows,
    /// It comes late: what it counts was counted before.
    Late,
    /// How long after the row before it comes is not known.
    Anew,
}

impl Timeline {
    /// Places the next row; none when the rows run from newest to oldest.
    pub(super) fn place(&mut self, read_ms: u64) -> Option<Placed> {
        self.rows += 1;
        self.return_to_before(read_ms);
        if self.rows == 1 || read_ms >= self.latest_ms {
            return Some(self.follow(read_ms));
        }
        let run = match self.late {
            Some(run) if read_ms >= run.latest_ms => run.rows + 1,
            _ => {
                self.steps_back += 1;
                1
            }
        };
        if run < SET_BACK_ROWS {
            self.late = Some(Run {
                latest_ms: read_ms,
                rows: run,
            });
            return self.unless_newest_first();
        }
        // What an unfinished episode goes back to is what that came from.
        let unfinished = self.before.filter(|before| before.rows < EPISODE_ROWS);
        self.before = Some(Before {
            rows: 0,
            ..unfinished.unwrap_or(Before {
                latest_ms: self.latest_ms,
                offset_ms: self.offset_ms,
                rows: 0,
            })
        });
        self.offset_ms = i64::try_from(i128::from(self.at_ms) - i128::from(read_ms)).unwrap_or(0);
        self.anew = true;
        Some(self.follow(read_ms))
    }

    /// Takes the time as it is read again when that passes all that was read before the clock was
    /// set back. An episode of its own goes on, unless that loses nothing of its time.
    fn return_to_before(&mut self, read_ms: u64) {
        let Some(before) = self.before.filter(|before| read_ms > before.latest_ms) else {
            return;
        };
        if before.rows < EPISODE_ROWS
            || read_ms.saturating_add_signed(before.offset_ms) >= self.at_ms
        {
            self.offset_ms = before.offset_ms;
            self.before = None;
            self.anew = true;
        }
    }

    fn follow(&mut self, read_ms: u64) -> Placed {
        self.latest_ms = read_ms;
        self.late = None;
        if let Some(before) = &mut self.before {
            before.rows = before.rows.saturating_add(1);
        }
        let at_ms = read_ms.saturating_add_signed(self.offset_ms);
        let order = if at_ms < self.at_ms {
            Order::Late
        } else if std::mem::take(&mut self.anew) {
            Order::Anew
        } else {
            Order::Follows
        };
        self.at_ms = self.at_ms.max(at_ms);
        Placed {
            at_ms: self.at_ms,
            order,
        }
    }

    fn unless_newest_first(&self) -> Option<Placed> {
        let all_back = u64::from(self.steps_back) == self.rows - 1;
        let newest_first = all_back && self.steps_back >= NEWEST_FIRST_AFTER;
        (!newest_first).then_some(Placed {
            at_ms: self.at_ms,
            order: Order::Late,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &str) -> Option<u64> {
        TimeFormat::of(cell, None)?.read(cell)
    }

    #[test]
    fn every_way_to_write_one_time() {
        let noon_ms = 1_769_860_800_000;
        for cell in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000Z",
            "2026-01-31t12:00:00z",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00",
            "2026-01-31 12:00:00",
            "2026-01-31 12:00:00.000000",
            "2026-01-31 12:00:00,000",
            "2026-01-31 12:00:00Z",
            "2026-01-31 12:00:00 UTC",
            "2026-01-31 12:00:00+00",
            "2026-01-31 14:00:00 +0200",
            "2026-01-31 14:00:00 +02:00",
            "2026-01-31 07:00:00-05",
            "2026/01/31 12:00:00",
            " 2026-01-31 12:00:00 ",
            "20260131120000",
            "20260131120000000",
            "202601311200",
            "2026013112",
            "20260131T120000Z",
            "1769860800",
            "1769860800.0",
            "1.7698608e9",
            "1769860800000",
            "1769860800000000",
            "1769860800000000000",
        ] {
            assert_eq!(read(cell), Some(noon_ms), "{cell}");
        }
        assert_eq!(read("2026-01-31 12:00:00.125"), Some(noon_ms + 125));
        assert_eq!(read("1769860800.125"), Some(noon_ms + 125));
        assert_eq!(read("2026-01-31"), Some(noon_ms - 12 * 3_600_000));
        assert_eq!(read("20260131"), Some(noon_ms - 12 * 3_600_000));
        assert_eq!(read("20260131120000125"), Some(noon_ms + 125));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("5"), Some(5000));
    }

    #[test]
    fn what_is_no_time() {
        for cell in [
            "",
            " ",
            "soon",
            "12:00:00",
            "31/01/2026 12:00:00",
            "2026-13-01 00:00:00",
            "-5",
            "2026-02-30",
            "NaN",
            "inf",
            "1960-01-01T00:00:00Z",
            "2026-01-31T12:00:00[Europe/Oslo]",
            "2026-01-31 12:00:00 noon",
            "é026-01-31 12:00:00 UTC",
        ] {
            assert_eq!(read(cell), None, "{cell}");
        }
    }

    #[test]
    fn a_unit_once_found_is_kept() {
        let seconds = TimeFormat::of("99999999999", None).unwrap();
        assert_eq!(seconds.read("100000000000"), Some(100_000_000_000_000));
    }

    #[test]
    fn the_name_of_a_column_says_the_unit() {
        use Unit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        for (name, unit) in [
            ("time_ms", Some(Milliseconds)),
            ("AT_MS", Some(Milliseconds)),
            ("Time (ms)", Some(Milliseconds)),
            ("ts.us", Some(Microseconds)),
            ("time [\u{b5}s]", Some(Microseconds)),
            ("timestamp-ns", Some(Nanoseconds)),
            ("elapsed_s", Some(Seconds)),
            ("uptime_seconds", Some(Seconds)),
            ("ts", None),
            ("ms", None),
            ("time", None),
            ("items", None),
            ("time_utc", None),
        ] {
            assert_eq!(Unit::named(name), unit, "{name}");
        }
        let ms = TimeFormat::of("0", Some(Milliseconds)).unwrap();
        assert_eq!(ms.read("1000"), Some(1000));
        // Even where the digits look like a date, or like another unit.
        for (cell, unit, ms) in [
            ("20260131120000", Milliseconds, 20_260_131_120_000),
            ("1769860800000000", Nanoseconds, 1_769_860_800),
            ("5", Microseconds, 0),
        ] {
            let format = TimeFormat::of(cell, Some(unit)).unwrap();
            assert_eq!(format.read(cell), Some(ms), "{cell}");
        }
        let date = TimeFormat::of("2026-01-31", Some(Milliseconds)).unwrap();
        assert_eq!(date, TimeFormat::Calendar);
    }

    #[test]
    fn a_column_of_compact_dates_holds_nothing_else() {
        let compact = TimeFormat::of("20260131235959", None).unwrap();
        for cell in ["20260131240000", "20260229", "1769860800000", "2026013", ""] {
            assert_eq!(compact.read(cell), None, "{cell}");
        }
        // No such day: seconds, as they are.
        assert_eq!(read("20261331"), Some(20_261_331_000));
    }

    fn placed(times: &[u64]) -> Vec<Option<u64>> {
        let mut timeline = Timeline::default();
        times
            .iter()
            .map(|&t| timeline.place(t).map(|p| p.at_ms))
            .collect()
    }

    fn all(times: &[u64]) -> Vec<Option<u64>> {
        times.iter().copied().map(Some).collect()
    }

    #[test]
    fn time_never_runs_back() {
        // In order, equal times, one late row, a clock set back, newest first.
        assert_eq!(placed(&[10, 20, 30]), all(&[10, 20, 30]));
        assert_eq!(placed(&[10, 10, 20]), all(&[10, 10, 20]));
        assert_eq!(placed(&[10, 20, 15, 30]), all(&[10, 20, 20, 30]));
        assert_eq!(
            placed(&[10, 20, 30, 15, 15, 40]),
            all(&[10, 20, 30, 30, 30, 40])
        );
        assert_eq!(
            placed(&[40, 30, 20, 10]),
            [Some(40), Some(40), Some(40), None]
        );
    }

    /// The times of an episode that begins at 0.
    fn episode(rows: u64) -> impl Iterator<Item = u64> {
        (0..rows).map(|row| row * 10)
    }

    #[test]
    fn an_episode_appended_goes_on_with_its_own_steps() {
        let times: Vec<u64> = episode(50).chain(episode(200)).collect();
        let placed: Vec<u64> = placed(&times).into_iter().flatten().collect();
        // It is known for one at its eighth row.
        assert_eq!(placed[49..58], [490; 9]);
        let steps = placed[57..].windows(2).map(|pair| pair[1] - pair[0]);
        assert!(steps.eq(std::iter::repeat_n(10, 200 - 8)), "{placed:?}");
    }

    #[test]
    fn a_clock_that_is_put_right_again_is_believed() {
        // An hour back for forty minutes, a minute between two rows.
        let times = (0..120).chain(60..100).chain(160..170);
        let times: Vec<u64> = times.map(|minute| minute * 60_000).collect();
        assert_eq!(placed(&times)[160..], all(&times[160..]));
    }

    #[test]
    fn two_hosts_in_one_table_do_not_shift_time() {
        for block in [1_u64, 2, 3, 10, 20] {
            let mut timeline = Timeline::default();
            let (mut latest, mut ahead) = (0, 0);
            for round in 0..100 {
                for lag in [0, 35] {
                    for row in 0..block {
                        let read = (round * block + row) * 10 + 1000 - lag;
                        latest = latest.max(read);
                        let placed = timeline.place(read).unwrap();
                        assert!(placed.at_ms >= latest, "{block} rows, {round}");
                        ahead = ahead.max(placed.at_ms - latest);
                    }
                }
            }
            assert!(ahead <= (block + 1) * 10, "{block} rows: {ahead} ms ahead");
        }
    }

    #[test]
    fn what_comes_late_is_told_from_what_follows() {
        let mut timeline = Timeline::default();
        let order =
            [10, 20, 15, 30, 30].map(|read_ms| timeline.place(read_ms).map(|placed| placed.order));
        assert_eq!(
            order.map(Option::unwrap),
            [
                Order::Follows,
                Order::Follows,
                Order::Late,
                Order::Follows,
                Order::Follows
            ]
        );
        let mut timeline = Timeline::default();
        let times = episode(50).chain(episode(50));
        let orders: Vec<Order> = times.map(|t| timeline.place(t).unwrap().order).collect();
        assert_eq!(orders[50..57], [Order::Late; 7]);
        assert_eq!(orders[57..59], [Order::Anew, Order::Follows]);
    }
}
