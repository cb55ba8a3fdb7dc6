//! Measures several functions in turns, so that what slows the machine down slows all of them.

use std::time::Instant;

use hdrhistogram::Histogram;

/// Calls of one function before the next one has its turn, and turns.
const CALLS: u32 = 50;
const ROUNDS: usize = 2_000;

/// A function that takes part.
pub(crate) struct Contender<'a> {
    name: &'static str,
    call: &'a mut dyn FnMut(),
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, call: &'a mut dyn FnMut()) -> Self {
        Self { name, call }
    }
}

/// What one contender took.
struct Row {
    name: &'static str,
    /// The mean call of each round, nanoseconds.
    rounds: Vec<f64>,
    /// Single calls, nanoseconds, the clock's own time included.
    calls: Histogram<u64>,
}

/// What all took.
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Gives each its turns. A tenth of the rounds warms up and is not counted.
    pub(crate) fn measure(contenders: &mut [Contender<'_>]) -> Self {
        let mut rows: Vec<Row> = contenders
            .iter()
            .map(|contender| Row {
                name: contender.name,
                rounds: Vec::with_capacity(ROUNDS),
                calls: Histogram::new(3).unwrap(),
            })
            .collect();
        for round in 0..ROUNDS + ROUNDS / 10 {
            for (contender, row) in contenders.iter_mut().zip(&mut rows) {
                let began = Instant::now();
                for _ in 0..CALLS {
                    (contender.call)();
                }
                let mean = began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
                for _ in 0..CALLS {
                    let began = Instant::now();
                    (contender.call)();
                    let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap();
                    if round >= ROUNDS / 10 {
                        row.calls.record(nanoseconds).unwrap();
                    }
                }
                if round >= ROUNDS / 10 {
                    row.rounds.push(mean);
                }
            }
        }
        Self(rows)
    }

    fn row(&self, name: &str) -> &Row {
        self.0.iter().find(|row| row.name == name).unwrap()
    }

    /// The median over all rounds of one's time in terms of the other's.
    pub(crate) fn ratio(&self, one: &str, other: &str) -> f64 {
        let (one, other) = (self.row(one), self.row(other));
        let pairs = one.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(one, other)| one / other).collect())
    }

    /// The 99th percentile of single calls in terms of their median.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53 nanoseconds")]
    pub(crate) fn spread(&self, name: &str) -> f64 {
        let calls = &self.row(name).calls;
        calls.value_at_quantile(0.99) as f64 / calls.value_at_quantile(0.5) as f64
    }

    pub(crate) fn print(&self) {
        println!(
            "\n{:16} {:>10} {:>10} {:>10} {:>9}",
            "in turns", "mean ns", "p50 ns", "p99 ns", "x native"
        );
        for row in &self.0 {
            println!(
                "{:16} {:>10.0} {:>10} {:>10} {:>9.2}",
                row.name,
                median(row.rounds.clone()),
                row.calls.value_at_quantile(0.5),
                row.calls.value_at_quantile(0.99),
                self.ratio(row.name, "native"),
            );
        }
    }

    /// Prints a figure beside what it may be at most.
    #[allow(clippy::unused_self, reason = "a bar belongs to a table")]
    pub(crate) fn bar(&self, what: &str, figure: f64, most: f64) {
        let word = if figure <= most { "within" } else { "OVER" };
        println!("{what:24} {figure:8.3}  {word} {most:.3}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
