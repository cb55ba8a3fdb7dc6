//! What all runs came to, as a table.

use std::collections::BTreeMap;

use crate::kind::Kind;
use crate::plan::Plan;
use crate::run::Outcome;

/// The sum of the runs with one kind of neighbour.
#[derive(Debug, Clone, Default)]
struct Row {
    runs: u64,
    observations: u64,
    with_locks: u64,
    incidents: u64,
    repairs: u64,
    ended: u64,
    halts: u64,
    crises: u64,
    rows: i64,
    kills: u32,
    failed: u64,
}

impl Row {
    fn add(&mut self, outcome: &Outcome, failed: bool) {
        self.runs += 1;
        self.observations += outcome.log.observations;
        self.with_locks += outcome.log.with_locks;
        self.incidents += outcome.log.incidents.values().sum::<u64>();
        self.repairs += outcome.log.approved.len() as u64;
        self.ended += outcome.ended.len() as u64;
        self.halts += outcome.log.halts.len() as u64;
        self.crises += outcome.log.crises.len() as u64;
        self.rows += outcome.rows;
        self.kills += outcome.kills;
        self.failed += u64::from(failed);
    }

    fn line(&self, name: &str) -> String {
        let Self {
            runs,
            observations,
            with_locks,
            incidents,
            repairs,
            ended,
            halts,
            crises,
            rows,
            kills,
            failed,
        } = self;
        format!(
            "{name:<20}{runs:>6}{observations:>14}{with_locks:>12}{incidents:>11}{repairs:>9}{ended:>7}{halts:>7}{crises:>8}{rows:>10}{kills:>7}{failed:>8}"
        )
    }
}

/// The sums of all runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kinds: BTreeMap<Kind, Row>,
    all: Row,
    incidents: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    failures: Vec<String>,
}

impl Tally {
    /// Adds a run; `wrong` is what is wrong with it.
    pub(crate) fn add(&mut self, plan: &Plan, outcome: &Outcome, wrong: &[String]) {
        let failed = !wrong.is_empty();
        if let Some(kind) = plan.kinds.first() {
            self.kinds.entry(*kind).or_default().add(outcome, failed);
        }
        self.all.add(outcome, failed);
        for (kind, count) in &outcome.log.incidents {
            *self.incidents.entry(kind.clone()).or_default() += count;
        }
        for (law, count) in &outcome.log.refused {
            *self.refused.entry(law.clone()).or_default() += count;
        }
        if failed {
            self.failures
                .push(format!("{}: {}", plan.describe(), wrong.join("; ")));
        }
    }

    /// Whether every run was right.
    pub(crate) fn is_right(&self) -> bool {
        self.failures.is_empty()
    }

    /// Prints the table, the incidents and the failures.
    pub(crate) fn print(&self) {
        println!(
            "\nobserved\n{:<20}{:>6}{:>14}{:>12}{:>11}{:>9}{:>7}{:>7}{:>8}{:>10}{:>7}{:>8}",
            "neighbour",
            "runs",
            "observations",
            "with locks",
            "incidents",
            "repairs",
            "ended",
            "halts",
            "crises",
            "rows kept",
            "kills",
            "failed"
        );
        for (kind, row) in &self.kinds {
            println!("{}", row.line(&kind.name()));
        }
        println!("{}", self.all.line("all"));
        println!("\nincidents by kind: {}", list(&self.incidents));
        println!("repairs refused by the guard: {}", list(&self.refused));
        if !self.failures.is_empty() {
            println!("\nfailed runs");
            for failure in &self.failures {
                println!("{failure}");
            }
        }
    }
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".into();
    }
    let all: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    all.join(", ")
}
