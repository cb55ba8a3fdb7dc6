//! A line that shows how far something has come; on a terminal only.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::somebody_looks_on;
use crate::decision_log::Progress;

/// Between two changes of the line.
const PAUSE: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR: u64 = 30;

/// The line, and a clock for the rate.
pub(crate) struct ProgressLine {
    shown: bool,
    started: Instant,
    next: Duration,
    drawn: bool,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self {
            shown: somebody_looks_on(),
            started: Instant::now(),
            next: PAUSE,
            drawn: false,
        }
    }

    /// The same for a command whose data are written meanwhile: on the terminal that gets them, they
    /// show it themselves.
    pub(crate) fn beside_data() -> Self {
        let mut line = Self::new();
        line.shown &= !std::io::stdout().is_terminal();
        line
    }

    /// So much of so much is done, and so many things with it.
    pub(crate) fn at(&mut self, done: u64, of: u64, things: u64, called: &str) {
        self.draw(things, called, || {
            let filled = BAR * done.min(of) / of.max(1);
            let bar: String = (0..BAR)
                .map(|i| if i < filled { '#' } else { '.' })
                .collect();
            let percent = 100 * done.min(of) / of.max(1);
            format!("[{bar}] {percent:>3} %  ")
        });
    }

    /// A decision log is gone through so far.
    pub(crate) fn decisions(&mut self, progress: &Progress) {
        self.at(
            progress.bytes,
            progress.of_bytes,
            progress.decisions,
            "decisions",
        );
    }

    /// So many things are done; nobody knows of how many.
    pub(crate) fn count(&mut self, things: u64, called: &str) {
        self.draw(things, called, String::new);
    }

    fn draw(&mut self, things: u64, called: &str, share: impl FnOnce() -> String) {
        if !self.shown {
            return;
        }
        let elapsed = self.started.elapsed();
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + PAUSE;
        self.drawn = true;
        let (share, rate) = (share(), rate(things, elapsed));
        // A closed standard error is nobody's loss.
        drop(write!(
            std::io::stderr().lock(),
            "\r{share}{things} {called}, {rate}/s\x1b[K"
        ));
    }

    /// Takes the line away, to make room for another.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            drop(write!(std::io::stderr().lock(), "\r\x1b[K"));
        }
    }

    /// Takes the line away. How many of so many things were done in a second.
    pub(crate) fn end(mut self, things: u64) -> u64 {
        self.clear();
        rate(things, self.started.elapsed())
    }
}

fn rate(things: u64, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    things.saturating_mul(1_000_000) / micros.max(1)
}
