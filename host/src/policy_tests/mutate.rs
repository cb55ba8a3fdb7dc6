//! Which small changes of parameters and facts no case notices, and the case that would.
//!
//! Each numeric parameter is moved up and down by the least that counts, in every case; each fact is taken
//! away, turned round or moved by the least that counts, in every case that has it. A change is noticed
//! when a case fails that passed before. One that no case notices matters when it changes an answer: in a
//! case, or with a fact, a severity or a time at an edge.

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use serde::Serialize;

use super::capture::expectation;
use super::coverage::{Kind, number};
use super::questions::typical_cases;
use super::run::{passes, play};
use super::{Case, Events, Known, Never, Step, Story, When};
use crate::model::{Finding, PolicyEvent, RepairHistory, Value, Verdict};
use crate::policy::{Isolation, Policy};

use change::{Change, fact_changes, findings, parameter_changes};

/// Findings of one kind with a fact that are tried at its edges.
const FINDINGS: usize = 4;

/// What changing parameters and facts came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mutated {
    /// Changes that were made.
    pub changes: u64,
    /// Changes that a case noticed.
    pub noticed: u64,
    /// Changes that changed no answer, as far as was looked.
    pub idle: u64,
    /// Changes that change an answer and that no case noticed.
    pub unnoticed: Vec<Unnoticed>,
    /// Cases that were left out: they fail already, or are recordings.
    pub left_out: usize,
}

/// A change that no case noticed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unnoticed {
    /// What was changed.
    pub change: String,
    /// The case that would notice it, as TOML.
    pub case: String,
}

/// What of answers is compared.
type Said = (Kind, Vec<String>, Vec<String>);

fn said(verdict: &Verdict) -> Said {
    let rules = verdict.reasons.iter().map(|reason| reason.rule.clone());
    let alerts = verdict.alerts.iter().map(|alert| alert.rule.clone());
    (Kind::of(verdict), rules.collect(), alerts.collect())
}

/// Makes every change and runs the cases with it. `progress` gets the changes so far and how many there
/// are.
pub fn mutate(policy: &Policy, cases: &[&Case], progress: &mut dyn FnMut(u64, u64)) -> Mutated {
    let sound = cases
        .iter()
        .copied()
        .filter(|case| is_events(case) && passes(policy, case));
    let sound: Vec<&Case> = sound.collect();
    let bench = Bench::of(policy, &sound);
    let mut all = parameter_changes(policy);
    all.extend(fact_changes(&sound));
    let mut mutated = Mutated {
        changes: all.len() as u64,
        noticed: 0,
        idle: 0,
        unnoticed: Vec::new(),
        left_out: cases.len() - sound.len(),
    };
    let next = AtomicUsize::new(0);
    let (hand_in, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (hand_in, next, bench, all) = (hand_in.clone(), &next, &bench, &all);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(change) = all.get(number) else {
                        break;
                    };
                    if hand_in.send((number, bench.try_out(change))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(hand_in);
        let mut unnoticed = Vec::new();
        for (done, (number, tried)) in results.iter().enumerate() {
            progress(done as u64, mutated.changes);
            match tried {
                Tried::Noticed => mutated.noticed += 1,
                Tried::Idle => mutated.idle += 1,
                Tried::Unnoticed(found) => unnoticed.push((number, found)),
            }
        }
        unnoticed.sort_by_key(|(number, _)| *number);
        mutated.unnoticed = unnoticed.into_iter().map(|(_, found)| found).collect();
    });
    mutated
}

/// What came of a change.
enum Tried {
    Noticed,
    Idle,
    Unnoticed(Unnoticed),
}

fn is_events(case: &Case) -> bool {
    matches!(case.story, Story::Events(_))
}

/// The cases, and what is answered in them.
struct Bench<'a> {
    policy: &'a Policy,
    /// The same in instances that are used again, where only answers are compared.
    soon: Policy,
    cases: &'a [&'a Case],
    said: Vec<Vec<Said>>,
    /// The built-in policy's cases, for inputs that these cases do not have.
    typical: Vec<Case>,
    /// Numbers at which rules may have an edge.
    edges: Vec<f64>,
}

impl<'a> Bench<'a> {
    fn of(policy: &'a Policy, cases: &'a [&'a Case]) -> Self {
        let typical = typical_cases().unwrap_or_default();
        let parameters = &policy.description().parameters;
        let edges = parameters
            .iter()
            .filter_map(|parameter| number(&parameter.default));
        let set = cases.iter().flat_map(|case| &case.parameters);
        let set = set.filter_map(|setting| number(&setting.value));
        let mut edges: Vec<f64> = edges.chain(set).collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        // Of each kind of problem a few: the others have the same facts.
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let typical = typical.into_iter().flat_map(|file| file.cases);
        let typical = typical.filter(|case| {
            let kind = findings(case).next().map(|finding| finding.kind.clone());
            let times = kinds.entry(kind.unwrap_or_default()).or_default();
            *times += 1;
            *times <= FINDINGS
        });
        Self {
            policy,
            soon: policy.with_isolation(Isolation::Reused {
                recycle_after: u32::MAX,
            }),
            cases,
            said: cases.iter().map(|case| answers_of(policy, case)).collect(),
            typical: typical.collect(),
            edges,
        }
    }

    fn try_out(&self, change: &Change) -> Tried {
        if self.is_noticed(change) {
            return Tried::Noticed;
        }
        self.witness(change).map_or(Tried::Idle, |witness| {
            Tried::Unnoticed(Unnoticed {
                change: change.in_words(),
                case: super::write::one(&witness),
            })
        })
    }

    fn is_noticed(&self, change: &Change) -> bool {
        let changed = self.cases.iter().filter_map(|case| change.of(case));
        changed
            .into_iter()
            .any(|changed| !passes(self.policy, &changed))
    }

    /// A case that would notice a change.
    fn witness(&self, change: &Change) -> Option<Case> {
        let in_cases = self.cases.iter().zip(&self.said).find_map(|(case, said)| {
            let changed = answers_of(self.policy, &change.of(case)?);
            let step = differs(said, &changed)?;
            self.stricter(case, step, change)
        });
        in_cases.or_else(|| self.at_an_edge(change))
    }

    /// Inputs at the edges of rules, on which a change shows.
    fn at_an_edge(&self, change: &Change) -> Option<Case> {
        let all = self.cases.iter().copied().chain(&self.typical);
        let mut all = all.map(with_defaults);
        match change {
            Change::Fact { kind, name, .. } => {
                let has = |case: &Case| {
                    let mut of_kind = findings(case).filter(|finding| finding.kind == *kind);
                    of_kind.any(|finding| finding.facts.iter().any(|fact| fact.name == *name))
                };
                let with_fact = all.filter(has).take(FINDINGS);
                let edges = self
                    .edges
                    .iter()
                    .flat_map(|edge| around(*edge, edge.fract() == 0.0));
                let edges: Vec<f64> = edges.collect();
                with_fact.into_iter().find_map(|case| {
                    edges.iter().find_map(|edge| {
                        let case = with(&case, &|finding| set(finding, name, *edge));
                        let changed = change.of(&case)?;
                        let now = answers(&self.soon, &changed);
                        let step = differs(&answers(&self.soon, &case), &now)?;
                        self.stricter(&case, step, change)
                    })
                })
            }
            Change::Parameter { parameter, .. } => {
                let is_whole = matches!(parameter.default, Value::Integer(_));
                let edges = around(number(&parameter.default)?, is_whole);
                // None of these cases has parameters of its own: one changed policy will do.
                let changed = change.of(&all.next()?)?;
                let changed = self.soon.with_settings(&changed.parameters).ok()?;
                all.find_map(|case| {
                    let mut inputs = edges.iter().flat_map(|edge| at(&case, *edge));
                    inputs.find_map(|case| {
                        let now = answers(&changed, &case);
                        let step = differs(&answers(&self.soon, &case), &now)?;
                        self.stricter(&case, step, change)
                    })
                })
            }
        }
    }

    /// A case up to the answer of this number, which it expects as it is.
    fn stricter(&self, case: &Case, answer: usize, change: &Change) -> Option<Case> {
        let Story::Events(events) = &case.story else {
            return None;
        };
        let policy = self.policy.with_settings(&case.parameters).ok()?;
        let mut steps: Vec<Step> = Vec::new();
        let mut expect = None;
        let mut number = 0;
        play(&policy, events, &mut |played| {
            if number == answer {
                expect = Some(expectation(&played.decision.verdict));
                let mut last: Step = played.step.clone();
                last.times = played.again + 1;
                steps.push(last);
                return false;
            }
            number += 1;
            if played.again + 1 == played.step.times {
                steps.push(played.step.clone());
            }
            true
        });
        for step in &mut steps {
            step.expect = None;
        }
        steps.last_mut()?.expect = Some(expect?);
        Some(Case {
            name: format!("{}, at an edge: {}", case.name, change.in_words()),
            story: Story::Events(Events {
                steps,
                ..events.clone()
            }),
            expect: Vec::new(),
            never: Never::default(),
            ..case.clone()
        })
    }
}

/// Numbers at an edge and on both sides of it.
fn around(edge: f64, is_whole: bool) -> [f64; 3] {
    if is_whole {
        [edge - 1.0, edge, edge + 1.0]
    } else {
        [edge * 0.99, edge, edge * 1.01]
    }
}

/// A case with a number in each place that may lie at a parameter's edge, once for each.
fn at(case: &Case, edge: f64) -> Vec<Case> {
    let facts = findings(case).flat_map(|finding| &finding.facts);
    let numeric = facts.filter(|fact| number(&fact.value).is_some());
    let names: BTreeSet<&String> = numeric.map(|fact| &fact.name).collect();
    let by_fact = names
        .into_iter()
        .map(|name| with(case, &|finding| set(finding, name, edge)));
    let mut all: Vec<Case> = by_fact.collect();
    if (0.0..=1.0).contains(&edge) {
        all.push(with(case, &|finding| finding.severity = edge));
    }
    all.extend(measured(case, edge));
    all.extend(waiting(case, edge));
    all.extend(counted(case, edge));
    all
}

/// A case in which each metric that its events know has a number.
fn measured(case: &Case, edge: f64) -> Option<Case> {
    let mut case = case.clone();
    let Story::Events(events) = &mut case.story else {
        return None;
    };
    let metrics = events
        .steps
        .iter_mut()
        .flat_map(|step| &mut step.known.metrics);
    let mut any = false;
    for (_, value) in metrics {
        *value = edge;
        any = true;
    }
    any.then_some(case)
}

/// A case in which its last event happens so often, and its first repair failed or went well so often.
fn counted(case: &Case, edge: f64) -> Vec<Case> {
    if !(0.0..=32.0).contains(&edge) || edge.fract() != 0.0 {
        return Vec::new();
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds"
    )]
    let times = edge as u32;
    let history = |failures: u32, successes: u32| {
        let mut case = case.clone();
        let Story::Events(events) = &mut case.story else {
            return None;
        };
        let step = events.steps.first_mut()?;
        let PolicyEvent::Finding(finding) = &step.event else {
            return None;
        };
        step.known.repairs = vec![RepairHistory {
            kind: finding.kind.clone(),
            repair: finding.candidates.first()?.id.clone(),
            successes,
            failures,
            failures_in_a_row: failures,
            last_ms: 0,
        }];
        Some(case)
    };
    history(times, 0)
        .into_iter()
        .chain(history(0, times))
        .collect()
}

/// A case without parameters of its own: it is asked with the defaults.
fn with_defaults(case: &Case) -> Case {
    Case {
        parameters: Vec::new(),
        ..case.clone()
    }
}

/// A case with its findings changed.
fn with(case: &Case, change: &dyn Fn(&mut Finding)) -> Case {
    let mut case = case.clone();
    if let Story::Events(events) = &mut case.story {
        for step in &mut events.steps {
            if let PolicyEvent::Finding(finding) = &mut step.event {
                change(finding);
            }
        }
    }
    case
}

fn set(finding: &mut Finding, name: &str, is: f64) {
    let Some(fact) = finding.facts.iter_mut().find(|fact| fact.name == name) else {
        return;
    };
    match &mut fact.value {
        #[allow(clippy::cast_possible_truncation, reason = "an edge lies below 2^53")]
        Value::Integer(whole) => *whole = (is as i64).max(0),
        Value::Number(number) => *number = is,
        Value::Boolean(_) | Value::Text(_) | Value::Integers(_) | Value::Texts(_) => {}
    }
}

/// A case in which nothing happens for so long after its last event, and then time passes.
fn waiting(case: &Case, edge: f64) -> Option<Case> {
    let mut case = case.clone();
    let Story::Events(events) = &mut case.story else {
        return None;
    };
    if !(1.0..=1e12).contains(&edge) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds"
    )]
    let after_ms = edge as u64;
    let mut again = events.steps.last()?.clone();
    again.known = Known::default();
    again.when = When::After(after_ms);
    events.steps.push(again);
    events.steps.push(Step::after(after_ms, PolicyEvent::Tick));
    Some(case)
}

/// What is answered in a case with its own parameters.
fn answers_of(policy: &Policy, case: &Case) -> Vec<Said> {
    let policy = policy.with_settings(&case.parameters);
    policy.map_or_else(|_| Vec::new(), |policy| answers(&policy, case))
}

/// What is answered in a case with the policy's parameters as they are; nothing from a failure on.
fn answers(policy: &Policy, case: &Case) -> Vec<Said> {
    let Story::Events(events) = &case.story else {
        return Vec::new();
    };
    let mut all = Vec::new();
    play(policy, events, &mut |played| {
        let is_good = played.decision.failure.is_none();
        if is_good {
            all.push(said(&played.decision.verdict));
        }
        is_good
    });
    all
}

/// The first answer that differs.
fn differs(one: &[Said], other: &[Said]) -> Option<usize> {
    one.iter().zip(other).position(|(one, other)| one != other)
}
