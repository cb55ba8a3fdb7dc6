//! Another policy in service, and who vouches for it.

use std::collections::BTreeMap;

use super::{Effect, Pipeline};
use crate::policy::{Decider, PolicyIdentity, Signer};

impl Pipeline {
    /// Notes who vouches for a component.
    pub(super) fn signed(&mut self, digest: &str, signer: &Signer) {
        for target in self.targets.values_mut() {
            target.line.sign(digest, signer);
        }
        // What is used nowhere is told again before it comes into service.
        let targets = &self.targets;
        let is_used = |digest: &str| targets.values().any(|t| t.line.uses(digest));
        self.signers.retain(|known, _| is_used(known));
        self.signers.insert(digest.to_owned(), signer.clone());
    }

    /// Puts the policy that stands by in its place, in all targets. Open incidents and history stay,
    /// memory is each policy's own; where a repair is running, it is judged to its end by who chose
    /// it.
    pub(super) fn swap(&mut self, name: &str, to: &PolicyIdentity, why: &str) -> Option<Effect> {
        let policy = self.standing_by.remove(name)?;
        if policy.digest() != to.digest {
            return None;
        }
        let signer = signer_of(&*policy, &self.signers);
        let mut after_repair = Vec::new();
        for (target_name, target) in &mut self.targets {
            let record = self.guard.record(target_name);
            let repairing = record.is_some_and(|r| r.running.is_some());
            let is_proven = |digest: &str| self.service.is_proven(name, digest);
            let line = &mut target.line;
            if line.swap(name, &policy, &signer, is_proven, repairing) && repairing {
                after_repair.push(target_name.clone());
            }
        }
        let from = self.policies.get(name).identity();
        self.policies.put(name, policy);
        Some(Effect::PolicySwapped {
            policy: name.to_owned(),
            from,
            to: to.clone(),
            why: why.to_owned(),
            after_repair,
        })
    }
}

/// Who vouches for a policy: as it was told, so that a replay, which loads components as they come,
/// knows it too.
pub(super) fn signer_of(policy: &dyn Decider, told: &BTreeMap<String, Signer>) -> Signer {
    let known = told.get(policy.digest()).cloned();
    known.unwrap_or_else(|| policy.signer())
}
