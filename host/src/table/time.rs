//! Times in cells, and time that never runs back.
//!
//! A time without a zone counts as UTC: nothing here asks the machine for its own zone, so the same
//! table gives the same result everywhere.

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

/// Steps back in a row, from the table's start, that show that it runs from newest to oldest.
const NEWEST_FIRST_AFTER: u32 = 3;

/// How the cells of a time column are written. Found from the first and kept, so that a number that
/// grows does not change its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// A date, with or without a time and a zone.
    Calendar,
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
    /// The format of a cell; none when it is no time.
    pub(super) fn of(cell: &str) -> Option<Self> {
        let cell = cell.trim();
        if let Some(number) = number(cell) {
            return Some(Self::Epoch(Unit::of(number)));
        }
        calendar_ms(cell).map(|_| Self::Calendar)
    }

    /// The time in a cell, milliseconds since the Unix epoch; none when it is no time of this
    /// format, or one before 1970.
    pub(super) fn read(self, cell: &str) -> Option<u64> {
        let cell = cell.trim();
        match self {
            Self::Calendar => calendar_ms(cell),
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
/// A row that comes late counts as of the time of the row before it. When the rows after it go on
/// from there (a clock was set back, a file appended that starts earlier), time goes on with their
/// steps.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    rows: u64,
    at_ms: u64,
    /// The largest time read since the clock was last set back.
    latest_ms: u64,
    /// The time of the row before, if that row was late.
    late_ms: Option<u64>,
    /// Added to what is read since the clock was set back.
    offset_ms: i64,
    steps_back: u32,
}

/// Where a row stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Milliseconds since the Unix epoch; never less than that of the row before.
    pub(super) at_ms: u64,
    /// Whether the time in the row lies before that of the row before.
    pub(super) backward: bool,
}

impl Timeline {
    /// Places the next row; none when the rows run from newest to oldest.
    pub(super) fn place(&mut self, read_ms: u64) -> Option<Placed> {
        let first = self.rows == 0;
        self.rows += 1;
        if first || read_ms >= self.latest_ms {
            self.latest_ms = read_ms;
            self.late_ms = None;
            self.at_ms = self
                .at_ms
                .max(read_ms.saturating_add_signed(self.offset_ms));
            return Some(Placed {
                at_ms: self.at_ms,
                backward: false,
            });
        }
        let Some(late_ms) = self.late_ms.replace(read_ms) else {
            self.steps_back += 1;
            return self.unless_newest_first();
        };
        if read_ms < late_ms {
            self.steps_back += 1;
            return self.unless_newest_first();
        }
        // The second row that goes on from the earlier time: the clock was set back.
        self.at_ms = self.at_ms.saturating_add(read_ms - late_ms);
        self.offset_ms = i64::try_from(i128::from(self.at_ms) - i128::from(read_ms)).unwrap_or(0);
        self.latest_ms = read_ms;
        self.late_ms = None;
        Some(Placed {
            at_ms: self.at_ms,
            backward: false,
        })
    }

    fn unless_newest_first(&self) -> Option<Placed> {
        let all_back = u64::from(self.steps_back) == self.rows - 1;
        let newest_first = all_back && self.steps_back >= NEWEST_FIRST_AFTER;
        (!newest_first).then_some(Placed {
            at_ms: self.at_ms,
            backward: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &str) -> Option<u64> {
        TimeFormat::of(cell)?.read(cell)
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
        let seconds = TimeFormat::of("99999999999").unwrap();
        assert_eq!(seconds.read("100000000000"), Some(100_000_000_000_000));
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
            placed(&[100, 110, 0, 10, 20]),
            all(&[100, 110, 110, 120, 130])
        );
        assert_eq!(
            placed(&[40, 30, 20, 10]),
            [Some(40), Some(40), Some(40), None]
        );
    }
}
