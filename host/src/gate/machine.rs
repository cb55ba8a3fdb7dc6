//! The rules of the gate as a state machine: what happened goes in, what is to be done comes out.
//!
//! It knows no file, no component and no clock: preparing a candidate, running it in the shadow and
//! swapping are done by whoever drives it, who says how it went. Only what was reported as prepared
//! is ever swapped in, and only by [`Output::Swap`].

use std::collections::{BTreeMap, VecDeque};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::record::{GateRecord, Known, Origin, Progress, Refusal, Step, SwapReason};
use super::settings::GateSettings;
use crate::model::{PolicyEvent, Verdict};
use crate::policy::Decision;

/// Refused candidates of one place that are remembered, so that a file that lies there is not tried
/// again and again.
const REFUSED: usize = 64;

/// What happened to the policy of one name.
#[derive(Debug)]
pub enum Input {
    /// A candidate was found.
    Offered {
        /// Its SHA-256.
        digest: String,
        /// Where it comes from.
        origin: Origin,
    },
    /// It took a step of its preparation.
    Passed {
        /// Its SHA-256.
        digest: String,
        /// The step.
        step: Step,
    },
    /// It did not.
    Refused {
        /// Its SHA-256.
        digest: String,
        /// Which step, and why.
        refusal: Refusal,
    },
    /// It took all of them.
    Ready {
        /// Who it is.
        candidate: Known,
    },
    /// It decided in the shadow.
    Compared(Box<Compared>),
    /// The policy in service decided.
    Decided {
        /// Its SHA-256.
        digest: String,
        /// How it failed, if its failure speaks against it.
        failure: Option<String>,
        /// Whether it took longer than it should.
        slow: bool,
    },
    /// A swap was done.
    Swapped {
        /// The SHA-256 of what is in service now.
        digest: String,
    },
    /// A person wants the candidate in service.
    Promote,
    /// A person wants the last good policy back.
    RollBack,
    /// Time passed.
    Tick,
}

/// A decision in the shadow.
#[derive(Debug)]
pub struct Compared {
    /// The candidate's SHA-256.
    pub digest: String,
    /// The target.
    pub target: String,
    /// What was to be judged.
    pub event: PolicyEvent,
    /// What the policy in service said.
    pub present: Verdict,
    /// What the candidate did.
    pub candidate: Decision,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Take a candidate through signature, contract, compile, parameters and tests.
    Prepare {
        /// Its SHA-256.
        digest: String,
    },
    /// From now on a candidate decides in the shadow.
    BeginShadow {
        /// Its SHA-256.
        digest: String,
    },
    /// No more.
    EndShadow,
    /// Put a prepared policy in service, between two decisions.
    Swap {
        /// Its SHA-256.
        digest: String,
        /// Why.
        why: SwapReason,
    },
    /// To be written down.
    Record(Box<GateRecord>),
    /// What the next run must know has changed.
    Persist,
}

/// What the next run must know of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What is in service.
    pub present: Known,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether it has to prove itself yet.
    pub on_probation: bool,
    /// What was in service before and proved itself.
    pub last_good: Option<Known>,
    /// A candidate in the shadow.
    pub candidate: Option<Known>,
    /// What the source held last.
    pub source_digest: Option<String>,
    /// Candidates that were refused, the latest last.
    pub refused: VecDeque<RefusedCandidate>,
}

/// A candidate that did not come into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCandidate {
    /// Its SHA-256.
    pub digest: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which step, and why.
    #[serde(flatten)]
    pub refusal: Refusal,
}

impl Service {
    /// The beginning: a policy in service, and nothing else.
    pub fn new(present: Known, since_ms: u64) -> Self {
        Self {
            present,
            since_ms,
            on_probation: false,
            last_good: None,
            candidate: None,
            source_digest: None,
            refused: VecDeque::new(),
        }
    }
}

/// Where a candidate is, once it is prepared.
#[derive(Debug)]
enum Phase {
    /// There is none.
    None,
    Shadow {
        candidate: Known,
        since_ms: u64,
        comparison: Comparison,
    },
    /// It waits for a person.
    Waiting {
        candidate: Known,
        since_ms: u64,
        comparison: Comparison,
        reason: String,
    },
    /// It is being swapped in.
    Swapping { candidate: Known, why: SwapReason },
}

#[derive(Debug)]
struct Probation {
    since_ms: u64,
    decisions: u64,
    failures: u64,
    slow: u64,
}

/// The gate of one policy.
#[derive(Debug)]
pub struct Machine {
    name: String,
    settings: GateSettings,
    service: Service,
    /// What is being prepared.
    preparing: Option<(String, Origin)>,
    phase: Phase,
    probation: Option<Probation>,
    failures_in_a_row: u64,
    /// Counted since the policy came into service, or since the start.
    decisions: u64,
    failures: u64,
}

/// What `policy status` shows of where a candidate is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum CandidateState {
    /// It is being prepared.
    Preparing {
        /// Its SHA-256.
        digest: String,
    },
    /// It decides in the shadow.
    Shadow {
        /// Who it is.
        candidate: Known,
        /// Since when, milliseconds since the Unix epoch.
        since_ms: u64,
        /// How it compares.
        comparison: super::comparison::ComparisonReport,
    },
    /// It waits for a person.
    Waiting {
        /// Who it is.
        candidate: Known,
        /// Since when it was in the shadow, milliseconds since the Unix epoch.
        since_ms: u64,
        /// Why it was not promoted.
        reason: String,
        /// How it compared.
        comparison: super::comparison::ComparisonReport,
    },
}

impl Machine {
    /// The gate of the policy of this name.
    pub fn new(name: &str, settings: GateSettings, service: Service, at_ms: u64) -> Self {
        let probation = service.on_probation.then_some(Probation {
            since_ms: at_ms,
            decisions: 0,
            failures: 0,
            slow: 0,
        });
        Self {
            name: name.to_owned(),
            settings,
            service,
            preparing: None,
            phase: Phase::None,
            probation,
            failures_in_a_row: 0,
            decisions: 0,
            failures: 0,
        }
    }

    /// What the next run must know.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Notes what the source holds, so that only a change of it is a candidate.
    pub fn source_holds(&mut self, digest: &str) {
        self.service.source_digest = Some(digest.to_owned());
    }

    /// Decisions and failures since the policy came into service, or since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.decisions, self.failures)
    }

    /// Where the candidate is.
    pub fn candidate(&self) -> Option<CandidateState> {
        match &self.phase {
            Phase::Shadow {
                candidate,
                since_ms,
                comparison,
            } => Some(CandidateState::Shadow {
                candidate: candidate.clone(),
                since_ms: *since_ms,
                comparison: comparison.report(),
            }),
            Phase::Waiting {
                candidate,
                since_ms,
                comparison,
                reason,
            } => Some(CandidateState::Waiting {
                candidate: candidate.clone(),
                since_ms: *since_ms,
                reason: reason.clone(),
                comparison: comparison.report(),
            }),
            Phase::None | Phase::Swapping { .. } => {
                let (digest, _) = self.preparing.as_ref()?;
                Some(CandidateState::Preparing {
                    digest: digest.clone(),
                })
            }
        }
    }

    /// Takes what happened at a time, in milliseconds since the Unix epoch.
    pub fn step(&mut self, at_ms: u64, input: Input) -> Vec<Output> {
        match input {
            Input::Offered { digest, origin } => self.offered(digest, origin),
            Input::Passed { digest, step } if self.is_preparing(&digest) => {
                vec![self.record(&digest, None, step, Progress::Passed)]
            }
            Input::Refused { digest, refusal } if self.is_preparing(&digest) => {
                self.preparing = None;
                self.refuse(at_ms, &digest, None, refusal)
            }
            Input::Ready { candidate } if self.is_preparing(&candidate.identity.digest) => {
                self.ready(at_ms, candidate)
            }
            // Of a candidate that another one has overtaken.
            Input::Passed { .. } | Input::Refused { .. } | Input::Ready { .. } => Vec::new(),
            Input::Compared(compared) => self.compared(at_ms, &compared),
            Input::Decided {
                digest,
                failure,
                slow,
            } => self.decided(at_ms, &digest, failure.as_deref(), slow),
            Input::Swapped { digest } => self.swapped(at_ms, &digest),
            Input::Promote => self.promote(),
            Input::RollBack => self.roll_back(at_ms, "a person said so", &SwapReason::Person),
            Input::Tick => {
                let mut outputs = self.judge_shadow(at_ms);
                outputs.extend(self.judge_probation(at_ms));
                outputs
            }
        }
    }

    fn is_preparing(&self, digest: &str) -> bool {
        self.preparing.as_ref().is_some_and(|(d, _)| d == digest)
    }

    fn offered(&mut self, digest: String, origin: Origin) -> Vec<Output> {
        let present = &self.service.present.identity.digest;
        let by_person = origin == Origin::Person;
        let refused = self.service.refused.iter().find(|r| r.digest == digest);
        let in_hand = match &self.phase {
            Phase::Shadow { candidate, .. }
            | Phase::Waiting { candidate, .. }
            | Phase::Swapping { candidate, .. } => candidate.identity.digest == digest,
            Phase::None => false,
        };
        let known = if *present == digest {
            Some("it is in service already")
        } else if in_hand || self.is_preparing(&digest) {
            Some("it is the candidate already")
        } else {
            None
        };
        if let Some(reason) = known {
            let reason = reason.to_owned();
            let denied = self.record(&digest, None, Step::Swap, Progress::Denied { reason });
            return by_person.then_some(denied).into_iter().collect();
        }
        if !by_person && refused.is_some_and(|r| !r.refusal.step.may_pass_later()) {
            return Vec::new();
        }
        let record = self.record(
            &digest,
            None,
            Step::Signature,
            Progress::Offered {
                origin: origin.clone(),
            },
        );
        self.preparing = Some((digest.clone(), origin));
        vec![record, Output::Prepare { digest }]
    }

    fn ready(&mut self, at_ms: u64, candidate: Known) -> Vec<Output> {
        let digest = candidate.identity.digest.clone();
        self.preparing = None;
        if let Some(refusal) = self.downgrade(&candidate) {
            return self.refuse(at_ms, &digest, Some(&candidate), refusal);
        }
        // Another candidate in the shadow gives way: this one is newer.
        let mut outputs = self.leave_shadow();
        self.service.candidate = Some(candidate.clone());
        if self.settings.shadow.decisions == 0 {
            outputs.push(self.swap(candidate, SwapReason::Promoted));
        } else {
            outputs.push(self.record(&digest, Some(&candidate), Step::Shadow, Progress::Began));
            outputs.push(Output::BeginShadow { digest });
            self.phase = Phase::Shadow {
                candidate,
                since_ms: at_ms,
                comparison: Comparison::default(),
            };
        }
        outputs.push(Output::Persist);
        outputs
    }

    /// An older version of the policy in service.
    fn downgrade(&self, candidate: &Known) -> Option<Refusal> {
        let present = &self.service.present.identity;
        let candidate = &candidate.identity;
        if self.settings.allow_downgrade || present.name != candidate.name {
            return None;
        }
        let refuse = |reason: String| Refusal::new(Step::Signature, reason);
        // What is in service may be older than this rule.
        let before = Version::parse(&present.version).ok()?;
        match Version::parse(&candidate.version) {
            Ok(version) if version < before => Some(refuse(format!(
                "version {version} is older than {before}, which is in service; \
                 `allow_downgrade = true` lets it"
            ))),
            Ok(_) => None,
            Err(error) => Some(refuse(format!(
                "its version `{}` is no semantic version, so nobody knows whether it is older: \
                 {error}",
                candidate.version
            ))),
        }
    }

    fn compared(&mut self, at_ms: u64, compared: &Compared) -> Vec<Output> {
        let Phase::Shadow {
            candidate,
            comparison,
            ..
        } = &mut self.phase
        else {
            return Vec::new();
        };
        if candidate.identity.digest != compared.digest {
            return Vec::new();
        }
        comparison.add(
            &compared.target,
            at_ms,
            &compared.event,
            &compared.present,
            &compared.candidate,
        );
        self.judge_shadow(at_ms)
    }

    /// Whether the shadow has shown enough.
    fn judge_shadow(&mut self, at_ms: u64) -> Vec<Output> {
        let Phase::Shadow {
            candidate,
            since_ms,
            comparison,
        } = &self.phase
        else {
            return Vec::new();
        };
        let (candidate, since_ms) = (candidate.clone(), *since_ms);
        let shadow = &self.settings.shadow;
        let (failures, first) = comparison.failures();
        if failures > shadow.failures {
            let reason = format!(
                "it failed in {failures} of {} decisions, first: {}",
                comparison.decisions(),
                first.unwrap_or("unknown")
            );
            let digest = candidate.identity.digest.clone();
            let mut outputs = self.leave_shadow();
            let refusal = Refusal::new(Step::Shadow, reason);
            outputs.extend(self.refuse(at_ms, &digest, Some(&candidate), refusal));
            return outputs;
        }
        let over = at_ms.saturating_sub(since_ms) >= shadow.time_ms;
        if comparison.decisions() == 0 || !(over || comparison.decisions() >= shadow.decisions) {
            return Vec::new();
        }
        let differ = comparison.difference_percent();
        let reason = if !shadow.promote_by_itself {
            "`promote = \"manual\"`".to_owned()
        } else if differ > shadow.difference_percent {
            format!(
                "it differs in {differ:.1} % of {} decisions, {} % are the bound",
                comparison.decisions(),
                shadow.difference_percent
            )
        } else {
            let passed = self.record(
                &candidate.identity.digest,
                Some(&candidate),
                Step::Shadow,
                Progress::Passed,
            );
            let mut outputs = vec![passed];
            outputs.extend(self.leave_shadow());
            outputs.push(self.swap(candidate, SwapReason::Promoted));
            return outputs;
        };
        let comparison = comparison.clone();
        let awaits = self.record(
            &candidate.identity.digest,
            Some(&candidate),
            Step::Shadow,
            Progress::AwaitsPerson {
                reason: reason.clone(),
            },
        );
        self.phase = Phase::Waiting {
            candidate,
            since_ms,
            comparison,
            reason,
        };
        vec![awaits, Output::EndShadow]
    }

    fn leave_shadow(&mut self) -> Vec<Output> {
        match std::mem::replace(&mut self.phase, Phase::None) {
            Phase::Shadow { .. } => vec![Output::EndShadow],
            // What is being swapped in is past the shadow.
            swapping @ Phase::Swapping { .. } => {
                self.phase = swapping;
                Vec::new()
            }
            Phase::None | Phase::Waiting { .. } => Vec::new(),
        }
    }

    fn swap(&mut self, candidate: Known, why: SwapReason) -> Output {
        let digest = candidate.identity.digest.clone();
        self.phase = Phase::Swapping {
            candidate,
            why: why.clone(),
        };
        Output::Swap { digest, why }
    }

    fn swapped(&mut self, at_ms: u64, digest: &str) -> Vec<Output> {
        let Phase::Swapping { candidate, why } = &self.phase else {
            return Vec::new();
        };
        if candidate.identity.digest != digest {
            return Vec::new();
        }
        let (candidate, why) = (candidate.clone(), why.clone());
        self.phase = Phase::None;
        let back = matches!(why, SwapReason::RolledBack { .. })
            || self.service.last_good.as_ref() == Some(&candidate);
        let before = std::mem::replace(&mut self.service.present, candidate.clone());
        // What has not proved itself is nothing to come back to.
        if back {
            self.service.last_good = None;
        } else if self.probation.is_none() {
            self.service.last_good = Some(before.clone());
        }
        self.service.since_ms = at_ms;
        self.service.candidate = None;
        self.service.on_probation = !back && self.service.last_good.is_some();
        self.probation = self.service.on_probation.then_some(Probation {
            since_ms: at_ms,
            decisions: 0,
            failures: 0,
            slow: 0,
        });
        (self.failures_in_a_row, self.decisions, self.failures) = (0, 0, 0);
        let in_service = Progress::InService {
            why,
            before: before.identity,
        };
        vec![
            self.record(digest, Some(&candidate), Step::Swap, in_service),
            Output::Persist,
        ]
    }

    fn decided(
        &mut self,
        at_ms: u64,
        digest: &str,
        failure: Option<&str>,
        slow: bool,
    ) -> Vec<Output> {
        // Decisions of the one before may still be on their way.
        if self.service.present.identity.digest != digest {
            return Vec::new();
        }
        self.decisions += 1;
        self.failures += u64::from(failure.is_some());
        self.failures_in_a_row = if failure.is_some() {
            self.failures_in_a_row + 1
        } else {
            0
        };
        if let Some(probation) = &mut self.probation {
            probation.decisions += 1;
            probation.failures += u64::from(failure.is_some());
            probation.slow += u64::from(slow);
        }
        let Some(why) = self.unfit(failure) else {
            return self.judge_probation(at_ms);
        };
        if matches!(self.phase, Phase::Swapping { .. }) {
            return Vec::new();
        }
        self.roll_back(
            at_ms,
            &why,
            &SwapReason::RolledBack {
                reason: why.clone(),
            },
        )
    }

    /// Why the policy in service must go, if it must and there is one to put back.
    fn unfit(&self, failure: Option<&str>) -> Option<String> {
        self.service.last_good.as_ref()?;
        let settings = &self.settings.probation;
        let last = failure.unwrap_or("unknown");
        if let Some(probation) = &self.probation {
            if probation.failures >= settings.failures {
                let of = probation.decisions;
                return Some(format!(
                    "{} of its first {of} decisions failed: {last}",
                    probation.failures
                ));
            }
            if probation.slow >= settings.slow_decisions {
                return Some(format!(
                    "{} of its first {} decisions took longer than {} ms",
                    probation.slow, probation.decisions, settings.slow_ms
                ));
            }
        }
        (self.failures_in_a_row >= settings.failures_in_a_row).then(|| {
            format!(
                "{} decisions in a row failed: {last}",
                self.failures_in_a_row
            )
        })
    }

    /// Whether the policy in service has proved itself.
    fn judge_probation(&mut self, at_ms: u64) -> Vec<Output> {
        let settings = &self.settings.probation;
        let proved = self.probation.as_ref().is_some_and(|probation| {
            let over = at_ms.saturating_sub(probation.since_ms) >= settings.time_ms;
            probation.decisions > 0 && (over || probation.decisions >= settings.decisions)
        });
        if !proved {
            return Vec::new();
        }
        self.probation = None;
        self.service.on_probation = false;
        let present = self.service.present.clone();
        vec![
            self.record(
                &present.identity.digest,
                Some(&present),
                Step::Probation,
                Progress::Passed,
            ),
            Output::Persist,
        ]
    }

    fn promote(&mut self) -> Vec<Output> {
        let candidate = match &self.phase {
            Phase::Shadow { candidate, .. } | Phase::Waiting { candidate, .. } => candidate.clone(),
            Phase::None | Phase::Swapping { .. } => {
                let present = self.service.present.clone();
                let reason = "no candidate is in the shadow or waits".to_owned();
                let digest = &present.identity.digest;
                return vec![self.record(
                    digest,
                    Some(&present),
                    Step::Swap,
                    Progress::Denied { reason },
                )];
            }
        };
        let mut outputs = self.leave_shadow();
        outputs.push(self.swap(candidate, SwapReason::Person));
        outputs
    }

    /// Puts the last good policy back, and remembers the present one as refused.
    fn roll_back(&mut self, at_ms: u64, reason: &str, why: &SwapReason) -> Vec<Output> {
        let present = self.service.present.clone();
        let digest = present.identity.digest.clone();
        let Some(last_good) = self.service.last_good.clone() else {
            let reason = "there is no policy to put back".to_owned();
            return vec![self.record(
                &digest,
                Some(&present),
                Step::Swap,
                Progress::Denied { reason },
            )];
        };
        let mut outputs = self.leave_shadow();
        let refusal = Refusal::new(Step::Probation, reason.to_owned());
        outputs.extend(self.refuse(at_ms, &digest, Some(&present), refusal));
        outputs.push(self.swap(last_good, why.clone()));
        outputs
    }

    fn refuse(
        &mut self,
        at_ms: u64,
        digest: &str,
        candidate: Option<&Known>,
        refusal: Refusal,
    ) -> Vec<Output> {
        let record = self.record(
            digest,
            candidate,
            refusal.step,
            Progress::Refused {
                reason: refusal.reason.clone(),
            },
        );
        let refused = &mut self.service.refused;
        refused.retain(|earlier| earlier.digest != digest);
        if refused.len() == REFUSED {
            refused.pop_front();
        }
        refused.push_back(RefusedCandidate {
            digest: digest.to_owned(),
            at_ms,
            refusal,
        });
        if candidate == self.service.candidate.as_ref() {
            self.service.candidate = None;
        }
        vec![record, Output::Persist]
    }

    fn record(
        &self,
        digest: &str,
        candidate: Option<&Known>,
        step: Step,
        progress: Progress,
    ) -> Output {
        Output::Record(Box::new(GateRecord {
            policy: self.name.clone(),
            digest: digest.to_owned(),
            candidate: candidate.cloned(),
            step,
            progress,
        }))
    }
}

/// The gates of all policies, by their configured names.
pub type Machines = BTreeMap<String, Machine>;

#[cfg(test)]
mod tests;
