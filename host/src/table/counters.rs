//! Counters and gauges: what only rises is told from the data and read as its rate.
//!
//! A counter's level says when it was started; its rate says what happens. Until it is known which
//! of the two a column is, its values are held back: a series that begins with levels and goes on
//! with rates would look like an incident.
//!
//! A column that stands still says nothing, and is shown as it stands. When it only rises later on,
//! it is a counter whose load began after the table did; its rates are another series than its level.

use std::collections::HashSet;

use super::TableOptions;

/// Ends of names that say counter, by the convention of Prometheus.
const COUNTER_SUFFIX: &str = "_total";

/// Steps that whole numbers must not fall over, rising in half of them, to be a counter. A gauge
/// of noise falls within the first few.
const WHOLE: Evidence = Evidence {
    steps: 30,
    still: 15,
};

/// The same for fractions, which are smooth gauges more often than counters.
const FRACTIONS: Evidence = Evidence {
    steps: 60,
    still: 6,
};

/// Rises without any fall that show whole numbers which stood still at first to be a counter. A gauge
/// that climbs in an incident falls in between.
const LATE_RISES: u32 = 60;

/// A fall to less than this share of the value before is a counter that begins anew.
const RESET_SHARE: f64 = 0.1;

/// Resets within the evidence from which on the column is a gauge that jumps.
const RESETS: u32 = 2;

/// Falls in the latest 64 steps that show that a column is no counter after all.
const FALLS: u32 = 8;

struct Evidence {
    /// Steps that are looked at.
    steps: u32,
    /// Steps without a rise that are allowed among them.
    still: u32,
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    kind: Kind,
    /// What was asked for, or says the name, is not looked into.
    fixed: bool,
    /// The value that the next rate is counted from, and its time.
    before: Option<(u64, f64)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Unknown {
        steps: u32,
        still: u32,
        resets: u32,
        fractions: bool,
    },
    Gauge {
        /// Rises so far, while it may be a counter that stood still at first.
        rises: Option<u32>,
    },
    /// The latest steps, newest in the lowest bit: 1 for a fall.
    Counter { falls: u64 },
}

/// What was found out with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Counter,
    /// What stood still at first is a counter.
    LateCounter,
    /// What was held for a counter is none.
    NoCounter,
}

/// The columns that the options name: each column is searched in them.
pub(super) struct Named<'a> {
    counters: HashSet<&'a str>,
    gauges: HashSet<&'a str>,
}

impl<'a> Named<'a> {
    pub(super) fn by(options: &'a TableOptions) -> Self {
        let set = |names: &'a [String]| names.iter().map(String::as_str).collect();
        Self {
            counters: set(&options.counters),
            gauges: set(&options.gauges),
        }
    }
}

impl Column {
    pub(super) fn new(name: &str, named: &Named<'_>) -> Self {
        let asked = |names: &HashSet<&str>| names.contains(name);
        let all = |names: &HashSet<&str>| names.contains("*");
        let counter = Kind::Counter { falls: 0 };
        let gauge = Kind::Gauge { rises: None };
        let unknown = Kind::Unknown {
            steps: 0,
            still: 0,
            resets: 0,
            fractions: false,
        };
        let (kind, fixed) = if asked(&named.gauges) {
            (gauge, true)
        } else if asked(&named.counters) {
            (counter, true)
        } else if all(&named.gauges) {
            (gauge, true)
        } else if all(&named.counters) {
            (counter, true)
        } else if name.to_ascii_lowercase().ends_with(COUNTER_SUFFIX) {
            (counter, false)
        } else {
            (unknown, false)
        };
        Self {
            kind,
            fixed,
            before: None,
        }
    }

    /// Whether it is read as a rate.
    pub(super) fn is_counter(&self) -> bool {
        matches!(self.kind, Kind::Counter { .. })
    }

    /// What the detector is to see of a value: itself, the rate per second since the value before,
    /// or nothing yet.
    pub(super) fn take(&mut self, at_ms: u64, value: f64) -> (Option<f64>, Found) {
        match self.kind {
            Kind::Gauge { rises: None } => (Some(value), Found::Nothing),
            Kind::Gauge { rises: Some(rises) } => self.follow(rises, at_ms, value),
            Kind::Counter { .. } => self.rate(at_ms, value),
            Kind::Unknown { .. } => self.weigh(at_ms, value),
        }
    }

    /// The same for a value that comes late: nothing is learned from it.
    pub(super) fn take_late(&self, value: f64) -> Option<f64> {
        matches!(self.kind, Kind::Gauge { .. }).then_some(value)
    }

    /// The next value does not go on from the one before.
    pub(super) fn begin_anew(&mut self) {
        self.before = None;
    }

    /// A gauge that may turn out to be a counter.
    fn follow(&mut self, rises: u32, at_ms: u64, value: f64) -> (Option<f64>, Found) {
        let before = self.before.replace((at_ms, value));
        let before = before.map_or(value, |(_, before)| before);
        if value < before || !is_whole(value) {
            self.kind = Kind::Gauge { rises: None };
            return (Some(value), Found::Nothing);
        }
        let rises = rises + u32::from(value > before);
        if rises >= LATE_RISES {
            self.kind = Kind::Counter { falls: 0 };
            return (None, Found::LateCounter);
        }
        self.kind = Kind::Gauge { rises: Some(rises) };
        (Some(value), Found::Nothing)
    }

    fn rate(&mut self, at_ms: u64, value: f64) -> (Option<f64>, Found) {
        let Some((since_ms, before)) = self.before else {
            self.before = Some((at_ms, value));
            return (None, Found::Nothing);
        };
        let fell = value < before;
        if let Kind::Counter { falls } = &mut self.kind {
            *falls = *falls << 1 | u64::from(fell);
            if falls.count_ones() >= FALLS && !self.fixed {
                self.kind = Kind::Gauge { rises: None };
                return (Some(value), Found::NoCounter);
            }
        }
        if fell {
            // Begun anew: what was counted between the last value and then is not known.
            self.before = Some((at_ms, value));
            return (None, Found::Nothing);
        }
        if at_ms <= since_ms {
            // No time passed: what was counted goes into the next step.
            return (None, Found::Nothing);
        }
        self.before = Some((at_ms, value));
        #[allow(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
        let seconds = (at_ms - since_ms) as f64 / 1000.0;
        let rate = (value - before) / seconds;
        (rate.is_finite().then_some(rate), Found::Nothing)
    }

    fn weigh(&mut self, at_ms: u64, value: f64) -> (Option<f64>, Found) {
        let Kind::Unknown {
            steps,
            still,
            resets,
            fractions,
        } = &mut self.kind
        else {
            return (Some(value), Found::Nothing);
        };
        let before = self.before.replace((at_ms, value));
        let mut falls = false;
        *fractions |= !is_whole(value);
        let evidence = if *fractions { FRACTIONS } else { WHOLE };
        if let Some((_, before)) = before {
            *steps += 1;
            *still += u32::from(value <= before);
            let fell = value < before;
            *resets += u32::from(fell);
            falls = (fell && value > before * RESET_SHARE) || *resets >= RESETS;
        }
        if value < 0.0 || falls || *still > evidence.still {
            let only_still = value >= 0.0 && *resets == 0 && !*fractions;
            let rises = only_still.then(|| *steps - *still);
            self.kind = Kind::Gauge { rises };
            return (Some(value), Found::Nothing);
        }
        if *steps >= evidence.steps {
            self.kind = Kind::Counter { falls: 0 };
            return (None, Found::Counter);
        }
        (None, Found::Nothing)
    }
}

fn is_whole(value: f64) -> bool {
    value.fract() == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Column {
        Column::new(name, &Named::by(&TableOptions::default()))
    }

    /// What is seen of values that come every 10 s.
    fn seen(column: &mut Column, values: &[f64]) -> Vec<Option<f64>> {
        (0..)
            .zip(values)
            .map(|(n, &v)| column.take(n * 10_000, v).0)
            .collect()
    }

    fn rising(count: u32, step: f64) -> Vec<f64> {
        (0..count).map(|n| 1000.0 + f64::from(n) * step).collect()
    }

    #[test]
    fn whole_numbers_that_only_rise_are_a_counter() {
        let mut queries = column("queries");
        let out = seen(&mut queries, &rising(40, 50.0));
        assert!(queries.is_counter());
        assert_eq!(out[..31], [None; 31]);
        assert_eq!(out[31..], [Some(5.0); 9]);
    }

    #[test]
    fn fractions_need_twice_as_long() {
        let mut seconds = column("cpu_seconds");
        let out = seen(&mut seconds, &rising(62, 0.5));
        assert_eq!(out[61], Some(0.05));
        assert_eq!(out[60], None);
    }

    #[test]
    fn a_gauge_shows_itself_at_its_first_fall() {
        let mut load = column("load");
        assert_eq!(
            seen(&mut load, &[3.0, 4.0, 3.0, 5.0]),
            [None, None, Some(3.0), Some(5.0)]
        );
    }

    #[test]
    fn what_stands_still_or_is_negative_is_a_gauge() {
        let out = seen(&mut column("limit"), &[7.0; 20]);
        assert_eq!(out.iter().flatten().count(), 4);
        assert_eq!(seen(&mut column("balance"), &[-1.0]), [Some(-1.0)]);
    }

    #[test]
    fn a_counter_that_stands_still_at_first_is_found_when_it_has_long_risen() {
        let mut values = vec![7.0; 500];
        values.extend((1..=200).map(|n| 7.0 + f64::from(n) * 50.0));
        let mut queries = column("queries");
        let mut found = Vec::new();
        let mut out = Vec::new();
        for (n, &value) in (0..).zip(&values) {
            let (seen, what) = queries.take(n * 10_000, value);
            out.push(seen);
            if what != Found::Nothing {
                found.push((n, what));
            }
        }
        assert_eq!(found, [(559, Found::LateCounter)]);
        assert_eq!(
            out[16..559],
            values[16..559]
                .iter()
                .copied()
                .map(Some)
                .collect::<Vec<_>>()
        );
        assert_eq!(out[559], None);
        assert!(out[560..].iter().all(|rate| *rate == Some(5.0)));
    }

    #[test]
    fn a_gauge_that_stands_still_at_first_stays_one() {
        let ramp = |to: u32, step: f64| (1..=to).map(move |n| f64::from(n) * step);
        let climbs: [(&str, Vec<f64>); 4] = [
            (
                "an incident",
                ramp(59, 1.0)
                    .chain(ramp(1, 0.0))
                    .chain(ramp(100, 1.0))
                    .collect(),
            ),
            (
                "a queue",
                [5.0, 0.0].into_iter().chain(ramp(100, 1.0)).collect(),
            ),
            ("fractions", ramp(100, 0.5).collect()),
            ("below zero", ramp(100, -1.0).collect()),
        ];
        for (name, climb) in climbs {
            let mut values = vec![0.0; 500];
            values.extend(climb);
            let mut gauge = column(name);
            let out = seen(&mut gauge, &values);
            assert!(!gauge.is_counter(), "{name}");
            assert!(out[16..].iter().all(Option::is_some), "{name}");
        }
    }

    #[test]
    fn a_late_value_teaches_nothing() {
        let mut total = column("x_total");
        assert_eq!(total.take(10_000, 100.0).0, None);
        assert_eq!(total.take(20_000, 200.0).0, Some(10.0));
        assert_eq!(total.take_late(150.0), None);
        assert_eq!(total.take(30_000, 300.0).0, Some(10.0));
        // After a gap of unknown length there is nothing to tell a rate from.
        total.begin_anew();
        assert_eq!(total.take(30_000, 900.0).0, None);
        assert_eq!(total.take(40_000, 1000.0).0, Some(10.0));
    }

    #[test]
    fn a_reset_is_a_gap_and_not_an_incident() {
        let mut values = rising(35, 50.0);
        values.extend([20.0, 70.0, 120.0]);
        let out = seen(&mut column("queries"), &values);
        assert_eq!(out[35..], [None, Some(5.0), Some(5.0)]);
        // Within the evidence too.
        let mut early = rising(10, 50.0);
        early.extend(rising(30, 50.0).iter().map(|v| v - 1000.0));
        assert_eq!(
            seen(&mut column("queries"), &early).last(),
            Some(&Some(5.0))
        );
    }

    #[test]
    fn a_name_says_counter_and_an_option_overrides() {
        assert_eq!(
            seen(&mut column("Requests_Total"), &[5.0, 25.0]),
            [None, Some(2.0)]
        );
        let gauges = TableOptions {
            gauges: vec!["*".into()],
            ..TableOptions::default()
        };
        let mut gauge = Column::new("requests_total", &Named::by(&gauges));
        assert_eq!(seen(&mut gauge, &[5.0, 25.0]), [Some(5.0), Some(25.0)]);
        let counters = TableOptions {
            counters: vec!["n".into()],
            ..gauges
        };
        let mut counter = Column::new("n", &Named::by(&counters));
        assert_eq!(seen(&mut counter, &[5.5, 25.5]), [None, Some(2.0)]);
    }

    #[test]
    fn a_counter_that_keeps_falling_was_none() {
        let mut values = rising(40, 50.0);
        values.extend((0..10).map(|n| 2900.0 - f64::from(n)));
        let mut growing = column("rows");
        let out = seen(&mut growing, &values);
        assert!(!growing.is_counter());
        assert_eq!(out.last(), Some(&Some(2891.0)));
    }

    #[test]
    fn no_time_between_two_values_is_no_rate() {
        let mut total = column("x_total");
        assert_eq!(total.take(0, 0.0).0, None);
        assert_eq!(total.take(1000, 10.0).0, Some(10.0));
        assert_eq!(total.take(1000, 15.0).0, None);
        assert_eq!(total.take(2000, 30.0).0, Some(20.0));
    }
}
