//! Searches for harm: generated histories, and what no policy may do in them.

mod smaller;

use serde::Serialize;

use super::capture::expectation;
use super::coverage::Seen;
use super::generate::Corpus;
use super::run::{Played, play};
use super::{Case, Events, Expect, Never, Story, called};
use crate::model::{EscalationLevel, PolicyEvent, Setting, Verdict};
use crate::policy::{Isolation, Policy, PolicyFailure};

use smaller::changes;

/// Histories that are tried while one is made smaller.
const SHRINKING: usize = 3_000;

/// What no policy may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Property {
    /// Fail: break off, take too long, answer what is no answer.
    Answers,
    /// Choose a repair that was not offered.
    Offered,
    /// Choose a repair that announces to lose more than is allowed.
    Loss,
    /// Choose a repair that failed too often in a row.
    Failures,
    /// Lower the level before its time.
    Descent,
    /// Raise, lower and raise the level again, or the other way round, in a short time.
    Flapping,
    /// Give another answer to the same question.
    SameAnswer,
}

impl Property {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Answers,
        Self::Offered,
        Self::Loss,
        Self::Failures,
        Self::Descent,
        Self::Flapping,
        Self::SameAnswer,
    ];

    /// The property in words, as it ought to be.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Answers => "the policy answers",
            Self::Offered => "no repair that was not offered",
            Self::Loss => "no repair that announces to lose more than is allowed",
            Self::Failures => "no repair after that many failures in a row",
            Self::Descent => "no lower level before its time",
            Self::Flapping => "no level up and down again in a short time",
            Self::SameAnswer => "the same answer to the same question",
        }
    }
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    /// Committed transactions that a repair may announce to lose.
    pub loss_commits: u64,
    /// The share of the affected log or object that it may announce to lose, percent.
    pub loss_percent: f64,
    /// Failures in a row after which a repair must not be chosen again.
    pub failures: u32,
    /// How long a level must have been in force before it may be lowered, milliseconds.
    pub calm_ms: u64,
}

/// What searching came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fuzzed {
    /// The seed; with it and the same cases the same histories come again.
    pub seed: u64,
    /// Histories that were tried.
    pub histories: u64,
    /// Decisions that were made in them, those for making them smaller left out.
    pub decisions: u64,
    /// What was found, for each property the first of it.
    pub found: Vec<Found>,
}

/// A history in which a policy does what it may not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// What it must not do.
    pub property: Property,
    /// Which history, counted from 0.
    pub history: u64,
    /// What it did.
    pub what: String,
    /// Events of the history, and what is left of them.
    pub events: usize,
    /// Events that are enough.
    pub enough: usize,
    /// The case that shows it.
    #[serde(skip)]
    pub case: Case,
}

/// A property that does not hold.
#[derive(Debug, Clone)]
struct Violation {
    property: Property,
    step: usize,
    what: String,
    level: EscalationLevel,
    verdict: Verdict,
    /// Whether the clock or the load ended it.
    is_slow: bool,
}

/// Drives a policy with so many histories of a seed. `progress` gets the histories so far.
pub fn fuzz(
    policy: &Policy,
    settings: &[Setting],
    cases: &[&Case],
    allowed: Allowed,
    (seed, histories): (u64, u64),
    progress: &mut dyn FnMut(u64),
) -> Fuzzed {
    let corpus = Corpus::of(cases, &policy.description().parameters);
    let subject = Subject::of(policy, allowed);
    let mut fuzzed = Fuzzed {
        seed,
        histories,
        decisions: 0,
        found: Vec::new(),
    };
    let mut is_slow = false;
    for history in 0..histories {
        // What takes too long once would do so again and again.
        if is_slow {
            fuzzed.histories = history;
            break;
        }
        progress(history);
        let events = corpus.history(seed_of(seed, history));
        let (violations, decisions) = subject.violations(&events);
        fuzzed.decisions += decisions;
        for violation in violations {
            let property = violation.property;
            if fuzzed.found.iter().any(|found| found.property == property) {
                continue;
            }
            is_slow |= violation.is_slow;
            let (smaller, violation) = if violation.is_slow {
                (events.clone(), violation)
            } else {
                subject.shrink(&events, violation)
            };
            fuzzed.found.push(Found {
                property,
                history,
                what: violation.what.clone(),
                events: events.steps.len(),
                enough: smaller.steps.len(),
                case: as_case(smaller, settings, &violation, seed, history),
            });
        }
    }
    fuzzed.found.sort_by_key(|found| found.property);
    fuzzed
}

/// What a policy shows in so many histories of a seed.
pub fn explore(policy: &Policy, cases: &[&Case], histories: u64, seed: u64) -> Seen {
    let corpus = Corpus::of(cases, &policy.description().parameters);
    let mut seen = Seen::default();
    for history in 0..histories {
        let events = corpus.history(seed_of(seed, history));
        let mut is_slow = false;
        play(policy, &events, &mut |played| {
            let failure = played.decision.failure.as_ref();
            is_slow = failure.is_some_and(PolicyFailure::depends_on_machine);
            if failure.is_none() {
                seen.said(&played.decision.verdict);
            }
            failure.is_none()
        });
        // What takes too long would do so in every history.
        if is_slow {
            break;
        }
    }
    seen
}

fn seed_of(seed: u64, history: u64) -> u64 {
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
        .wrapping_add(history)
}

/// A policy under test, once in a new instance for each decision and once in one that is used again.
struct Subject {
    fresh: Policy,
    used: Policy,
    allowed: Allowed,
}

impl Subject {
    fn of(policy: &Policy, allowed: Allowed) -> Self {
        Self {
            fresh: policy.with_isolation(Isolation::Fresh),
            used: policy.with_isolation(Isolation::Reused {
                recycle_after: u32::MAX,
            }),
            allowed,
        }
    }

    /// Every violation in a history, and how many decisions were made.
    fn violations(&self, events: &Events) -> (Vec<Violation>, u64) {
        let mut all = Vec::new();
        let mut decisions = 0;
        let mut turns: Vec<(u64, bool)> = Vec::new();
        self.used.recycle("case");
        play(&self.fresh, events, &mut |played| {
            decisions += 1;
            let failure = played.decision.failure.as_ref();
            let mut add = |property, what: String| {
                all.push(Violation {
                    property,
                    step: played.number,
                    what,
                    level: played.host.context.level,
                    verdict: played.decision.verdict.clone(),
                    is_slow: failure.is_some_and(PolicyFailure::depends_on_machine),
                });
            };
            match &played.decision.failure {
                Some(PolicyFailure::UnknownCandidate { id }) => {
                    add(
                        Property::Offered,
                        format!("it chose `{id}`, which was not offered"),
                    );
                    return false;
                }
                Some(failure) if failure.is_misbehaviour() => {
                    add(Property::Answers, failure.to_string());
                    return false;
                }
                Some(_) => return true,
                None => {}
            }
            self.repair(&played, &mut add);
            self.level(&played, &mut turns, &mut add);
            self.again(&played, &mut add);
            true
        });
        (all, decisions)
    }

    fn repair(&self, played: &Played<'_>, add: &mut impl FnMut(Property, String)) {
        let (Some(id), PolicyEvent::Finding(finding)) =
            (&played.decision.verdict.repair, &played.event)
        else {
            return;
        };
        let chosen = finding
            .candidates
            .iter()
            .find(|candidate| candidate.id == *id);
        if let Some(loss) = chosen.map(|candidate| &candidate.expected_loss)
            && (loss.commits > self.allowed.loss_commits
                || loss.percent > self.allowed.loss_percent)
        {
            let what = format!(
                "it chose {id}, which announces to lose {} commits and {} %",
                loss.commits, loss.percent
            );
            add(Property::Loss, what);
        }
        let mut repairs = played.host.context.repairs.iter();
        let history = repairs.find(|past| past.kind == finding.kind && past.repair == *id);
        if let Some(history) = history
            && history.failures_in_a_row >= self.allowed.failures
        {
            let failures = history.failures_in_a_row;
            let what = format!("it chose {id}, which failed {failures} times in a row");
            add(Property::Failures, what);
        }
    }

    fn level(
        &self,
        played: &Played<'_>,
        turns: &mut Vec<(u64, bool)>,
        add: &mut impl FnMut(Property, String),
    ) {
        let context = &played.host.context;
        let (is, was) = (rank(played.decision.verdict.level), rank(context.level));
        if played.step.known.level.is_some() {
            // The host said so: that is no turn of the policy.
            turns.clear();
        }
        if is == was {
            return;
        }
        let now_ms = context.now_ms;
        let held_ms = now_ms.saturating_sub(context.level_since_ms);
        let goes_up = is > was;
        if !goes_up && held_ms < self.allowed.calm_ms {
            let what = format!("it lowered the level after {held_ms} ms");
            add(Property::Descent, what);
        }
        if turns.last().is_none_or(|(_, up)| *up != goes_up) {
            turns.push((now_ms, goes_up));
        }
        if let [.., (first_ms, _), _, _] = turns[..]
            && now_ms - first_ms < self.allowed.calm_ms
        {
            let what = format!(
                "it turned the level three times within {} ms",
                now_ms - first_ms
            );
            add(Property::Flapping, what);
        }
    }

    fn again(&self, played: &Played<'_>, add: &mut impl FnMut(Property, String)) {
        let host = played.host;
        let mut telemetry = host.telemetry.clone();
        let again = self
            .used
            .decide(&played.event, &host.context, &mut telemetry);
        let first = &played.decision;
        if again
            .failure
            .as_ref()
            .is_some_and(PolicyFailure::depends_on_machine)
        {
            return;
        }
        if (&again.verdict, &again.failure) != (&first.verdict, &first.failure) {
            let what = "an instance that had answered before gives another answer".to_owned();
            add(Property::SameAnswer, what);
        }
    }

    /// The violation of a property in a history, if there is one.
    fn violates(&self, events: &Events, property: Property) -> Option<Violation> {
        let (all, _) = self.violations(events);
        all.into_iter()
            .find(|violation| violation.property == property)
    }

    /// The smallest history that was found in which the same property does not hold.
    fn shrink(&self, events: &Events, violation: Violation) -> (Events, Violation) {
        let mut best = events.clone();
        best.steps.truncate(violation.step + 1);
        let cut = self.violates(&best, violation.property);
        if cut.is_none() {
            best = events.clone();
        }
        let mut violation = cut.unwrap_or(violation);
        let mut left = SHRINKING;
        loop {
            let mut is_smaller = false;
            for change in changes(&best) {
                if left == 0 {
                    return (best, violation);
                }
                left -= 1;
                let mut steps = best.steps.clone();
                if !change.apply(&mut steps) || steps.is_empty() {
                    continue;
                }
                let tried = Events {
                    steps,
                    ..best.clone()
                };
                if let Some(again) = self.violates(&tried, violation.property) {
                    best = tried;
                    best.steps.truncate(again.step + 1);
                    violation = again;
                    is_smaller = true;
                    // The other changes speak of steps that may be gone.
                    break;
                }
            }
            if !is_smaller {
                return (best, violation);
            }
        }
    }
}

const fn rank(level: EscalationLevel) -> u8 {
    match level {
        EscalationLevel::Normal => 0,
        EscalationLevel::Watch => 1,
        EscalationLevel::Warn => 2,
        EscalationLevel::Escalate => 3,
    }
}

/// A case that fails as long as the policy does what it may not.
fn as_case(
    mut events: Events,
    settings: &[Setting],
    violation: &Violation,
    seed: u64,
    history: u64,
) -> Case {
    let what = called(&events.steps[violation.step].event);
    let expect = match violation.property {
        Property::Answers | Property::Offered | Property::Loss | Property::Failures => Expect {
            repair: Some(None),
            ..Expect::default()
        },
        Property::Descent | Property::Flapping => Expect {
            level: Some(violation.level),
            ..Expect::default()
        },
        Property::SameAnswer => expectation(&violation.verdict),
    };
    events.steps[violation.step].expect = Some(expect);
    let words = violation.property.in_words();
    Case {
        name: format!("{words}: {what} (seed {seed}, history {history})"),
        line: 0,
        parameters: settings.to_vec(),
        story: Story::Events(events),
        expect: Vec::new(),
        in_order: false,
        never: Never::default(),
    }
}
