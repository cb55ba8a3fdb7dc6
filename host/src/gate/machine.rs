//! The rules of the gate as a state machine: what happened goes in, what is to be done comes out.
//!
//! It knows no file, no component and no clock, and counts no failure, which the breaker does.
//! Preparing a candidate, running it in the shadow and swapping are done by whoever drives it, who
//! says how it went. Only what was reported as prepared is ever swapped in, and only by
//! [`Output::Swap`].

mod going;
mod kept;
mod messages;
mod shadow;
mod swap;

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::record::{GateRecord, Known, Origin, Progress, Refusal, Step, SwapReason};
use super::settings::GateSettings;
use crate::policy::{Probation, Standing};

pub use kept::{OutOfService, RefusedCandidate, Service};
pub use messages::{Compared, Input, Output};

/// Refused candidates of one place that are remembered, so that a file that lies there is not tried
/// again and again.
const REFUSED: usize = 64;

/// Where a candidate is, once it is prepared.
#[derive(Debug)]
enum Phase {
    /// There is none.
    None,
    Shadow {
        candidate: Known,
        origin: Origin,
        since_ms: u64,
        comparison: Comparison,
    },
    /// It waits for a person.
    Waiting {
        candidate: Known,
        origin: Origin,
        since_ms: u64,
        comparison: Comparison,
        reason: String,
    },
    /// It is being swapped in.
    Swapping {
        candidate: Known,
        why: SwapReason,
        standing: Standing,
    },
}

/// A candidate before its shadow.
#[derive(Debug)]
struct Preparing {
    digest: String,
    origin: Origin,
    /// Who it is, when it is prepared and a swap in flight holds it back.
    ready: Option<Known>,
}

/// The gate of one policy.
#[derive(Debug)]
pub struct Machine {
    name: String,
    settings: GateSettings,
    service: Service,
    /// What is being prepared, or is held back.
    preparing: Option<Preparing>,
    phase: Phase,
    /// Slow decisions on probation.
    slow: u64,
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
    pub fn new(name: &str, settings: GateSettings, mut service: Service) -> Self {
        service.note_version();
        Self {
            name: name.to_owned(),
            settings,
            service,
            preparing: None,
            phase: Phase::None,
            slow: 0,
        }
    }

    /// What the next run must know.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Every policy that may come into service without being prepared again, or is there.
    pub fn needed(&self) -> impl Iterator<Item = &Known> {
        let held_back = self.preparing.as_ref().and_then(|one| one.ready.as_ref());
        self.service.needed().chain(held_back)
    }

    /// Who the policy of this digest is, where it may come into service or is there.
    pub fn known(&self, digest: &str) -> Option<&Known> {
        let candidate = match &self.phase {
            Phase::Shadow { candidate, .. }
            | Phase::Waiting { candidate, .. }
            | Phase::Swapping { candidate, .. } => Some(candidate),
            Phase::None => None,
        };
        let mut all = candidate.into_iter().chain(self.needed());
        all.find(|known| known.identity.digest == digest)
    }

    /// Whether a policy is in service, or is the candidate and prepared.
    pub fn has_in_hand(&self, digest: &str) -> bool {
        self.service.present.identity.digest == digest || self.is_candidate(digest)
    }

    /// What the policy in service has to show yet, where it is on probation.
    pub fn probation(&self) -> Option<Probation> {
        let settings = &self.settings.probation;
        self.service.on_probation.then(|| settings.bounds())
    }

    /// Where the candidate is.
    pub fn candidate(&self) -> Option<CandidateState> {
        match &self.phase {
            Phase::Shadow {
                candidate,
                since_ms,
                comparison,
                ..
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
                ..
            } => Some(CandidateState::Waiting {
                candidate: candidate.clone(),
                since_ms: *since_ms,
                reason: reason.clone(),
                comparison: comparison.report(),
            }),
            Phase::None | Phase::Swapping { .. } => {
                let Preparing { digest, .. } = self.preparing.as_ref()?;
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
            Input::Unfit { digest, refusal } => {
                let mut outputs = vec![self.is_offered(&digest, Origin::Source)];
                outputs.extend(self.refuse(at_ms, &digest, None, refusal));
                outputs
            }
            Input::SourceHolds { digest } => self.source_holds(digest),
            Input::SourceDropped { digest } => self.source_dropped(&digest),
            Input::Signed { digest, signer } => self.signed(&digest, signer),
            Input::Compared(compared) => self.compared(at_ms, &compared),
            Input::Slow { digest } => self.slow(at_ms, &digest),
            Input::Changed { digest, change } => self.changed(at_ms, &digest, change),
            Input::Swapped { digest } => self.swapped(at_ms, &digest),
            Input::Promote => self.promote(),
            Input::RollBack if self.is_swapping() => vec![self.denied_while_swapping()],
            Input::RollBack => self.roll_back(at_ms, "a person said so", &SwapReason::Person),
            Input::Tick => {
                let mut outputs = self.judge_shadow(at_ms);
                outputs.extend(self.try_again(at_ms));
                outputs
            }
        }
    }

    fn is_preparing(&self, digest: &str) -> bool {
        self.preparing
            .as_ref()
            .is_some_and(|one| one.digest == digest)
    }

    fn is_candidate(&self, digest: &str) -> bool {
        match &self.phase {
            Phase::Shadow { candidate, .. }
            | Phase::Waiting { candidate, .. }
            | Phase::Swapping { candidate, .. } => candidate.identity.digest == digest,
            Phase::None => false,
        }
    }

    /// Whether a policy is on its way into service. Until it is there, nothing else is begun.
    fn is_swapping(&self) -> bool {
        matches!(self.phase, Phase::Swapping { .. })
    }

    fn offered(&mut self, digest: String, origin: Origin) -> Vec<Output> {
        let present = &self.service.present.identity.digest;
        let by_person = origin == Origin::Person;
        let refused = self.service.refused.iter().find(|r| r.digest == digest);
        // What a swap in flight replaces may be wanted again.
        let known = if *present == digest && !self.is_swapping() {
            Some("it is in service already")
        } else if self.is_candidate(&digest) || self.is_preparing(&digest) {
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
        let mut outputs = Vec::from_iter(self.drop_preparing(&overtaken(&digest)));
        outputs.push(self.is_offered(&digest, origin.clone()));
        self.preparing = Some(Preparing {
            digest: digest.clone(),
            origin,
            ready: None,
        });
        outputs.push(Output::Prepare { digest });
        outputs
    }

    fn is_offered(&self, digest: &str, origin: Origin) -> Output {
        self.record(digest, None, Step::Signature, Progress::Offered { origin })
    }

    /// Takes up what is prepared; while another policy is on its way into service, later.
    pub(super) fn ready(&mut self, at_ms: u64, candidate: Known) -> Vec<Output> {
        if self.is_swapping() {
            if let Some(preparing) = &mut self.preparing {
                preparing.ready = Some(candidate);
            }
            return Vec::new();
        }
        let digest = candidate.identity.digest.clone();
        let origin = self.preparing.take().map(|one| one.origin);
        let origin = origin.unwrap_or(Origin::Source);
        if digest == self.service.present.identity.digest {
            // It was put back while it was prepared.
            let reason = "it is in service already".to_owned();
            let denied = Progress::Denied { reason };
            return vec![self.record(&digest, Some(&candidate), Step::Swap, denied)];
        }
        if let Some(refusal) = self.downgrade(&candidate) {
            return self.refuse(at_ms, &digest, Some(&candidate), refusal);
        }
        // Another candidate in the shadow gives way: this one is newer.
        let mut outputs = self.drop_shadow(&overtaken(&digest));
        self.service.candidate = Some(candidate.clone());
        if self.settings.shadow.decisions == 0 {
            outputs.push(self.swap(candidate, SwapReason::Promoted));
        } else {
            outputs.push(self.record(&digest, Some(&candidate), Step::Shadow, Progress::Began));
            outputs.push(Output::BeginShadow { digest });
            self.phase = Phase::Shadow {
                candidate,
                origin,
                since_ms: at_ms,
                comparison: Comparison::default(),
            };
        }
        outputs.push(Output::Persist);
        outputs
    }

    /// An older version of the policy in service, or of one that was there before it.
    fn downgrade(&self, candidate: &Known) -> Option<Refusal> {
        let candidate = &candidate.identity;
        if self.settings.allow_downgrade {
            return None;
        }
        let before = self.service.versions.get(&candidate.name)?;
        let refuse = |reason: String| Refusal::new(Step::Signature, reason);
        // What is in service may be older than this rule.
        let before = Version::parse(before).ok()?;
        let is_present = self.service.present.identity.name == candidate.name;
        let when = if is_present { "is" } else { "was" };
        match Version::parse(&candidate.version) {
            Ok(version) if version < before => Some(refuse(format!(
                "version {version} is older than {before}, which {when} in service; \
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

fn overtaken(by: &str) -> String {
    format!("overtaken by {}", &by[..by.len().min(12)])
}

/// The gates of all policies, by their configured names.
pub type Machines = BTreeMap<String, Machine>;

#[cfg(test)]
mod tests;
