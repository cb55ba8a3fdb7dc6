//! What dbmedic said, and when it looked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// A problem that dbmedic found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) target: String,
    pub(crate) kind: String,
}

/// The lines of a dbmedic.
pub(crate) struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    /// Listens to both of its outputs.
    pub(crate) fn of(child: &mut Child) -> anyhow::Result<Self> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().context("no output")?;
        let stderr = child.stderr.take().context("no output")?;
        for input in [
            Box::new(BufReader::new(stdout)) as Box<dyn BufRead + Send>,
            Box::new(BufReader::new(stderr)),
        ] {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in input.lines().map_while(Result::ok) {
                    // Everything else only takes room.
                    if line.contains("incident_opened") || !line.starts_with('{') {
                        lines
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(line);
                    }
                }
            });
        }
        Ok(Self { lines })
    }

    /// The last that it said.
    pub(crate) fn last_words(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.len().saturating_sub(5);
        lines[last..].join("\n")
    }

    /// The problems that it found.
    pub(crate) fn found(&self) -> Vec<Found> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let opened = &line["effect"]["incident_opened"];
            Some(Found {
                target: opened["target"].as_str()?.to_owned(),
                kind: opened["finding"]["kind"].as_str()?.to_owned(),
            })
        });
        found.collect()
    }
}

/// When each target was looked at.
pub(crate) struct Looks {
    times: BTreeMap<String, Vec<u64>>,
    /// How long was looked, milliseconds.
    time_ms: u64,
}

impl Looks {
    /// Reads the last so many milliseconds of a recording. The target that is `left_out` does not answer.
    pub(crate) fn read(
        recording: &Path,
        time_ms: u64,
        left_out: Option<&str>,
    ) -> anyhow::Result<Self> {
        let file = File::open(recording)?;
        let mut times: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut last_ms = 0;
        for line in BufReader::new(file).lines() {
            let line = line?;
            if !line.contains("\"observed\"") {
                continue;
            }
            // The last line may be half written.
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let observed = &line["event"]["observed"];
            let (Some(target), Some(at_ms)) =
                (observed["target"].as_str(), observed["at_ms"].as_u64())
            else {
                continue;
            };
            last_ms = last_ms.max(at_ms);
            if Some(target) != left_out {
                times.entry(target.to_owned()).or_default().push(at_ms);
            }
        }
        let first_ms = last_ms.saturating_sub(time_ms);
        for times in times.values_mut() {
            times.sort_unstable();
            times.retain(|at_ms| *at_ms >= first_ms);
            // A target that is not looked at any more shows at the end.
            times.push(last_ms);
        }
        Ok(Self { times, time_ms })
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn per_second(&self) -> f64 {
        let all: usize = self.times.values().map(|times| times.len() - 1).sum();
        all as f64 * 1000.0 / self.time_ms as f64
    }

    /// As many looks as there are in a time.
    pub(crate) fn in_time(&self, time: Duration) -> f64 {
        self.per_second() * time.as_secs_f64()
    }

    pub(crate) fn targets(&self) -> usize {
        self.times.values().filter(|times| times.len() > 1).count()
    }

    fn longest(&self) -> Option<(u64, &str)> {
        let gaps = self.times.iter().flat_map(|(target, times)| {
            let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
            gaps.map(move |gap| (gap, target.as_str()))
        });
        gaps.max()
    }

    /// The longest gaps, for whoever looks for their cause: of which target, how long, and how long before
    /// the end.
    pub(crate) fn longest_gaps(&self) -> Vec<String> {
        let mut gaps: Vec<(u64, u64, &str)> = Vec::new();
        let mut end_ms = 0;
        for (target, times) in &self.times {
            gaps.extend(
                times
                    .windows(2)
                    .map(|pair| (pair[1] - pair[0], pair[0], target.as_str())),
            );
            end_ms = end_ms.max(times.last().copied().unwrap_or(0));
        }
        gaps.sort_unstable();
        let longest = gaps.iter().rev().take(8);
        longest
            .map(|(gap, at, target)| {
                format!("{target}: {gap} ms, {} ms before the end", end_ms - at)
            })
            .collect()
    }

    pub(crate) fn longest_gap_ms(&self) -> u64 {
        self.longest().map_or(u64::MAX, |(gap, _)| gap)
    }

    pub(crate) fn of_longest_gap(&self) -> &str {
        self.longest().map_or("none", |(_, target)| target)
    }
}
