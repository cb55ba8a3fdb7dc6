//! What another policy, or other parameters, would have decided on the events of a log.
//!
//! Both policies judge every event, each on its own and as the log has it: the memory, level and
//! history that an event comes with are those that were, not those that the other policy would have
//! led to. The memory of a policy of another name is not handed to it: it begins each event with an
//! empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::DecisionLogError;
use super::crew::{self, Batch, Progress};
use super::line::Decided;
use super::reader::Chain;
use super::replay::{Question, Skipped, is_by_machine, soonest};
use crate::gate::{Comparison, ComparisonReport, Essence};
use crate::model::Verdict;
use crate::policy::{Policy, PolicyFailure};

/// Entries that are named of those on which the two differ.
const ENTRIES: usize = 16;

/// What a diff came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diffed {
    /// The matrix of classes, levels and repairs, and the events behind it.
    pub comparison: ComparisonReport,
    /// The entries of the examples, in their order.
    pub entries: Vec<u64>,
    /// Decisions that agree in class, level, repair and halt, and differ in something else.
    pub details: Details,
    /// Decisions that the old policy failed at.
    pub old_failures: u64,
    /// Decisions that the new policy failed at and the old one did not. A deadline counts here, of
    /// the new one alone: it has all the time of a replay.
    pub new_failures: u64,
    /// The policies' names in the configuration, of all decisions of the log.
    pub names: BTreeSet<String>,
    /// Decisions for which one of the two asked telemetry for what the log does not hold, so that it
    /// was told that there is no such series.
    pub unheard: u64,
    /// Decisions that could not be put to the two: the reason, and how many.
    pub skipped: BTreeMap<Skipped, u64>,
    /// What following the chain came to.
    pub chain: Chain,
}

impl Diffed {
    /// Whether the new policy decides as the old one in what counts most, and fails nowhere else.
    pub fn agrees(&self) -> bool {
        self.comparison.differences == 0 && self.new_failures == 0
    }
}

/// Where verdicts differ that agree in what counts most; one decision may count several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Details {
    /// Who is alerted, and of what.
    pub alerts: u64,
    /// How much is written down.
    pub verbosity: u64,
    /// The rules that are given as reasons.
    pub rules: u64,
    /// What is suggested to people.
    pub suggestions: u64,
    /// What is left to be handed back.
    pub memory: u64,
}

impl Details {
    fn add(&mut self, old: &Verdict, new: &Verdict) {
        let rules = |verdict: &Verdict| -> Vec<String> {
            verdict.reasons.iter().map(|r| r.rule.clone()).collect()
        };
        self.alerts += u64::from(old.alerts != new.alerts);
        self.verbosity += u64::from(old.verbosity != new.verbosity);
        self.rules += u64::from(rules(old) != rules(new));
        self.suggestions += u64::from(old.suggestions != new.suggestions);
        self.memory += u64::from(old.memory != new.memory);
    }

    fn merge(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.verbosity += other.verbosity;
        self.rules += other.rules;
        self.suggestions += other.suggestions;
        self.memory += other.memory;
    }
}

/// Two policies to be held against each other, each with its settings.
pub struct Sides<'a> {
    /// The one that was.
    pub old: &'a Policy,
    /// The one that may come.
    pub new: &'a Policy,
    /// Only decisions of the policy with this name in the configuration; all without.
    pub of: Option<&'a str>,
}

/// Puts every event of a log to two policies.
///
/// # Errors
/// When the log cannot be read.
pub fn diff(
    log: &Path,
    sides: &Sides<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Diffed, DecisionLogError> {
    let (old, new) = (soonest(sides.old), soonest(sides.new));
    let sides = Sides {
        old: &old,
        new: &new,
        of: sides.of,
    };
    let work = |batch: Batch| {
        let mut part = Part::default();
        for (entry, text) in &batch.entries {
            part.add(*entry, text, &batch, &sides);
        }
        part
    };
    let mut sum = Part::default();
    let chain = crew::work_through(log, work, |part| sum.merge(part), progress)?;
    Ok(Diffed {
        comparison: sum.comparison.report(),
        entries: sum.entries,
        details: sum.details,
        old_failures: sum.old_failures,
        new_failures: sum.new_failures,
        names: sum.names,
        unheard: sum.unheard,
        skipped: sum.skipped,
        chain,
    })
}

#[derive(Default)]
struct Part {
    comparison: Comparison,
    entries: Vec<u64>,
    details: Details,
    old_failures: u64,
    new_failures: u64,
    names: BTreeSet<String>,
    unheard: u64,
    skipped: BTreeMap<Skipped, u64>,
}

impl Part {
    fn add(&mut self, entry: u64, text: &[u8], batch: &Batch, sides: &Sides<'_>) {
        let Ok(decided) = serde_json::from_slice::<Decided<'_>>(text) else {
            return self.skip(Skipped::Unreadable);
        };
        if !self.names.contains(&*decided.policy) {
            self.names.insert(decided.policy.to_string());
        }
        if sides.of.is_some_and(|name| name != decided.policy) {
            return;
        }
        let (target, at_ms) = (decided.target.to_string(), decided.at_ms);
        let mut question = match Question::of(decided, &batch.surroundings) {
            Ok(question) => question,
            Err(why) => return self.skip(why),
        };
        let (old, old_missed) = question.ask_anew(sides.old);
        let (new, new_missed) = question.ask_anew(sides.new);
        // Where the old one is in time and the new one is not, it is the new one that is slow.
        let overran = matches!(new.failure, Some(PolicyFailure::Deadline { .. }));
        if is_by_machine(old.failure.as_ref()) || (is_by_machine(new.failure.as_ref()) && !overran)
        {
            return self.skip(Skipped::ByMachine);
        }
        self.old_failures += u64::from(old.failure.is_some());
        self.new_failures += u64::from(new.failure.is_some() && old.failure.is_none());
        self.unheard += u64::from(old_missed || new_missed);
        if Essence::from(&old.verdict) == Essence::from(&new.verdict) {
            self.details.add(&old.verdict, &new.verdict);
        } else if self.entries.len() < ENTRIES {
            self.entries.push(entry);
        }
        self.comparison
            .add(&target, at_ms, &question.event, &old.verdict, &new);
    }

    fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    fn merge(&mut self, later: Self) {
        self.comparison.merge(later.comparison);
        let room = ENTRIES.saturating_sub(self.entries.len());
        self.entries.extend(later.entries.into_iter().take(room));
        self.details.merge(later.details);
        self.old_failures += later.old_failures;
        self.new_failures += later.new_failures;
        self.names.extend(later.names);
        self.unheard += later.unheard;
        for (why, decisions) in later.skipped {
            *self.skipped.entry(why).or_default() += decisions;
        }
    }
}
