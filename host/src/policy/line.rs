//! Several policies in line for one target: each is asked, and the most cautious verdict wins.
//!
//! | of the verdicts | what counts |
//! | --- | --- |
//! | classification, level, verbosity | the highest |
//! | repair | the one of the lowest risk; no repair is less risk than any |
//! | halt | when any of them halts |
//! | confidence | the lowest |
//! | alerts, reasons, suggestions | all, each once, in the order of the line; where they are too many, a fair share of each policy |
//! | memory | each policy keeps its own; the next one in its place takes it over |
//!
//! A policy that fails counts as the host's cautious verdict: so a line with a failing member
//! escalates and repairs nothing. Nothing here is asked for the time.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Decision, ITEMS, Policy, PolicyFailure};
use crate::model::{
    Candidate, CascadeLevel, Classification, Context, EscalationLevel, PolicyEvent, Urgency,
    Verbosity, Verdict,
};

/// Which component a policy is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component, hex.
    pub digest: String,
}

/// The policies of one target, in their order, each with what it left to be handed back.
pub struct Line {
    places: Vec<Place>,
}

struct Place {
    /// Its name in the configuration.
    name: Arc<str>,
    policy: Policy,
    memory: Vec<u8>,
    /// Of the last policy that proved itself here, where another one decides.
    left: Option<Left>,
    /// Takes over as soon as the running repair has ended.
    next: Option<Next>,
}

struct Next {
    policy: Policy,
    /// Whether the policy before has proved itself.
    after_proven: bool,
}

/// The memory of a policy when another one took its place: given back when it returns. What the
/// other one remembered since may be what it fails on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// SHA-256 of the policy's component, hex.
    pub digest: String,
    /// What it left to be handed back.
    pub memory: Vec<u8>,
}

impl Place {
    /// What is given back to the last policy that proved itself, once `next` decides.
    fn left_after(&self, next: &Next) -> Option<Left> {
        if next.after_proven && next.policy.digest() != self.policy.digest() {
            Some(Left {
                digest: self.policy.digest().to_owned(),
                memory: self.memory.clone(),
            })
        } else {
            self.left.clone()
        }
    }

    fn take_over(&mut self, next: Next) {
        let left = self.left_after(&next);
        match self.left.take() {
            Some(own) if own.digest == next.policy.digest() => self.memory = own.memory,
            _ => self.left = left,
        }
        self.policy = next.policy;
    }
}

/// What one policy of a line was asked and answered.
#[derive(Debug, Clone)]
pub struct Part {
    /// The policy's name in the configuration.
    pub policy: Arc<str>,
    /// Its component.
    pub digest: Arc<str>,
    /// What it was handed beside the event, its own settings and memory in it.
    pub context: Context,
    /// What it answered.
    pub decision: Decision,
}

/// What a line came to.
#[derive(Debug, Clone)]
pub struct LineDecision {
    /// What counts.
    pub verdict: Verdict,
    /// The first failure in the line.
    pub failure: Option<PolicyFailure>,
    /// What each policy said, in the order of the line.
    pub parts: Vec<Part>,
}

impl Line {
    /// A line of policies by their configured names, each with the memory that is handed to it, and
    /// what one before left that may return.
    pub fn new(places: impl IntoIterator<Item = (String, Policy, Vec<u8>, Option<Left>)>) -> Self {
        let places = places.into_iter().map(|(name, policy, memory, left)| {
            let (memory, left) = match left {
                // It returned while nothing ran.
                Some(own) if own.digest == policy.digest() => (own.memory, None),
                left => (memory, left),
            };
            Place {
                name: name.into(),
                policy,
                memory,
                left,
                next: None,
            }
        });
        Self {
            places: places.collect(),
        }
    }

    /// What those left that may return, by the name of the place.
    pub fn left(&self) -> impl Iterator<Item = (&str, Left)> {
        self.places.iter().filter_map(|place| {
            let left = match &place.next {
                Some(next) => place.left_after(next),
                None => place.left.clone(),
            };
            Some((&*place.name, left?))
        })
    }

    /// What each policy left to be handed back, by its configured name.
    pub fn memories(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.places.iter().map(|p| (&*p.name, &p.memory[..]))
    }

    /// Puts another policy in a place, with the memory of the one before; one that returns gets its
    /// own, see [`Left`]. `is_proven` says whether a policy may return, by its digest. While a
    /// repair is running it takes over at [`Line::repair_ended`]: a repair is judged to its end by
    /// the policy that chose it. Says whether the place is in this line.
    pub fn swap(
        &mut self,
        name: &str,
        policy: &Policy,
        is_proven: impl Fn(&str) -> bool,
        repair_is_running: bool,
    ) -> bool {
        let mut found = false;
        for place in self.places.iter_mut().filter(|p| &*p.name == name) {
            found = true;
            let next = Next {
                policy: policy.clone(),
                after_proven: is_proven(place.policy.digest()),
            };
            if repair_is_running {
                place.next = Some(next);
            } else {
                place.take_over(next);
                place.next = None;
            }
        }
        found
    }

    /// Lets those take over that waited for a repair to end.
    pub fn repair_ended(&mut self) {
        for place in &mut self.places {
            if let Some(next) = place.next.take() {
                place.take_over(next);
            }
        }
    }

    /// Asks every policy, by way of `ask`: its configured name, the policy, and its context.
    /// `context` holds everything but settings and memory, which are each policy's own.
    pub fn decide(
        &mut self,
        event: &PolicyEvent,
        context: &Context,
        mut ask: impl FnMut(&str, &Policy, &Context) -> Decision,
    ) -> LineDecision {
        let mut parts = Vec::with_capacity(self.places.len());
        for place in &mut self.places {
            let context = Context {
                settings: place.policy.settings().to_vec(),
                memory: place.memory.clone(),
                ..context.clone()
            };
            let decision = ask(&place.name, &place.policy, &context);
            place.memory.clone_from(&decision.verdict.memory);
            parts.push(Part {
                policy: Arc::clone(&place.name),
                digest: place.policy.shared_digest(),
                context,
                decision,
            });
        }
        let failure = parts.iter().find_map(|p| p.decision.failure.clone());
        let verdict = most_cautious(parts.iter().map(|p| &p.decision.verdict), event);
        LineDecision {
            verdict,
            failure,
            parts,
        }
    }
}

/// The most cautious of several verdicts on one event; the module says what that is. A single
/// verdict is its own; of several, the memory is empty. Without any, the most cautious there is.
pub fn most_cautious<'a>(
    verdicts: impl IntoIterator<Item = &'a Verdict>,
    event: &PolicyEvent,
) -> Verdict {
    let verdicts: Vec<&Verdict> = verdicts.into_iter().collect();
    let (first, others) = match verdicts[..] {
        [] => return nobody_judged(),
        [only] => return only.clone(),
        [first, ref others @ ..] => (first, others),
    };
    let mut all = first.clone();
    for next in others {
        lay_over(&mut all, next, event);
    }
    let alerts: Vec<_> = verdicts.iter().map(|v| &v.alerts[..]).collect();
    let reasons: Vec<_> = verdicts.iter().map(|v| &v.reasons[..]).collect();
    let suggestions: Vec<_> = verdicts.iter().map(|v| &v.suggestions[..]).collect();
    all.alerts = shared(&alerts, |alert| urgency_rank(alert.urgency));
    all.reasons = shared(&reasons, |_| 0);
    all.suggestions = shared(&suggestions, |_| 0);
    all.memory = Vec::new();
    all
}

fn lay_over(so_far: &mut Verdict, next: &Verdict, event: &PolicyEvent) {
    let class = |v: &Verdict| v.classification.map(class_rank);
    if class(next) > class(so_far) {
        so_far.classification = next.classification;
    }
    if level_rank(next.level) > level_rank(so_far.level) {
        so_far.level = next.level;
    }
    if verbosity_rank(next.verbosity) > verbosity_rank(so_far.verbosity) {
        so_far.verbosity = next.verbosity;
    }
    if less_risk(next.repair.as_deref(), so_far.repair.as_deref(), event) {
        so_far.repair.clone_from(&next.repair);
    }
    so_far.halt |= next.halt;
    so_far.confidence = so_far.confidence.min(next.confidence);
}

/// What each of several policies says, each thing once, in the order of the line. Where that is more
/// than one answer may hold, they take turns, and each gives its weightiest first: none silences
/// another.
fn shared<T: Clone + PartialEq>(said: &[&[T]], weight: impl Fn(&T) -> u8) -> Vec<T> {
    let mut all: Vec<&T> = Vec::new();
    // For each policy, the places of what it was the first to say.
    let mut first_said: Vec<Vec<usize>> = Vec::new();
    for items in said {
        let before = all.len();
        for item in *items {
            if !all.contains(&item) {
                all.push(item);
            }
        }
        first_said.push((before..all.len()).collect());
    }
    let mut kept: Vec<usize> = (0..all.len()).collect();
    if kept.len() > ITEMS {
        let mut turns: Vec<(usize, usize)> = Vec::new();
        for mut places in first_said {
            places.sort_by_key(|&place| Reverse(weight(all[place])));
            turns.extend(places.into_iter().enumerate());
        }
        turns.sort_unstable();
        kept = turns
            .into_iter()
            .take(ITEMS)
            .map(|(_, place)| place)
            .collect();
        kept.sort_unstable();
    }
    kept.into_iter().map(|place| all[place].clone()).collect()
}

/// Whether the first repair is of less risk than the second.
fn less_risk(first: Option<&str>, second: Option<&str>, event: &PolicyEvent) -> bool {
    let offered = match event {
        PolicyEvent::Finding(finding) => &finding.candidates[..],
        PolicyEvent::Outcome(_) | PolicyEvent::Tick => &[],
    };
    let candidate = |id: &str| offered.iter().find(|c| c.id == id);
    match (first, second) {
        (None, Some(_)) => true,
        (None | Some(_), None) => false,
        (Some(first), Some(second)) => match (candidate(first), candidate(second)) {
            (Some(a), Some(b)) => risk(a, b).then(a.id.cmp(&b.id)) == Ordering::Less,
            // A choice was held against the offer before; what is not in it is no less a risk.
            (Some(_), None) => true,
            (None, _) => false,
        },
    }
}

/// By what may be lost, then by how deep it goes, then by whether it can be taken back.
fn risk(a: &Candidate, b: &Candidate) -> Ordering {
    let (x, y) = (&a.expected_loss, &b.expected_loss);
    x.commits
        .cmp(&y.commits)
        .then(x.percent.total_cmp(&y.percent))
        .then(depth(a.level).cmp(&depth(b.level)))
        .then(b.undoable.cmp(&a.undoable))
        .then(a.expected_duration_ms.cmp(&b.expected_duration_ms))
}

fn depth(level: CascadeLevel) -> u8 {
    match level {
        CascadeLevel::InPlace => 0,
        CascadeLevel::Snapshot => 1,
        CascadeLevel::Replay => 2,
        CascadeLevel::Rebuild => 3,
    }
}

fn class_rank(class: Classification) -> u8 {
    match class {
        Classification::Hiccup => 0,
        Classification::Obstacle => 1,
        Classification::Wall => 2,
        Classification::Crisis => 3,
    }
}

fn level_rank(level: EscalationLevel) -> u8 {
    match level {
        EscalationLevel::Normal => 0,
        EscalationLevel::Watch => 1,
        EscalationLevel::Warn => 2,
        EscalationLevel::Escalate => 3,
    }
}

fn verbosity_rank(verbosity: Verbosity) -> u8 {
    match verbosity {
        Verbosity::Normal => 0,
        Verbosity::Elevated => 1,
        Verbosity::Incident => 2,
    }
}

fn urgency_rank(urgency: Urgency) -> u8 {
    match urgency {
        Urgency::Info => 0,
        Urgency::Warning => 1,
        Urgency::Critical => 2,
    }
}

/// For a line without a policy, which the configuration does not allow.
fn nobody_judged() -> Verdict {
    Verdict {
        classification: Some(Classification::Wall),
        level: EscalationLevel::Escalate,
        repair: None,
        halt: false,
        confidence: 0.0,
        verbosity: Verbosity::Incident,
        alerts: Vec::new(),
        reasons: vec![crate::model::Reason {
            rule: "policy.none".into(),
            text: "no policy is in line for this target".into(),
        }],
        suggestions: Vec::new(),
        memory: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
