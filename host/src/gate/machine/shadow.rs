//! Deciding beside the policy in service: when a candidate has shown enough, and what comes of it.

use super::{Compared, Machine, Output, Phase, Progress, Refusal, Step, SwapReason};

impl Machine {
    pub(super) fn compared(&mut self, at_ms: u64, compared: &Compared) -> Vec<Output> {
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
    pub(super) fn judge_shadow(&mut self, at_ms: u64) -> Vec<Output> {
        let Phase::Shadow {
            candidate,
            origin,
            since_ms,
            comparison,
        } = &self.phase
        else {
            return Vec::new();
        };
        let (candidate, origin, since_ms) = (candidate.clone(), origin.clone(), *since_ms);
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
            origin,
            since_ms,
            comparison,
            reason,
        };
        vec![awaits, Output::EndShadow]
    }

    /// Ends the shadow of a candidate that goes on, or is told of by who calls this.
    pub(super) fn leave_shadow(&mut self) -> Vec<Output> {
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
}
