//! Streams of about ten recorded faults each, laid over one healthy trace at random places, each as
//! its difference from its own rows before the fault; and the judge of what is said of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::{Detections, detect, unpacked};

/// The faults that have rows before them.
const KINDS: [&str; 6] = [
    "concurrent_commits",
    "concurrent_inserts",
    "heavy_workload",
    "io_saturation",
    "lock_waits",
    "missing_indexes",
];
const EVENTS: usize = 10;
const ROW_MS: u64 = 5_000;
/// Rows before which nothing is laid over or judged, and between two faults.
const WARM_UP: usize = 360;
const APART: usize = 360;
/// Harmless switches of workload in the healthy trace, and the rows around them that stay free.
const SWITCHES: [(usize, usize); 3] = [(1430, 1455), (2868, 2900), (4315, 4375)];
const SWITCH_MARGIN: usize = 60;
/// A start so long after a fault still finds it; for so long after it none is false.
const HIT_AFTER: usize = 2;
const GRACE: usize = 12;

type Rows = Vec<Vec<f64>>;

/// What is laid over the healthy trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laid {
    Faults,
    /// The negative control.
    Health,
}

/// Rows of one episode, and those among them that are abnormal.
struct Episode {
    rows: Rows,
    abnormal: Range<usize>,
}

pub(crate) struct Recorded {
    names: Vec<String>,
    healthy: Rows,
    episodes: BTreeMap<&'static str, Vec<Episode>>,
    /// The least value ever seen of each metric.
    least: Vec<f64>,
}

/// Columns that tell on which day an experiment ran.
fn leaks(name: &str) -> bool {
    name.contains("settings_")
        || name.starts_with("filesystem_")
        || name.ends_with("_all_size")
        || name.starts_with("swap_")
        || name == "load_avg_15m"
}

/// Header, and for each row its episode and its values.
fn read(path: &Path) -> (Vec<String>, Vec<(usize, Vec<f64>)>) {
    let text = unpacked(path);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .skip(2)
        .map(str::to_owned)
        .collect();
    let rows = reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            let values = record.iter().skip(2).map(|v| v.parse().unwrap()).collect();
            (record[0].parse().unwrap(), values)
        })
        .collect();
    (header, rows)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    0.5 * (values[(n - 1) / 2] + values[n / 2])
}

impl Recorded {
    pub(crate) fn load(dir: &Path) -> Self {
        let (header, healthy) = read(&dir.join("normal.csv.gz"));
        let names: Vec<String> = header.into_iter().filter(|name| !leaks(name)).collect();
        let chosen = |header: &[String], row: &[f64]| -> Vec<f64> {
            names
                .iter()
                .map(|name| row[header.iter().position(|h| h == name).unwrap()])
                .collect()
        };
        let (header, _) = read(&dir.join("normal.csv.gz"));
        let healthy: Rows = healthy
            .iter()
            .map(|(_, row)| chosen(&header, row))
            .collect();
        let labels = std::fs::read(dir.join("labels.json")).unwrap();
        let labels: serde_json::Value = serde_json::from_slice(&labels).unwrap();
        let mut least: Vec<f64> = (0..names.len())
            .map(|at| {
                healthy
                    .iter()
                    .map(|row| row[at])
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
        let mut episodes = BTreeMap::new();
        for kind in KINDS {
            let (header, rows) = read(&dir.join(format!("{kind}.csv.gz")));
            let mut by_episode: BTreeMap<usize, Rows> = BTreeMap::new();
            for (episode, row) in &rows {
                let row = chosen(&header, row);
                for (least, value) in least.iter_mut().zip(&row) {
                    *least = least.min(*value);
                }
                by_episode.entry(*episode).or_default().push(row);
            }
            let index = |v: &serde_json::Value| usize::try_from(v.as_u64().unwrap()).unwrap();
            let of_kind = labels["episodes"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|label| {
                    let abnormal = label["abnormal"]
                        .as_array()
                        .filter(|_| label["fault"] == kind)?;
                    let abnormal = index(&abnormal[0])..index(&abnormal[1]) + 1;
                    let rows = by_episode.get(&index(&label["episode"]))?.clone();
                    (abnormal.start >= 4).then_some(Episode { rows, abnormal })
                });
            episodes.insert(kind, of_kind.collect());
        }
        Self {
            names,
            healthy,
            episodes,
            least,
        }
    }

    /// Rows of the healthy trace, as if they were an episode.
    fn placebo(&self, rng: &mut StdRng, length: usize) -> Episode {
        loop {
            let start = rng.random_range(WARM_UP..self.healthy.len() - 100);
            let clear = SWITCHES.iter().all(|&(first, last)| {
                start > last + SWITCH_MARGIN + 20 || start + length + 20 + SWITCH_MARGIN < first
            });
            if clear {
                let rows = self.healthy[start - 6..start + length].to_vec();
                return Episode {
                    rows,
                    abnormal: 6..6 + length,
                };
            }
        }
    }

    /// Places for faults of these lengths: apart from each other and from the switches.
    fn places(&self, rng: &mut StdRng, lengths: &[usize]) -> Vec<usize> {
        let last = self.healthy.len() - lengths.iter().max().unwrap() - GRACE - 1;
        let slack = last - WARM_UP - APART * (lengths.len() - 1);
        loop {
            let mut cuts: Vec<usize> = lengths
                .iter()
                .map(|_| rng.random_range(0..=slack))
                .collect();
            cuts.sort_unstable();
            let places: Vec<usize> = cuts
                .iter()
                .enumerate()
                .map(|(n, cut)| WARM_UP + APART * n + cut)
                .collect();
            let clear = places.iter().zip(lengths).all(|(&place, &length)| {
                SWITCHES.iter().all(|&(first, last)| {
                    place > last + SWITCH_MARGIN || place + length + GRACE + SWITCH_MARGIN < first
                })
            });
            if clear {
                return places;
            }
        }
    }

    /// One stream, and the kind, first and last row of each fault in it.
    fn stream(&self, seed: usize, laid: Laid) -> (Rows, Vec<(&'static str, usize, usize)>) {
        let mut rng = StdRng::seed_from_u64(seed as u64);
        let mut kinds: Vec<&'static str> = (0..EVENTS)
            .map(|n| KINDS[(seed * EVENTS + n) % KINDS.len()])
            .collect();
        kinds.shuffle(&mut rng);
        let placebo: Vec<Episode>;
        let chosen: Vec<(&'static str, &Episode)> = match laid {
            Laid::Faults => kinds
                .iter()
                .map(|kind| (*kind, self.episodes[kind].choose(&mut rng).unwrap()))
                .collect(),
            Laid::Health => {
                let lengths: Vec<usize> = kinds
                    .iter()
                    .map(|kind| self.episodes[kind].choose(&mut rng).unwrap().abnormal.len())
                    .collect();
                placebo = lengths
                    .into_iter()
                    .map(|n| self.placebo(&mut rng, n))
                    .collect();
                placebo.iter().map(|episode| ("placebo", episode)).collect()
            }
        };
        let lengths: Vec<usize> = chosen.iter().map(|(_, e)| e.abnormal.len()).collect();
        let places = self.places(&mut rng, &lengths);
        let mut stream = self.healthy.clone();
        let mut faults = Vec::new();
        for (place, (kind, episode)) in places.into_iter().zip(chosen) {
            for at in 0..self.names.len() {
                let before = median(episode.rows[..episode.abnormal.start].iter().map(|r| r[at]));
                for (n, row) in episode.rows[episode.abnormal.clone()].iter().enumerate() {
                    stream[place + n][at] = self.laid(at, stream[place + n][at], row[at] - before);
                }
            }
            faults.push((kind, place, place + episode.abnormal.len() - 1));
        }
        (stream, faults)
    }

    /// A healthy value with a fault's difference: no less than 0 for a metric never seen below it,
    /// no more than 100 for a percentage.
    fn laid(&self, at: usize, healthy: f64, difference: f64) -> f64 {
        let value = healthy + difference;
        let name = &self.names[at];
        let percentage = name.starts_with("total_cpu_usage_") || name == "mysql5_all_ratio";
        if self.least[at] >= 0.0 && value < 0.0 {
            0.0
        } else if percentage && value > 100.0 && difference != 0.0 {
            100.0
        } else {
            value
        }
    }
}

/// Pooled over streams.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Found and all, by kind.
    kinds: BTreeMap<&'static str, (usize, usize)>,
    delays: Vec<usize>,
    false_starts: usize,
    at_switches: usize,
    rows_outside: usize,
    alarm_outside: usize,
}

impl Judgement {
    fn take(&mut self, said: &Detections, faults: &[(&'static str, usize, usize)]) {
        let rows = said.alarm.len();
        let started =
            |row: usize| said.onset[row] || (said.alarm[row] && !(row > 0 && said.alarm[row - 1]));
        let inside = |row| {
            faults
                .iter()
                .any(|&(_, first, last)| (first..=last + GRACE).contains(&row))
        };
        let at_switch = |row| {
            SWITCHES
                .iter()
                .any(|&(first, last)| (first..=last + SWITCH_MARGIN).contains(&row))
        };
        for row in (WARM_UP..rows).filter(|&row| !inside(row)) {
            self.rows_outside += 1;
            self.alarm_outside += usize::from(said.alarm[row] || said.onset[row]);
            self.false_starts += usize::from(started(row));
            self.at_switches += usize::from(started(row) && at_switch(row));
        }
        for &(kind, first, last) in faults {
            let found = (first..=(last + HIT_AFTER).min(rows - 1)).find(|&row| started(row));
            self.delays.extend(found.map(|row| row - first));
            let of_kind = self.kinds.entry(kind).or_default();
            of_kind.0 += usize::from(found.is_some());
            of_kind.1 += 1;
        }
        self.delays.sort_unstable();
    }

    pub(crate) fn recall(&self) -> f64 {
        let all: usize = self.kinds.values().map(|(_, all)| all).sum();
        self.delays.len() as f64 / all as f64
    }

    pub(crate) fn weakest_kind(&self) -> f64 {
        let shares = self
            .kinds
            .values()
            .map(|&(found, all)| found as f64 / all as f64);
        shares.fold(1.0, f64::min)
    }

    pub(crate) fn false_starts_per_hour(&self) -> f64 {
        let hours = self.rows_outside as f64 * ROW_MS as f64 / 3_600_000.0;
        self.false_starts as f64 / hours
    }

    pub(crate) fn share_in_alarm(&self) -> f64 {
        self.alarm_outside as f64 / self.rows_outside as f64
    }

    pub(crate) fn median_delay_rows(&self) -> usize {
        self.delays
            .get(self.delays.len() / 2)
            .copied()
            .unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "recall {:.3}, weakest kind {:.2}, {:.2} false starts an hour ({} of {} at switches), {:.2} % in alarm, median delay {} rows, {:?}",
            self.recall(),
            self.weakest_kind(),
            self.false_starts_per_hour(),
            self.at_switches,
            self.false_starts,
            100.0 * self.share_in_alarm(),
            self.median_delay_rows(),
            self.kinds
        )
    }
}

/// Makes the streams of these seeds and judges what the detector says of them.
pub(crate) fn judge_seeds(
    recorded: &Recorded,
    seeds: RangeInclusive<usize>,
    laid: Laid,
) -> Judgement {
    let seeds: Vec<usize> = seeds.collect();
    let one = |&seed: &usize| {
        let (rows, faults) = recorded.stream(seed, laid);
        let rows = rows
            .iter()
            .zip(0_u64..)
            .map(|(row, n)| (n * ROW_MS, row.as_slice()));
        (detect(recorded.names.len(), rows), faults)
    };
    let mut judgement = Judgement::default();
    std::thread::scope(|scope| {
        let halves: Vec<_> = seeds
            .chunks(seeds.len().div_ceil(2))
            .map(|half| scope.spawn(move || half.iter().map(one).collect::<Vec<_>>()))
            .collect();
        for (said, faults) in halves.into_iter().flat_map(|h| h.join().unwrap()) {
            judgement.take(&said, &faults);
        }
    });
    judgement
}
