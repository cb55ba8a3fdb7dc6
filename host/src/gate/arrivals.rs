//! What arrives at the gate: candidates from files, from directories and from an earlier run.
//!
//! It finds and offers; what becomes of a candidate is the machine's to say.

use std::sync::Arc;

use semver::Version;

use super::machine::Input;
use super::prepare::{Candidate, Tested};
use super::record::{Origin, Step};
use super::running::Running;
use super::service::{Job, Order, Prepared};
use super::source::{Lookout, Source};
use crate::clock::now_ms;

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
        let candidates: Vec<(String, String)> = self
            .machines
            .iter()
            .filter_map(|(name, machine)| {
                let candidate = machine.service().candidate.as_ref()?;
                Some((name.clone(), candidate.identity.digest.clone()))
            })
            .collect();
        for (name, digest) in candidates {
            match self.store.read(&digest) {
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
        let mut all = Vec::new();
        for (name, lookout) in &mut self.lookouts {
            let look = lookout.look(at_ms);
            unsettled |= look.unsettled;
            for (path, why) in look.unreadable {
                let text = format!("{name}: {} cannot be read: {why}", path.display());
                (self.driver.order)(Order::Note(text));
            }
            all.extend(look.found.into_iter().map(|found| (name.clone(), found)));
        }
        for (name, found) in all {
            let digest = found.candidate.digest().to_owned();
            let Some(machine) = self.machines.get_mut(&name) else {
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
            machine.source_holds(&digest);
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
                let origin = Origin::Source;
                self.step(
                    name,
                    Input::Offered {
                        digest: digest.clone(),
                        origin,
                    },
                );
                self.step(name, Input::Refused { digest, refusal });
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
        let digest = tested.known().identity.digest.clone();
        let origin = Origin::Source;
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
        self.is_ready(name, tested, &candidate);
    }

    pub(super) fn offer(&mut self, name: &str, candidate: Candidate, origin: Origin) {
        let digest = candidate.digest().to_owned();
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
