//! What arrives at the gate: candidates from files, from directories and from an earlier run.
//!
//! It finds and offers; what becomes of a candidate is the machine's to say.

use std::sync::Arc;

use semver::Version;

use super::machine::Input;
use super::prepare::{Candidate, Tested};
use super::record::{Known, Origin, Refusal, Step};
use super::running::Running;
use super::service::{Job, Order, Prepared};
use super::source::{Lookout, Source};
use crate::clock::now_ms;
use crate::signing::Provenance;

/// What is new in a directory.
#[derive(Default)]
pub(super) struct Several {
    /// Components that are not prepared yet.
    left: usize,
    /// The newest of those that are.
    newest: Option<(Version, Tested, Candidate)>,
}

impl Running {
    /// What was a candidate when dbmedic stopped is one again.
    pub(super) fn offer_again(&mut self) {
        let candidates: Vec<(String, Known)> = self
            .machines
            .iter()
            .filter_map(|(name, machine)| {
                let candidate = machine.service().candidate.clone()?;
                Some((name.clone(), candidate))
            })
            .collect();
        for (
            name,
            Known {
                identity,
                provenance,
            },
        ) in candidates
        {
            if provenance == Provenance::BuiltIn {
                let key = (name.clone(), identity.digest);
                if let Some(tested) = self.ready.get(&key).cloned() {
                    self.offer_prepared(&name, Origin::Source, &tested);
                    self.is_ready(&name, tested);
                }
                continue;
            }
            match self.components.read(&name, &identity.digest) {
                Ok(Some(candidate)) => self.offer(&name, candidate, Origin::Restart),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a candidate of an earlier run is lost"),
            }
        }
    }

    /// Looks at the sources; says whether something is not settled.
    pub(super) fn look(&mut self) -> bool {
        let at_ms = now_ms();
        let mut unsettled = false;
        let (mut all, mut gone) = (Vec::new(), Vec::new());
        for (name, lookout) in &mut self.lookouts {
            let is_watched = self.plans.get(name).is_some_and(|plan| plan.watch);
            if !is_watched && !self.to_look_at.contains(name) {
                continue;
            }
            let look = lookout.look(at_ms);
            unsettled |= look.unsettled;
            if !look.unsettled {
                self.to_look_at.remove(name);
            }
            for (path, why) in look.unreadable {
                let text = format!("{name}: {} cannot be read: {why}", path.display());
                (self.driver.order)(Order::Note(text));
            }
            // A file is away for a moment when it is replaced.
            if matches!(lookout.source(), Source::Directory(_)) {
                gone.extend(look.gone.into_iter().map(|digest| (name.clone(), digest)));
            }
            all.extend(look.found.into_iter().map(|found| (name.clone(), found)));
        }
        for (name, digest) in gone {
            self.step(&name, Input::SourceDropped { digest });
        }
        for (name, found) in all {
            let digest = found.candidate.digest().to_owned();
            self.is_signed_anew(&name, &found.candidate, &Origin::Source);
            let Some(machine) = self.machines.get(&name) else {
                continue;
            };
            let service = machine.service();
            let refused = service.refused.iter().find(|r| r.digest == digest);
            let again = refused.map(|refused| refused.refusal.step.may_pass_later());
            let lookout = self.lookouts.get(&name);
            if matches!(lookout.map(Lookout::source), Some(Source::Directory(_))) {
                if service.present.identity.digest != digest && again != Some(false) {
                    self.prepare_one_of_several(&name, digest, found.candidate);
                }
                continue;
            }
            // What lay there when the present policy came into service is not new.
            let is_new = service.source_digest.as_deref() != Some(&*digest);
            let held = digest.clone();
            self.step(&name, Input::SourceHolds { digest: held });
            if is_new || again == Some(true) {
                self.offer(&name, found.candidate, Origin::Source);
            }
        }
        unsettled
    }

    fn prepare_one_of_several(&mut self, name: &str, digest: String, candidate: Candidate) {
        let Some(plan) = self.plans.get(name) else {
            return;
        };
        let job = Job {
            name: name.to_owned(),
            digest,
            candidate,
            settings: plan.settings.clone(),
            workshop: Arc::clone(&plan.workshop),
            one_of_several: true,
        };
        match self.jobs.try_send(job) {
            Ok(()) => self.several.entry(name.to_owned()).or_default().left += 1,
            // Everything in the directory is new again at the next look.
            Err(_) => self.lookouts.values_mut().for_each(Lookout::forget),
        }
    }

    /// Takes up one of several; when all are there, the newest is the candidate, if it is newer
    /// than what is in service.
    pub(super) fn one_of_several(&mut self, name: &str, prepared: Prepared) {
        let Prepared {
            digest, candidate, ..
        } = prepared;
        let mut several = self.several.remove(name).unwrap_or_default();
        several.left = several.left.saturating_sub(1);
        match prepared.result {
            Ok(tested) => {
                let version = Version::parse(&tested.known().identity.version);
                if let Ok(version) = version
                    && several.newest.as_ref().is_none_or(|(v, ..)| version > *v)
                {
                    several.newest = Some((version, tested, candidate));
                }
            }
            Err(refusal) => {
                let refusal = self.placed(name, refusal);
                self.step(name, Input::Unfit { digest, refusal });
            }
        }
        if several.left > 0 {
            self.several.insert(name.to_owned(), several);
            return;
        }
        let (Some((version, tested, candidate)), Some(machine)) =
            (several.newest, self.machines.get(name))
        else {
            return;
        };
        let service = machine.service();
        let name_of_it = &tested.known().identity.name;
        let as_new = [Some(&service.present), service.candidate.as_ref()]
            .into_iter()
            .flatten()
            .map(|known| &known.identity)
            .filter(|identity| identity.name == *name_of_it)
            .any(|identity| Version::parse(&identity.version).is_ok_and(|v| v >= version));
        if as_new {
            return;
        }
        self.offer_prepared(name, Origin::Source, &tested);
        self.is_prepared(name, tested, &candidate);
    }

    /// Offers what took its steps before anybody knew whether it would be the candidate.
    fn offer_prepared(&mut self, name: &str, origin: Origin, tested: &Tested) {
        let digest = tested.known().identity.digest.clone();
        self.step(
            name,
            Input::Offered {
                digest: digest.clone(),
                origin,
            },
        );
        for step in [
            Step::Signature,
            Step::Contract,
            Step::Compile,
            Step::Parameters,
            Step::Tests,
        ] {
            self.step(
                name,
                Input::Passed {
                    digest: digest.clone(),
                    step,
                },
            );
        }
    }

    /// Takes up the signature of what came through the gate before, where it is another than the one
    /// that it came with: the key of that one may be on its way out. Says whether there was one.
    fn is_signed_anew(&mut self, name: &str, candidate: &Candidate, origin: &Origin) -> bool {
        let digest = candidate.digest();
        let (Some(machine), Some(plan)) = (self.machines.get(name), self.plans.get(name)) else {
            return false;
        };
        let known = machine.needed().find(|known| {
            known.identity.digest == digest && known.provenance != Provenance::BuiltIn
        });
        let (Some(known), Some(signature)) = (known, candidate.signature.as_deref()) else {
            return false;
        };
        let kept = self.components.signature(name, digest);
        if kept.is_ok_and(|kept| kept.as_deref() == Some(signature)) {
            return false;
        }
        let signer = plan.workshop.signer(candidate, &known.identity, now_ms());
        if signer == Ok(Provenance::Unsigned) {
            // No signature is looked at here.
            return false;
        }
        let is_older = |signer: &Provenance| signer.signed_ms() < known.provenance.signed_ms();
        if *origin != Origin::Person && signer.as_ref().is_ok_and(is_older) {
            // It lies where it lay before a person named a newer one.
            return false;
        }
        let kept = |signer: Provenance| match self.components.keep(name, candidate) {
            Ok(()) => Ok(signer),
            Err(error) => Err(Refusal::new(Step::Signature, error.to_string())),
        };
        let signer = signer.and_then(kept);
        let digest = digest.to_owned();
        self.step(name, Input::Signed { digest, signer });
        true
    }

    pub(super) fn offer(&mut self, name: &str, candidate: Candidate, origin: Origin) {
        let digest = candidate.digest().to_owned();
        let in_hand = self
            .machines
            .get(name)
            .is_some_and(|machine| machine.has_in_hand(&digest));
        if in_hand && self.is_signed_anew(name, &candidate, &origin) {
            return;
        }
        self.found
            .insert((name.to_owned(), digest.clone()), candidate);
        self.step(
            name,
            Input::Offered {
                digest: digest.clone(),
                origin,
            },
        );
        // Not taken up, as what is in service already.
        self.found.remove(&(name.to_owned(), digest));
    }
}
