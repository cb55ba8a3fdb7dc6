//! Candidates that go without having failed, and what is new about those that stay: overtaken,
//! withdrawn, dropped with the policy beside which they decided, signed anew.

use super::{Known, Machine, Origin, Output, Phase, Preparing, Progress, Refusal, Step};
use crate::signing::Provenance;

impl Machine {
    /// Drops what is being prepared. It may come again, so it does not count as refused.
    pub(super) fn drop_preparing(&mut self, reason: &str) -> Option<Output> {
        let dropped = self.preparing.take()?;
        let reason = reason.to_owned();
        let refused = Progress::Refused { reason };
        let known = dropped.ready.as_ref();
        Some(self.record(&dropped.digest, known, Step::Signature, refused))
    }

    /// Drops the candidate that is in the shadow or waits, in the same way.
    pub(super) fn drop_shadow(&mut self, reason: &str) -> Vec<Output> {
        let (Phase::Shadow { candidate, .. } | Phase::Waiting { candidate, .. }) = &self.phase
        else {
            return Vec::new();
        };
        let candidate = candidate.clone();
        let reason = reason.to_owned();
        let mut outputs = self.leave_shadow();
        self.service.candidate = None;
        outputs.push(self.record(
            &candidate.identity.digest,
            Some(&candidate),
            Step::Shadow,
            Progress::Refused { reason },
        ));
        outputs.push(Output::Persist);
        outputs
    }

    /// Notes what the source holds, so that only a change of it is a candidate. When it is the
    /// policy in service again, what it held in between is not wanted any more.
    pub(super) fn source_holds(&mut self, digest: String) -> Vec<Output> {
        if self.service.source_digest.as_ref() == Some(&digest) {
            return Vec::new();
        }
        let mut outputs = vec![Output::Persist];
        if digest == self.service.present.identity.digest {
            let reason = "withdrawn: its source holds the policy in service again";
            outputs.extend(self.withdraw(reason, |_| true));
        }
        self.service.source_digest = Some(digest);
        outputs
    }

    /// What lies in the directory no more is not wanted any more.
    pub(super) fn source_dropped(&mut self, digest: &str) -> Vec<Output> {
        let reason = "withdrawn: it does not lie in its directory any more";
        self.withdraw(reason, |candidate| candidate == digest)
    }

    /// Drops the candidates that no person offered, of those that are asked for by their digests.
    fn withdraw(&mut self, reason: &str, asked: impl Fn(&str) -> bool) -> Vec<Output> {
        let goes = |digest: &str, origin: &Origin| *origin != Origin::Person && asked(digest);
        let mut outputs = Vec::new();
        if let Some(Preparing { digest, origin, .. }) = &self.preparing
            && goes(digest, origin)
        {
            outputs.extend(self.drop_preparing(reason));
        }
        let (Phase::Shadow {
            candidate, origin, ..
        }
        | Phase::Waiting {
            candidate, origin, ..
        }) = &self.phase
        else {
            return outputs;
        };
        if goes(&candidate.identity.digest, origin) {
            outputs.extend(self.drop_shadow(reason));
        }
        outputs
    }

    /// A new signature of a policy that came through the gate before: whether it is believed.
    pub(super) fn signed(
        &mut self,
        digest: &str,
        signer: Result<Provenance, Refusal>,
    ) -> Vec<Output> {
        let signer = match signer {
            Ok(signer) => signer,
            Err(Refusal { reason, .. }) => {
                let reason = format!("its new signature is not taken: {reason}");
                let known = self.needed().find(|known| known.identity.digest == digest);
                let denied = Progress::Denied { reason };
                return vec![self.record(digest, known, Step::Signature, denied)];
            }
        };
        self.service.sign(digest, &signer);
        let held_back = self.preparing.as_mut().and_then(|one| one.ready.as_mut());
        let candidate = match &mut self.phase {
            Phase::Shadow { candidate, .. }
            | Phase::Waiting { candidate, .. }
            | Phase::Swapping { candidate, .. } => Some(candidate),
            Phase::None => None,
        };
        for known in held_back.into_iter().chain(candidate) {
            known.sign(digest, &signer);
        }
        let known: Option<Known> = self
            .needed()
            .find(|known| known.identity.digest == digest)
            .cloned();
        vec![
            self.record(
                digest,
                known.as_ref(),
                Step::Signature,
                Progress::SignedAnew,
            ),
            Output::Persist,
        ]
    }
}
