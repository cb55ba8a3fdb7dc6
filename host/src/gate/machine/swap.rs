//! Coming into service and leaving it: swaps, probation, the last good policy, and trying again what
//! kept failing. Failures are counted by the policy's breaker alone, which says what changed; only
//! slowness, of which a replay knows nothing, is counted here.

use super::{Known, Machine, OutOfService, Output, Phase, Progress, Refusal, Step, SwapReason};
use crate::policy::{ServiceChange, Standing};

/// Why a candidate goes when the policy in service does.
const MADE_WAY: &str = "the policy in service beside it makes way for the last good one; \
                        `dbmedic policy swap` offers it again";

impl Machine {
    /// Puts a candidate in service that went through the gate.
    pub(super) fn swap(&mut self, candidate: Known, why: SwapReason) -> Output {
        // Without anything to come back to, there is nothing that probation could do.
        let standing = if self.next_last_good().is_some() {
            Standing::OnProbation(self.settings.probation.bounds())
        } else {
            Standing::Proven
        };
        self.swap_as(candidate, why, standing)
    }

    fn swap_as(&mut self, candidate: Known, why: SwapReason, standing: Standing) -> Output {
        let digest = candidate.identity.digest.clone();
        self.phase = Phase::Swapping {
            candidate,
            why: why.clone(),
            standing,
        };
        Output::Swap {
            digest,
            why,
            standing,
        }
    }

    /// What there is to come back to once another policy is in service: not what has not proved
    /// itself, nor what kept failing.
    fn next_last_good(&self) -> Option<&Known> {
        let present = &self.service.present;
        let failing = self.service.out_of_service.as_ref();
        let is_failing = failing.is_some_and(|out| out.policy == *present);
        if self.service.on_probation || is_failing {
            self.service.last_good.as_ref()
        } else {
            Some(present)
        }
    }

    pub(super) fn swapped(&mut self, at_ms: u64, digest: &str) -> Vec<Output> {
        let Phase::Swapping {
            candidate,
            why,
            standing,
        } = &self.phase
        else {
            return Vec::new();
        };
        if candidate.identity.digest != digest {
            return Vec::new();
        }
        let (candidate, why, standing) = (candidate.clone(), why.clone(), *standing);
        self.phase = Phase::None;
        let is_back = standing.is_proven() && self.service.last_good.as_ref() == Some(&candidate);
        let last_good = if is_back {
            None
        } else {
            self.next_last_good().cloned()
        };
        let before = std::mem::replace(&mut self.service.present, candidate.clone());
        self.service.last_good = last_good;
        self.service.note_version();
        self.service.since_ms = at_ms;
        self.service.candidate = None;
        self.service.on_probation = matches!(standing, Standing::OnProbation(_));
        // What another one replaces for good is not tried again.
        if matches!(why, SwapReason::Promoted | SwapReason::Person) {
            self.service.out_of_service = None;
        }
        self.slow = 0;
        let in_service = Progress::InService {
            why,
            before: before.identity,
        };
        let mut outputs = vec![
            self.record(digest, Some(&candidate), Step::Swap, in_service),
            Output::Persist,
        ];
        let held_back = self.preparing.as_mut().and_then(|one| one.ready.take());
        outputs.extend(
            held_back
                .into_iter()
                .flat_map(|next| self.ready(at_ms, next)),
        );
        outputs
    }

    /// Takes up what the breaker of a policy says.
    pub(super) fn changed(
        &mut self,
        at_ms: u64,
        digest: &str,
        change: ServiceChange,
    ) -> Vec<Output> {
        let present = self.service.present.clone();
        // Where a repair is running, the one before decides for a while.
        if present.identity.digest != digest {
            return Vec::new();
        }
        match change {
            ServiceChange::Proved if self.service.on_probation => {
                self.service.on_probation = false;
                let passed = Progress::Passed;
                vec![
                    self.record(digest, Some(&present), Step::Probation, passed),
                    Output::Persist,
                ]
            }
            ServiceChange::Proved => Vec::new(),
            ServiceChange::BackInService => {
                let back = self.service.out_of_service.take();
                back.map(|_| Output::Persist).into_iter().collect()
            }
            ServiceChange::OutOfService {
                reason,
                on_probation: true,
                ..
            } if self.service.last_good.is_some() => self.did_not_prove_itself(at_ms, &reason),
            ServiceChange::OutOfService {
                until_ms, reason, ..
            } => {
                let since_ms = self
                    .service
                    .out_of_service
                    .as_ref()
                    .filter(|out| out.policy == present)
                    .map_or(at_ms, |out| out.since_ms);
                self.service.out_of_service = Some(OutOfService {
                    policy: present,
                    since_ms,
                    until_ms,
                    reason: reason.clone(),
                });
                let mut outputs = vec![Output::Persist];
                if let Some(last_good) = self.service.last_good.clone()
                    && !self.is_swapping()
                {
                    outputs.extend(self.drop_shadow(MADE_WAY));
                    let why = SwapReason::RolledBack { reason };
                    outputs.push(self.swap_as(last_good, why, Standing::Proven));
                }
                outputs
            }
        }
    }

    /// Tries again what kept failing and made way for the last good policy, when its time has come.
    pub(super) fn try_again(&mut self, at_ms: u64) -> Option<Output> {
        let out = self.service.out_of_service.as_ref()?;
        let made_way = out.policy != self.service.present;
        let free = matches!(self.phase, Phase::None) && self.preparing.is_none();
        if !(made_way && free && at_ms >= out.until_ms) {
            return None;
        }
        let policy = out.policy.clone();
        Some(self.swap_as(policy, SwapReason::TriedAgain, Standing::OnTrial))
    }

    /// The policy in service was slow; on probation, that is held against it.
    pub(super) fn slow(&mut self, at_ms: u64, digest: &str) -> Vec<Output> {
        // Decisions of the one before may still be on their way.
        if self.service.present.identity.digest != digest || !self.service.on_probation {
            return Vec::new();
        }
        self.slow += 1;
        let settings = &self.settings.probation;
        if self.slow < settings.slow_decisions {
            return Vec::new();
        }
        let reason = format!(
            "{} of its first decisions took longer than {} ms",
            self.slow, settings.slow_ms
        );
        self.did_not_prove_itself(at_ms, &reason)
    }

    fn did_not_prove_itself(&mut self, at_ms: u64, reason: &str) -> Vec<Output> {
        if self.is_swapping() {
            return Vec::new();
        }
        let why = SwapReason::RolledBack {
            reason: reason.to_owned(),
        };
        self.roll_back(at_ms, reason, &why)
    }

    pub(super) fn promote(&mut self) -> Vec<Output> {
        let candidate = match &self.phase {
            Phase::Shadow { candidate, .. } | Phase::Waiting { candidate, .. } => candidate.clone(),
            Phase::Swapping { .. } => return vec![self.denied_while_swapping()],
            Phase::None => {
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

    /// To a person who wants another swap than the one in flight.
    pub(super) fn denied_while_swapping(&self) -> Output {
        let present = &self.service.present;
        let reason = "another policy is just coming into service; ask again".to_owned();
        let denied = Progress::Denied { reason };
        self.record(&present.identity.digest, Some(present), Step::Swap, denied)
    }

    /// Puts the last good policy back, and remembers the present one as refused.
    pub(super) fn roll_back(&mut self, at_ms: u64, reason: &str, why: &SwapReason) -> Vec<Output> {
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
        let mut outputs = self.drop_shadow(MADE_WAY);
        let refusal = Refusal::new(Step::Probation, reason.to_owned());
        outputs.extend(self.refuse(at_ms, &digest, Some(&present), refusal));
        outputs.push(self.swap_as(last_good, why.clone(), Standing::Proven));
        outputs
    }
}
