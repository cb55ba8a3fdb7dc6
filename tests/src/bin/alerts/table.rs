//! Series and conditions, when each condition fires, and both formats.

use std::fmt::Write as _;

use rand::RngExt as _;
use rand::rngs::StdRng;

pub(crate) const SERIES: usize = 10;
pub(crate) const CONDITIONS: usize = 20;
/// Values that series take, and thresholds between them: a change of either matters.
const VALUES: [i64; 6] = [10, 30, 45, 55, 70, 90];
const THRESHOLDS: [i64; 5] = [20, 40, 50, 60, 80];
/// For how many seconds a condition must hold before it fires.
const FOR_S: [usize; 5] = [0, 2, 5, 10, 30];
/// A series keeps a value for so many samples at most.
const LONGEST_RUN: usize = 40;

/// One condition on one series.
#[derive(Debug, Clone)]
struct Condition {
    series: usize,
    is_above: bool,
    threshold: i64,
    for_s: usize,
}

/// One table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    series: Vec<Vec<i64>>,
    conditions: Vec<Condition>,
}

impl Table {
    pub(crate) fn made(rng: &mut StdRng, samples: usize) -> Self {
        let series = |rng: &mut StdRng| {
            let mut values = Vec::with_capacity(samples + LONGEST_RUN);
            while values.len() < samples {
                let value = *pick(rng, &VALUES);
                let run = rng.random_range(1..=LONGEST_RUN);
                values.extend(std::iter::repeat_n(value, run));
            }
            values.truncate(samples);
            values
        };
        let series = (0..SERIES).map(|_| series(rng)).collect();
        let condition = |number: usize| Condition {
            series: number % SERIES,
            is_above: rng.random(),
            threshold: *pick(rng, &THRESHOLDS),
            for_s: *pick(rng, &FOR_S),
        };
        Self {
            series,
            conditions: (0..CONDITIONS).map(condition).collect(),
        }
    }

    /// The same with one sample or one threshold changed, so that an asserted moment is wrong: the first or the last
    /// sample of a stretch in which a condition fires, or does not.
    pub(crate) fn changed(&self, rng: &mut StdRng) -> Self {
        let firing = self.firing();
        let is_noticed = |other: &[Vec<bool>]| {
            let mut both = firing.iter().zip(other);
            both.any(|(before, now)| {
                runs(before).any(|(run, fires)| {
                    [run.start, run.end - 1].iter().any(|&at| now[at] != *fires)
                })
            })
        };
        loop {
            let mut other = self.clone();
            if rng.random() {
                let series = rng.random_range(0..SERIES);
                let at = rng.random_range(0..other.series[series].len());
                other.series[series][at] = *pick(rng, &VALUES);
            } else {
                let number = rng.random_range(0..CONDITIONS);
                other.conditions[number].threshold = *pick(rng, &THRESHOLDS);
            }
            if is_noticed(&other.firing()) {
                return other;
            }
        }
    }

    /// Whether each condition fires at each sample: it has held without a break for its time.
    pub(crate) fn firing(&self) -> Vec<Vec<bool>> {
        let of = |condition: &Condition| {
            let mut held = 0;
            let fires = |value: &i64| {
                let holds = if condition.is_above {
                    *value > condition.threshold
                } else {
                    *value < condition.threshold
                };
                held = if holds { held + 1 } else { 0 };
                held > condition.for_s
            };
            self.series[condition.series].iter().map(fires).collect()
        };
        self.conditions.iter().map(of).collect()
    }

    /// The conditions as a document of rules.
    pub(crate) fn rules(&self) -> String {
        let mut text = "version = 1\n".to_owned();
        for (number, condition) in self.conditions.iter().enumerate() {
            let Condition {
                series,
                threshold,
                for_s,
                ..
            } = condition;
            let sign = condition.sign();
            let samples = for_s + 1;
            let recent = format!("recent(\"s{series}\", {samples})");
            let when = if *for_s == 0 {
                format!("latest(\"s{series}\") {sign} {threshold}.0")
            } else {
                format!("size({recent}) == {samples} && {recent}.all(v, v {sign} {threshold}.0)")
            };
            line(
                &mut text,
                format_args!(
                    "[[rules]]\nname = \"alert.c{number}\"\non = \"tick\"\nwhen = '{when}'\nreason = \"it fires\""
                ),
            );
        }
        text
    }

    /// The series and the asserted moments as a case of dbmedic's.
    pub(crate) fn cases(&self, firing: &[Vec<bool>]) -> String {
        let mut text = "version = 1\n[parameters]\nrules = { file = \"alerts.rules.toml\" }\n[[cases]]\nname = \"the table\"\n"
            .to_owned();
        text.push_str("sample_every_ms = 1_000\n[cases.samples]\n");
        for (number, values) in self.series.iter().enumerate() {
            let runs: Vec<String> = runs(values)
                .map(|(run, value)| format!("{value}x{}", run.len()))
                .collect();
            line(
                &mut text,
                format_args!("s{number} = \"{}\"", runs.join(" ")),
            );
        }
        let samples = self.series.first().map_or(0, Vec::len);
        line(
            &mut text,
            format_args!("[[cases.events]]\ntick = true\ntimes = {samples}\nevery_ms = 1_000"),
        );
        for (number, firing) in firing.iter().enumerate() {
            for (run, fires) in runs(firing) {
                let key = if *fires { "rules" } else { "no_rules" };
                line(
                    &mut text,
                    format_args!(
                        "[[cases.expect]]\nfrom_ms = {}\nuntil_ms = {}\nevery = true\n{key} = [\"alert.c{number}\"]",
                        run.start * 1_000,
                        (run.end - 1) * 1_000
                    ),
                );
            }
        }
        text
    }

    /// The conditions as alerting rules of Prometheus.
    pub(crate) fn prometheus_rules(&self) -> String {
        let mut text = "groups:\n- name: table\n  interval: 1s\n  rules:\n".to_owned();
        for (number, condition) in self.conditions.iter().enumerate() {
            let Condition {
                series,
                threshold,
                for_s,
                ..
            } = condition;
            let sign = condition.sign();
            line(
                &mut text,
                format_args!(
                    "  - alert: c{number}\n    expr: s{series} {sign} {threshold}\n    for: {for_s}s"
                ),
            );
        }
        text
    }

    /// The series and the asserted moments as a test of promtool's: the first and the last sample of each stretch in
    /// which a condition fires, or does not.
    pub(crate) fn prometheus_test(&self, firing: &[Vec<bool>]) -> String {
        let mut text =
            "rule_files: [rules.yml]\nevaluation_interval: 1s\ntests:\n- interval: 1s\n  input_series:\n".to_owned();
        for (number, values) in self.series.iter().enumerate() {
            // There `10x3` is the value and three more of it.
            let runs: Vec<String> = runs(values)
                .map(|(run, value)| match run.len() - 1 {
                    0 => value.to_string(),
                    more => format!("{value}x{more}"),
                })
                .collect();
            line(
                &mut text,
                format_args!("  - series: s{number}\n    values: '{}'", runs.join(" ")),
            );
        }
        text.push_str("  alert_rule_test:\n");
        for (number, firing) in firing.iter().enumerate() {
            for (run, fires) in runs(firing) {
                let alerts = if *fires { "[{}]" } else { "[]" };
                let mut moments = vec![run.start, run.end - 1];
                moments.dedup();
                for at_s in moments {
                    line(
                        &mut text,
                        format_args!(
                            "  - eval_time: {at_s}s\n    alertname: c{number}\n    exp_alerts: {alerts}"
                        ),
                    );
                }
            }
        }
        text
    }
}

impl Condition {
    fn sign(&self) -> &'static str {
        if self.is_above { ">" } else { "<" }
    }
}

/// How many beginnings and ends of firing stand in a table.
pub(crate) fn moments(firing: &[Vec<bool>]) -> usize {
    firing.iter().map(|of| runs(of).count() - 1).sum()
}

/// Stretches of the same value.
fn runs<T: PartialEq>(values: &[T]) -> impl Iterator<Item = (std::ops::Range<usize>, &T)> {
    let mut begin = 0;
    values.chunk_by(|a, b| a == b).map(move |run| {
        let range = begin..begin + run.len();
        begin = range.end;
        (range, &run[0])
    })
}

fn pick<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{arguments}");
}
