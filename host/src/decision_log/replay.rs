//! Every decision of a log, made again by the component that made it, compared byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::DecisionLogError;
use super::crew::{self, Batch, Progress, Surroundings};
use super::line::{Answer, Decided};
use super::reader::Chain;
use crate::gate::about;
use crate::policy::{
    Decision, Isolation, Limits, Policy, PolicyFailure, Retold, Runtime, check_purity,
};
use crate::policy_tests;
use crate::signing::Verified;

/// Decisions after which an instance is replaced.
const RECYCLE_AFTER: u32 = 10_000;
/// Differences that are told one by one; more are counted.
const DIFFERENCES: usize = 10;
/// Bytes on each side of the first one that differs, as they are shown.
const AROUND: usize = 40;
/// Wall-clock time for one decision of a replay, milliseconds: on a busy machine nothing may be cut
/// off that was not cut off then.
pub(super) const DEADLINE_MS: u64 = 10_000;

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Replayed {
    /// Decisions in the log.
    pub decisions: u64,
    /// Decisions that came out the same, byte for byte.
    pub same: u64,
    /// Decisions that came out otherwise.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Decisions that could not be made again: the reason, and how many.
    pub skipped: BTreeMap<Skipped, u64>,
    /// Components that are not at hand: digest, name where it is known, and how many decisions.
    pub absent: BTreeMap<String, Absent>,
    /// What following the chain came to.
    pub chain: Chain,
}

impl Replayed {
    /// Whether there was nothing to be made again, and the chain holds.
    pub fn is_empty(&self) -> bool {
        self.reproduced() && self.same == 0
    }

    /// Whether every decision was made again and came out the same, but for those that the clock or a
    /// want of instances ended, and the chain holds.
    pub fn reproduced(&self) -> bool {
        let by_machine = self.skipped.get(&Skipped::ByMachine).copied();
        self.chain.holds() && self.same + by_machine.unwrap_or_default() == self.decisions
    }
}

/// Why a decision was not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// The clock or a want of instances ended it, then or now: that says nothing of the policy.
    ByMachine,
    /// Its component is not at hand.
    ComponentAbsent,
    /// Its settings do not stand in the log.
    SettingsAbsent,
    /// It read more telemetry than the log holds.
    TelemetryCut,
    /// The entry cannot be understood.
    Unreadable,
}

/// A component that is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Absent {
    /// Its name and version, where they are known.
    pub called: Option<String>,
    /// Decisions that it made.
    pub decisions: u64,
    /// Why it cannot be loaded, if it was found.
    pub why: Option<String>,
}

/// A decision that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The entry.
    pub entry: u64,
    /// The target.
    pub target: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was to be judged, in a few words.
    pub about: String,
    /// The first byte of the answer that differs, counted from 0.
    pub offset: usize,
    /// What stands in the log around it.
    pub recorded: String,
    /// What came out now.
    pub now: String,
}

/// Makes every decision of a log again. `component` finds a component by its digest.
///
/// # Errors
/// When the log cannot be read. What is wrong with its chain is no error: see [`Replayed::chain`].
pub fn replay(
    log: &Path,
    component: &(dyn Fn(&str) -> Option<Verified> + Sync),
    progress: &mut dyn FnMut(Progress),
) -> Result<Replayed, DecisionLogError> {
    let policies = Policies::new(component);
    let mut all = Replayed::default();
    let work = |batch: Batch| {
        let mut part = Part::default();
        for (entry, text) in &batch.entries {
            part.add(*entry, text, &batch.surroundings, &policies);
        }
        part
    };
    let chain = crew::work_through(log, work, |part| part.add_to(&mut all), progress)?;
    for (digest, absent) in &mut all.absent {
        absent.why = policies.why(digest);
    }
    all.chain = chain;
    Ok(all)
}

/// What a few entries came to.
#[derive(Default)]
struct Part {
    decisions: u64,
    same: u64,
    different: u64,
    differences: Vec<Difference>,
    skipped: Vec<Skipped>,
    absent: BTreeMap<String, Absent>,
}

impl Part {
    fn add(
        &mut self,
        entry: u64,
        text: &[u8],
        surroundings: &Surroundings,
        policies: &Policies<'_>,
    ) {
        self.decisions += 1;
        let Ok(decided) = serde_json::from_slice::<Decided<'_>>(text) else {
            self.skipped.push(Skipped::Unreadable);
            return;
        };
        let recorded = decided.answer.clone();
        let (at_ms, target) = (decided.at_ms, decided.target.to_string());
        let (digest, name) = (decided.digest.to_string(), decided.policy.to_string());
        let mut question = match Question::of(decided, surroundings) {
            Ok(question) => question,
            Err(why) => {
                self.skipped.push(why);
                return;
            }
        };
        let now = if let Some(decision) = question.without_policy() {
            text_of(&decision)
        } else {
            let limits = surroundings.limits_of(&name);
            let Some(policy) = policies.find(&digest, limits, &question.context.settings) else {
                self.skipped.push(Skipped::ComponentAbsent);
                let called = surroundings.called.get(&digest).cloned();
                let absent = self.absent.entry(digest).or_default();
                absent.called = called;
                absent.decisions += 1;
                return;
            };
            let decision = question.ask(&policy);
            if is_by_machine(decision.failure.as_ref()) {
                self.skipped.push(Skipped::ByMachine);
                return;
            }
            let now = text_of(&decision);
            if recorded.get() == now {
                now
            } else {
                // Whatever an instance may remember: what counts is the answer of a new one.
                text_of(&question.ask(&policy.with_isolation(Isolation::Fresh)))
            }
        };
        let Some(offset) = first_difference(recorded.get(), &now) else {
            self.same += 1;
            return;
        };
        self.different += 1;
        if self.differences.len() < DIFFERENCES {
            self.differences.push(Difference {
                entry,
                target,
                at_ms,
                about: about(&question.event),
                offset,
                recorded: around(recorded.get(), offset),
                now: around(&now, offset),
            });
        }
    }

    fn add_to(self, all: &mut Replayed) {
        all.decisions += self.decisions;
        all.same += self.same;
        all.different += self.different;
        let room = DIFFERENCES - all.differences.len();
        all.differences
            .extend(self.differences.into_iter().take(room));
        for skipped in self.skipped {
            *all.skipped.entry(skipped).or_default() += 1;
        }
        for (digest, absent) in self.absent {
            let known = all.absent.entry(digest).or_default();
            known.called = absent.called.or(known.called.take());
            known.decisions += absent.decisions;
        }
    }
}

/// The answer as it stands in a log.
fn text_of(decision: &Decision) -> String {
    // Serialises as it was serialised then: cannot fail.
    serde_json::to_string(&Answer::from(decision)).unwrap_or_default()
}

/// A decision of a log, ready to be asked for again.
pub(super) struct Question {
    pub(super) event: crate::model::PolicyEvent,
    context: crate::model::Context,
    telemetry: Retold,
    /// Why no policy was asked then, if none was.
    unasked: Option<PolicyFailure>,
    /// Whose the memory is: the component's digest, and its name and version where they are known.
    digest: String,
    called: Option<String>,
}

impl Question {
    /// With the settings that were in force; why not, where it cannot be asked again.
    pub(super) fn of(decided: Decided<'_>, surroundings: &Surroundings) -> Result<Self, Skipped> {
        if decided.telemetry_cut {
            return Err(Skipped::TelemetryCut);
        }
        let mut unasked = None;
        // Most have no failure; that shows without reading the whole answer.
        if !decided.answer.get().ends_with("\"failure\":null}") {
            let answer = serde_json::from_str::<Answer<'_>>(decided.answer.get());
            let answer = answer.map_err(|_| Skipped::Unreadable)?;
            let failure = answer.failure.into_owned();
            if is_by_machine(failure.as_ref()) {
                return Err(Skipped::ByMachine);
            }
            unasked = failure.filter(|why| matches!(why, PolicyFailure::OutOfService { .. }));
        }
        let settings = surroundings.packed.get(&*decided.settings);
        let settings = settings.ok_or(Skipped::SettingsAbsent)?;
        let mut context = decided.context.into_owned();
        context.settings = settings.to_vec();
        let digest = decided.digest.into_owned();
        Ok(Self {
            event: decided.event.into_owned(),
            context,
            called: surroundings.called.get(&digest).cloned(),
            digest,
            telemetry: Retold::new(decided.telemetry),
            unasked,
        })
    }

    /// The host's own decision where no policy was asked, as while one is out of service: it follows
    /// from the question alone.
    fn without_policy(&self) -> Option<Decision> {
        let why = self.unasked.clone()?;
        Some(Decision::without_policy(&self.event, &self.context, why))
    }

    /// Asks a policy with the settings that the question has.
    pub(super) fn ask(&mut self, policy: &Policy) -> Decision {
        policy.decide(&self.event, &self.context, &mut self.telemetry)
    }

    /// Asks a policy with its own settings, and with the memory that the log has where that is its
    /// own. Says whether it asked for telemetry that the log does not hold.
    pub(super) fn ask_anew(&mut self, policy: &Policy) -> (Decision, bool) {
        self.context.settings.clear();
        self.context.settings.extend_from_slice(policy.settings());
        let is_its_own = policy.digest() == self.digest
            || self.called.as_deref().is_some_and(|called| {
                let (name, _) = called.split_once(' ').unwrap_or((called, ""));
                name == policy.name()
            });
        if is_its_own {
            let decision = self.ask(policy);
            return (decision, self.telemetry.missed());
        }
        let memory = std::mem::take(&mut self.context.memory);
        let decision = self.ask(policy);
        self.context.memory = memory;
        (decision, self.telemetry.missed())
    }
}

/// Whether a failure comes of the machine and its load, so that it says nothing of the policy.
pub(super) fn is_by_machine(failure: Option<&PolicyFailure>) -> bool {
    failure.is_some_and(PolicyFailure::depends_on_machine)
}

/// The same policy in the isolation in which it answers soonest: in instances that are used again,
/// where it answers as a pure function does.
pub(super) fn soonest(policy: &Policy) -> Policy {
    let pure = policy_tests::typical(policy).is_ok_and(|asked| {
        let mut questions: Vec<_> = asked.into_iter().map(|asked| asked.question).collect();
        check_purity(policy, &mut questions).is_empty()
    });
    policy.with_isolation(if pure {
        Isolation::Reused {
            recycle_after: RECYCLE_AFTER,
        }
    } else {
        Isolation::Fresh
    })
}

/// The limits of a replay: what they were, with time enough.
pub fn patient(limits: &Limits) -> Limits {
    let workers = u32::try_from(crew::workers()).unwrap_or(u32::MAX);
    Limits {
        deadline_ms: limits.deadline_ms.max(DEADLINE_MS),
        max_instances: limits.max_instances.max(2 * workers),
        ..limits.clone()
    }
}

/// Policies by component and limits, loaded when they are first needed.
struct Policies<'a> {
    component: &'a (dyn Fn(&str) -> Option<Verified> + Sync),
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    runtimes: Vec<(Limits, Runtime)>,
    /// By component, and the place of the runtime.
    policies: HashMap<(String, usize), Option<Policy>>,
    why: HashMap<String, String>,
}

impl<'a> Policies<'a> {
    fn new(component: &'a (dyn Fn(&str) -> Option<Verified> + Sync)) -> Self {
        Self {
            component,
            loaded: Mutex::default(),
        }
    }

    fn why(&self, digest: &str) -> Option<String> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.why.get(digest).cloned()
    }

    /// The policy of a component and its limits; `packed` are settings that it decided with.
    fn find(&self, digest: &str, limits: &Limits, packed: &[u8]) -> Option<Policy> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = loaded
            .runtimes
            .iter()
            .position(|(known, _)| known == limits);
        if let Some(place) = place
            && let Some(known) = loaded.policies.get(&(digest.to_owned(), place))
        {
            return known.clone();
        }
        let place = place.unwrap_or(loaded.runtimes.len());
        let policy = loaded
            .load(digest, self.component, limits, packed, place)
            .unwrap_or_else(|why| {
                loaded.why.insert(digest.to_owned(), why);
                None
            });
        let key = (digest.to_owned(), place);
        loaded.policies.insert(key, policy.clone());
        policy
    }
}

impl Loaded {
    /// Each question brings its own settings. A policy need not accept its defaults, so it is loaded
    /// with settings that the log has.
    fn load(
        &mut self,
        digest: &str,
        component: &dyn Fn(&str) -> Option<Verified>,
        limits: &Limits,
        packed: &[u8],
        place: usize,
    ) -> Result<Option<Policy>, String> {
        if place == self.runtimes.len() {
            let runtime = Runtime::new(patient(limits)).map_err(|error| error.to_string())?;
            self.runtimes.push((limits.clone(), runtime));
        }
        let Some(component) = component(digest) else {
            return Ok(None);
        };
        let compiled = self.runtimes[place].1.compile(&component, None);
        compiled
            .map(|compiled| Some(soonest(&compiled.with_packed(packed))))
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }
}

/// The first byte that differs; none when all are the same.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let mut pairs = one.bytes().zip(other.bytes());
    let shorter = one.len().min(other.len());
    Some(pairs.position(|(a, b)| a != b).unwrap_or(shorter))
}

/// What stands around a byte, in one line.
fn around(text: &str, offset: usize) -> String {
    let from = text.floor_char_boundary(offset.saturating_sub(AROUND));
    let to = text.ceil_char_boundary((offset + AROUND).min(text.len()));
    let (more, rest) = (from > 0, to < text.len());
    format!(
        "{}{}{}",
        if more { "…" } else { "" },
        &text[from..to],
        if rest { "…" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_is_shown_with_what_is_around() {
        assert_eq!(first_difference("abc", "abc"), None);
        assert_eq!(first_difference("abc", "abd"), Some(2));
        assert_eq!(first_difference("abc", "ab"), Some(2));
        let text = format!("{}ü|{}", "x".repeat(60), "y".repeat(60));
        let shown = around(&text, 62);
        assert!(shown.starts_with("…x") && shown.ends_with("y…"), "{shown}");
        assert!(shown.contains("ü|y"));
        assert_eq!(around("short", 5), "short");
    }
}
