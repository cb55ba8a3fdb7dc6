//! What was understood of a table in a way that its user should know of.

use std::fmt;

/// What stands behind the name of a column once it was found late to be a counter.
pub(super) const RATE_SUFFIX: &str = "_per_s";

/// Something to tell the user. Each is noted once, when it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Columns of text, which are left out.
    Labels(Vec<String>),
    /// Columns without a name, counted from 1, which are left out.
    Unnamed(Vec<usize>),
    /// Columns that are counters: from this line on their rates are read.
    Counters {
        /// Their names.
        names: Vec<String>,
        /// The line, counted from 1.
        line: u64,
    },
    /// Columns that stood still at first and are counters after all: from the row after this line on
    /// their rates are read, as metrics of other names.
    LateCounters {
        /// Their names in the header.
        names: Vec<String>,
        /// The line, counted from 1.
        line: u64,
    },
    /// Columns that were held for counters and keep falling: from this line on they are gauges.
    NoCounters {
        /// Their names.
        names: Vec<String>,
        /// The line, counted from 1.
        line: u64,
    },
    /// The first row whose time lies before that of the row before.
    Backward {
        /// The line, counted from 1.
        line: u64,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(names) => write!(f, "left out, as they hold text: {}", listed(names)),
            Self::Unnamed(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "left out, as they have no name: columns {}",
                    numbers.join(", ")
                )
            }
            Self::Counters { names, line } => write!(
                f,
                "read as counters, by their rate per second: {} (found by line {line}; \
                 `--gauges NAME` overrides)",
                listed(names)
            ),
            Self::LateCounters { names, line } => write!(
                f,
                "counters that stood still at first, from line {line} on read by their rate per second, \
                 with `{RATE_SUFFIX}` behind their names: {} (`--counters NAME` reads one so from the \
                 start, `--gauges NAME` never)",
                listed(names)
            ),
            Self::NoCounters { names, line } => write!(
                f,
                "no counters after all, read as they stand from line {line} on: {}",
                listed(names)
            ),
            Self::Backward { line } => write!(
                f,
                "line {line}: the time runs back; such a row counts as of the latest time before it"
            ),
        }
    }
}

/// Names as a person reads them, the first ones when there are many.
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|n| format!("`{}`", n.as_ref()))
        .collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("{}{more}", shown.join(", "))
}
