//! Several policies in line for one target: each is asked, and the most cautious verdict wins.
//!
//! | of the verdicts | what counts |
//! | --- | --- |
//! | classification, level, verbosity | the highest |
//! | repair | the one of the lowest risk; no repair is less risk than any |
//! | needs approval | when any of them says so |
//! | halt | when any of them halts |
//! | confidence | the lowest |
//! | alerts, reasons, suggestions | all, each once, in the order of the line; where they are too many, a fair share of each policy |
//! | memory | each policy has its own in each place; see [`Owner`] |
//!
//! A policy that fails counts as the host's cautious verdict: so a line with a failing member
//! escalates and repairs nothing. Nothing here is asked for the time.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::memory::{self, Owner, Remembered, Signer};
use super::{Decider, Decision, ITEMS, PolicyFailure};
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
    policy: Arc<dyn Decider>,
    /// Whose the memory is: the policy's in service.
    owner: Owner,
    memory: Vec<u8>,
    /// What other policies left here, the latest last.
    kept: Vec<Remembered>,
    /// Of the last policy that proved itself here, where another one decides.
    left: Option<Left>,
    /// Takes over as soon as the running repair has ended.
    next: Option<Next>,
}

struct Next {
    policy: Arc<dyn Decider>,
    owner: Owner,
    /// Whether the policy before has proved itself.
    after_proven: bool,
}

/// The memory of a component when another one took its place: given back when it returns. What a later
/// version of it remembered since may be what it fails on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// SHA-256 of the policy's component, hex.
    pub digest: String,
    /// What it left to be handed back.
    pub memory: Vec<u8>,
}

/// What is remembered in one place of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembrance {
    /// What each policy left that decided here, the one in service last.
    pub memories: Vec<Remembered>,
    /// What one before left that may return.
    pub left: Option<Left>,
}

/// A place of a line, to begin with.
pub struct Beginning {
    /// Its name in the configuration.
    pub name: String,
    /// The policy in service.
    pub policy: Arc<dyn Decider>,
    /// Who vouches for it.
    pub signer: Signer,
    /// What is remembered there.
    pub remembrance: Remembrance,
}

impl Place {
    fn begin(beginning: Beginning) -> Self {
        let Beginning {
            name,
            policy,
            signer,
            remembrance,
        } = beginning;
        let Remembrance { mut memories, left } = remembrance;
        let owner = Owner::new(policy.identity(), signer);
        let own = memory::take(&mut memories, &owner).unwrap_or_default();
        let (memory, left) = match left {
            // It returned while nothing ran.
            Some(left) if left.digest == owner.digest => (left.memory, None),
            left => (own, left),
        };
        Self {
            name: name.into(),
            policy,
            owner,
            memory,
            kept: memories,
            left,
            next: None,
        }
    }

    /// What is given back to the last policy that proved itself, once `next` decides.
    fn left_after(&self, next: &Next) -> Option<Left> {
        if next.after_proven && next.owner.digest != self.owner.digest {
            Some(Left {
                digest: self.owner.digest.clone(),
                memory: self.memory.clone(),
            })
        } else {
            self.left.clone()
        }
    }

    /// The policy changes, and with it whose memory is handed out: see [`memory`].
    fn take_over(&mut self, next: Next) {
        let left = self.left_after(&next);
        let goes_on = self.owner.is_same(&next.owner);
        let mut memory = std::mem::take(&mut self.memory);
        if !goes_on {
            let own = memory::take(&mut self.kept, &next.owner).unwrap_or_default();
            let before = std::mem::replace(&mut memory, own);
            // What kept failing may fail on what it remembers: it begins anew.
            if next.after_proven {
                memory::keep(&mut self.kept, self.owner.clone(), before);
            }
        }
        match self.left.take() {
            Some(own) if own.digest == next.owner.digest => memory = own.memory,
            _ => self.left = left,
        }
        self.memory = memory;
        self.owner = next.owner;
        self.policy = next.policy;
    }

    /// What is remembered here, the policy in service last.
    fn memories(&self) -> Vec<Remembered> {
        let own = Remembered {
            owner: Some(self.owner.clone()),
            memory: self.memory.clone(),
        };
        self.kept.iter().cloned().chain([own]).collect()
    }

    /// Everybody whose memory is here.
    fn owners(&mut self) -> impl Iterator<Item = &mut Owner> {
        let kept = self.kept.iter_mut();
        let next = self.next.as_mut().map(|next| &mut next.owner);
        let kept = kept.filter_map(|remembered| remembered.owner.as_mut());
        kept.chain(next).chain([&mut self.owner])
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
    /// A line of policies in their order.
    pub fn new(places: impl IntoIterator<Item = Beginning>) -> Self {
        Self {
            places: places.into_iter().map(Place::begin).collect(),
        }
    }

    /// What is remembered in each place, by its name.
    pub fn remembrances(&self) -> impl Iterator<Item = (&str, Remembrance)> {
        self.places.iter().map(|place| {
            let left = match &place.next {
                Some(next) => place.left_after(next),
                None => place.left.clone(),
            };
            let memories = place.memories();
            (&*place.name, Remembrance { memories, left })
        })
    }

    /// Whether a component is in service in one of the places, or waits to be.
    pub fn uses(&self, digest: &str) -> bool {
        let waits = |place: &Place| {
            let next = place.next.as_ref();
            next.is_some_and(|next| next.owner.digest == digest)
        };
        self.places
            .iter()
            .any(|place| place.owner.digest == digest || waits(place))
    }

    /// Notes who vouches for a component from now on, wherever it stands.
    pub fn sign(&mut self, digest: &str, signer: &Signer) {
        let owners = self.places.iter_mut().flat_map(Place::owners);
        for owner in owners.filter(|owner| owner.digest == digest) {
            owner.signer.clone_from(signer);
        }
    }

    /// Puts another policy in a place, with its own memory. `is_proven` says whether a policy may
    /// return, by its digest; it then finds what it left. While a repair is running it takes over at
    /// [`Line::repair_ended`]: a repair is judged to its end by the policy that chose it. Says whether
    /// the place is in this line.
    pub fn swap(
        &mut self,
        name: &str,
        policy: &Arc<dyn Decider>,
        signer: &Signer,
        is_proven: impl Fn(&str) -> bool,
        repair_is_running: bool,
    ) -> bool {
        let mut found = false;
        for place in self.places.iter_mut().filter(|p| &*p.name == name) {
            found = true;
            let next = Next {
                policy: Arc::clone(policy),
                owner: Owner::new(policy.identity(), signer.clone()),
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
        mut ask: impl FnMut(&str, &dyn Decider, &Context) -> Decision,
    ) -> LineDecision {
        let mut parts = Vec::with_capacity(self.places.len());
        for place in &mut self.places {
            let context = Context {
                settings: place.policy.settings().to_vec(),
                memory: place.memory.clone(),
                ..context.clone()
            };
            let decision = ask(&place.name, &*place.policy, &context);
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
    so_far.needs_approval |= next.needs_approval;
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
        needs_approval: false,
    }
}

#[cfg(test)]
mod tests;
