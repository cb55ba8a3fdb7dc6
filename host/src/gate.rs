//! How a policy comes into service, and how it goes.
//!
//! ```text
//! digest and signature → contract → compile → parameters → its own tests → shadow → swap → probation
//! ```
//!
//! Each step is written into the journal, each refusal names its step and its reason, and the policy
//! in service goes on undisturbed until the one moment, between two decisions, in which another one
//! takes its place in all targets. What fails afterwards makes way for the last good policy, which
//! is kept on disk; a restart comes up with what was in service.
//!
//! [`machine`] holds the rules, without I/O; [`prepare`] makes what may be swapped in, and nothing
//! else can; the rest is the edge: files, a socket, a thread. The gate never decides about a
//! database, and a candidate never decides at all before it is in service.

mod arrivals;
mod comparison;
mod components;
mod machine;
mod plan;
mod prepare;
mod protocol;
mod record;
mod running;
mod service;
mod settings;
mod socket;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use semver::Version;

use crate::clock::now_ms;
use crate::pipeline::{DEFAULT_POLICY, Policies};
use crate::policy::{Policy, PolicyIdentity, Probation};
use crate::signing::{Provenance, Verified};

pub use comparison::{Comparison, ComparisonReport, Count, Essence, Example, Pair, about};
pub use components::{Components, ComponentsError};
pub use machine::{
    CandidateState, Compared, Input, Machine, Machines, OutOfService, Output, RefusedCandidate,
    Service,
};
pub use plan::{Place, Plan};
pub use prepare::{Candidate, Held, Tested, Trust, Workshop};
pub use protocol::{PolicyReport, Reply, Request};
pub use record::{GateRecord, Known, Origin, Progress, Refusal, Step, SwapReason};
pub use service::{GateHandle, Order, Reload, SwapOrder};
pub use settings::{GateSettings, ProbationSettings, ShadowSettings};
pub use socket::{AskError, ask};
pub use source::{Found, Lookout, Source, read_candidate, signature_path};

use service::{Driver, Works};

/// Why no policy is in service at a start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A component cannot be read or written.
    #[error(transparent)]
    Components(#[from] ComponentsError),
    /// A source cannot be read.
    #[error("policy `{policy}`: {}: {what}", path.display())]
    Source {
        /// The policy's name in the configuration.
        policy: String,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// No plan is that of the default policy.
    #[error("there is no plan for the policy `{DEFAULT_POLICY}`")]
    NoDefault,
    /// There is no policy that can be put in service.
    #[error("policy `{policy}` from {from}: {refusal}")]
    Refused {
        /// The policy's name in the configuration.
        policy: String,
        /// Where it comes from.
        from: String,
        /// Which step said no, and why.
        refusal: Refusal,
    },
}

impl GateError {
    fn is_about_parameters(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.step == Step::Parameters)
    }
}

/// What a gate knows of a policy in service before it is at work.
#[derive(Debug, Clone, Copy)]
pub struct KnownStanding<'a> {
    /// Its name in the configuration.
    pub policy: &'a str,
    /// The component's SHA-256, lower-case hex.
    pub digest: &'a str,
    /// What it has to show yet, where it is on probation.
    pub probation: Option<Probation>,
    /// Whether it is known to be out of service.
    pub is_out: bool,
}

/// The gate with its policies in service, not yet at work.
pub struct Gate {
    works: Works,
    state_dir: PathBuf,
    /// What a person may want to know of the start.
    notes: Vec<String>,
}

impl Gate {
    /// Puts each policy in service that was there when dbmedic stopped, as `stored` has it; at the first
    /// start, the one that its source holds. What is in service from then on, [`Self::services`] says, and
    /// whoever opens it keeps that. `built_in` is the component that is part of this binary.
    ///
    /// # Errors
    /// When there is no policy that can be put in service; nothing is begun then.
    pub fn open(
        state_dir: &Path,
        built_in: &'static [u8],
        plans: BTreeMap<String, Plan>,
        mut stored: BTreeMap<String, Service>,
    ) -> Result<Self, GateError> {
        let components = Components::open(state_dir)?;
        let mut opening = Opening {
            components: Some(&components),
            built_in: Verified::built_in(built_in),
            ready: BTreeMap::new(),
            notes: Vec::new(),
        };
        let mut to_look_at = BTreeSet::new();
        let mut machines = Machines::new();
        for (name, plan) in &plans {
            let mut service = match stored.remove(name) {
                Some(service) => opening.again(name, plan, service)?,
                None => opening.first(name, plan)?,
            };
            let before = service.source.replace(plan.source.clone());
            let is_other = before.is_some_and(|before| before != plan.source);
            if is_other {
                // What it holds is offered, whatever that is.
                service.source_digest = None;
                to_look_at.insert(name.clone());
            }
            let candidate = service.candidate.as_ref();
            let was_offered =
                candidate.is_some_and(|known| known.provenance == Provenance::BuiltIn);
            if was_offered || (is_other && plan.source == Source::BuiltIn) {
                opening.offer_built_in(name, plan, &mut service);
            }
            machines.insert(name.clone(), running::machine(name, plan, service));
        }
        let Opening { ready, notes, .. } = opening;
        components.prune(&running::needed(&machines))?;
        Ok(Self {
            works: Works {
                components,
                plans,
                machines,
                ready,
                to_look_at,
                look_anew: Arc::default(),
                reload: None,
            },
            state_dir: state_dir.to_owned(),
            notes,
        })
    }

    /// What the next run must know of each policy, by their configured names.
    pub fn services(&self) -> BTreeMap<String, Service> {
        running::services(&self.works.machines)
    }

    /// The policies in service, by their configured names.
    pub fn in_service(&self) -> BTreeMap<String, Policy> {
        let present = |(name, machine): (&String, &Machine)| {
            let digest = machine.service().present.identity.digest.clone();
            let tested = self.works.ready.get(&(name.clone(), digest))?;
            Some((name.clone(), tested.policy().clone()))
        };
        self.works.machines.iter().filter_map(present).collect()
    }

    /// The same as the pipeline takes them; none when there was no plan for the default one.
    pub fn policies(&self) -> Option<Policies> {
        let mut all = self.in_service();
        let default = all.remove(DEFAULT_POLICY)?;
        Some(Policies::new(default, all))
    }

    /// What it knows of each policy in service.
    pub fn standings(&self) -> impl Iterator<Item = KnownStanding<'_>> {
        self.works.machines.iter().map(|(name, machine)| {
            let service = machine.service();
            KnownStanding {
                policy: name,
                digest: &service.present.identity.digest,
                probation: machine.probation(),
                is_out: service
                    .out_of_service
                    .as_ref()
                    .is_some_and(|out| out.policy == service.present),
            }
        })
    }

    /// What a person may want to know of the start.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Set it to have every source looked at anew.
    pub fn look_anew(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.works.look_anew)
    }

    /// Says how this run is told to read its configuration again.
    pub fn reload_by(&mut self, reload: Reload) {
        self.works.reload = Some(reload);
    }

    /// Begins to work. `order` gets what the gate wants of the pipeline's driver, and says whether
    /// anybody listens; `write_down` keeps, before anything comes of it, the steps that policies take and
    /// which are in service, where that is new.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        self,
        order: impl Fn(Order) -> bool + Send + Sync + 'static,
        write_down: impl Fn(Vec<GateRecord>, Option<BTreeMap<String, Service>>) + Send + 'static,
    ) -> std::io::Result<GateHandle> {
        let driver = Driver {
            order: Arc::new(order),
            write_down: Box::new(write_down),
        };
        service::start(self.works, &self.state_dir, driver)
    }
}

/// The policies that the sources hold, without a state and for a run that ends by itself.
///
/// # Errors
/// As [`Gate::open`].
pub fn once(
    built_in: &'static [u8],
    plans: &BTreeMap<String, Plan>,
) -> Result<Policies, GateError> {
    let mut opening = Opening {
        components: None,
        built_in: Verified::built_in(built_in),
        ready: BTreeMap::new(),
        notes: Vec::new(),
    };
    for (name, plan) in plans {
        opening.first(name, plan)?;
    }
    let mut all: BTreeMap<String, Policy> = opening
        .ready
        .into_iter()
        .map(|((name, _), tested)| (name, tested.policy().clone()))
        .collect();
    let Some(default) = all.remove(DEFAULT_POLICY) else {
        return Err(GateError::NoDefault);
    };
    Ok(Policies::new(default, all))
}

/// What is in service by the state alone, where no dbmedic is running.
pub fn at_rest(services: &BTreeMap<String, Service>) -> Vec<PolicyReport> {
    let services = services.iter();
    services
        .map(|(name, service)| running::report(name, service))
        .collect()
}

struct Opening<'a> {
    components: Option<&'a Components>,
    built_in: Verified,
    ready: BTreeMap<(String, String), Tested>,
    notes: Vec<String>,
}

impl Opening<'_> {
    /// The policy that was in service; the last good one where that cannot be.
    fn again(
        &mut self,
        name: &str,
        plan: &Plan,
        mut service: Service,
    ) -> Result<Service, GateError> {
        let present = self.known(name, plan, &service.present);
        if let Some(out) = service
            .out_of_service
            .take_if(|out| out.policy != service.present)
        {
            // Nothing decides by it: it can only be tried again.
            match self.known(name, plan, &out.policy) {
                Ok(tested) => {
                    self.keep(name, tested);
                    service.out_of_service = Some(out);
                }
                Err(error) => self.notes.push(format!("{name}: not tried again: {error}")),
            }
        }
        let last_good = service
            .last_good
            .as_ref()
            .map(|known| self.known(name, plan, known));
        match (present, last_good) {
            (Ok(tested), last_good) => {
                let known = tested.known().clone();
                if known.identity == service.present.identity {
                    service.sign(&known.identity.digest, &known.provenance);
                } else {
                    // This binary has another one built in than the last.
                    service.present = known;
                    service.since_ms = now_ms();
                }
                self.keep(name, tested);
                match last_good {
                    Some(Ok(tested)) => self.keep(name, tested),
                    Some(Err(error)) => {
                        self.notes
                            .push(format!("{name}: nothing to put back: {error}"));
                        service.last_good = None;
                        service.on_probation = false;
                    }
                    None => {}
                }
                Ok(service)
            }
            // Of a parameter that is wrong, the person who wrote it must hear.
            (Err(error), Some(Ok(tested))) if !error.is_about_parameters() => {
                self.notes
                    .push(format!("{name}: the last good policy is back: {error}"));
                service.present = tested.known().clone();
                service.since_ms = now_ms();
                service.last_good = None;
                service.on_probation = false;
                self.keep(name, tested);
                Ok(service)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A policy that was in service before.
    fn known(&self, name: &str, plan: &Plan, known: &Known) -> Result<Tested, GateError> {
        let digest = &known.identity.digest;
        let refused = |refusal: Refusal| GateError::Refused {
            policy: name.to_owned(),
            from: format!(
                "the state directory ({}; to begin with what the configuration names, `sqlite3 state.db \
                 'DELETE FROM services'`)",
                &digest[..digest.len().min(12)]
            ),
            refusal: plan.placed(refusal),
        };
        if known.provenance == Provenance::BuiltIn {
            return self.built_in(name, plan);
        }
        let stored = match self.components {
            Some(components) => components.read(name, digest)?,
            None => None,
        };
        let candidate = stored.ok_or_else(|| {
            let reason = "it is not there any more".to_owned();
            refused(Refusal::new(Step::Signature, reason))
        })?;
        let prepare = |candidate: &Candidate, held: Held| {
            let settings = &plan.settings;
            plan.workshop
                .prepare(candidate, settings, held, &mut |_| {})
        };
        match prepare(&candidate, Held::Earlier) {
            // Signed anew while no dbmedic was running, as when its key goes.
            Err(refusal) if refusal.step == Step::Signature => {
                let now_ms = now_ms();
                let found = Lookout::new(plan.source.clone(), plan.most_bytes()).look_now();
                let same = |found: &Found| found.candidate.digest() == digest;
                let again = found.unwrap_or_default().found.into_iter().find(same);
                let Some(Found { candidate, .. }) = again else {
                    return Err(refused(refusal));
                };
                let tested = prepare(&candidate, Held::Now(now_ms)).map_err(refused)?;
                if let Some(components) = self.components {
                    components.keep(name, &candidate)?;
                }
                Ok(tested)
            }
            prepared => prepared.map_err(refused),
        }
    }

    /// Makes the built-in policy the candidate, in the place of what another source held.
    fn offer_built_in(&mut self, name: &str, plan: &Plan, service: &mut Service) {
        let before = service.candidate.take();
        if let Some(before) = before.filter(|known| known.provenance != Provenance::BuiltIn) {
            let PolicyIdentity {
                name: of_it,
                version,
                ..
            } = before.identity;
            self.notes.push(format!(
                "{name}: {of_it} {version} is no candidate any more: the configuration names \
                 another source"
            ));
        }
        match self.built_in(name, plan) {
            Ok(tested) if tested.known().identity == service.present.identity => {}
            Ok(tested) => {
                service.candidate = Some(tested.known().clone());
                self.keep(name, tested);
            }
            Err(error) => self.notes.push(error.to_string()),
        }
    }

    fn built_in(&self, name: &str, plan: &Plan) -> Result<Tested, GateError> {
        let other = plan.built_in.map(Verified::built_in);
        plan.workshop
            .prepare_verified(
                other.as_ref().unwrap_or(&self.built_in),
                &plan.settings,
                &mut |_| {},
            )
            .map_err(|refusal| GateError::Refused {
                policy: name.to_owned(),
                from: "this binary".to_owned(),
                refusal: plan.placed(refusal),
            })
    }

    /// The policy that the source holds: of a directory, the newest that is good.
    fn first(&mut self, name: &str, plan: &Plan) -> Result<Service, GateError> {
        let at_ms = now_ms();
        let (Source::File(path) | Source::Directory(path)) = &plan.source else {
            let tested = self.built_in(name, plan)?;
            let service = Service::new(tested.known().clone(), at_ms);
            self.keep(name, tested);
            return Ok(service);
        };
        let failed = |what: String| GateError::Source {
            policy: name.to_owned(),
            path: path.clone(),
            what,
        };
        let look = Lookout::new(plan.source.clone(), plan.most_bytes())
            .look_now()
            .map_err(|error| failed(error.to_string()))?;
        let mut newest: Option<(Option<Version>, Tested)> = None;
        let mut refused = None;
        for (path, what) in look.unreadable {
            let error = GateError::Source {
                policy: name.to_owned(),
                path,
                what,
            };
            self.notes.push(error.to_string());
            refused.get_or_insert(error);
        }
        for found in look.found {
            let held = Held::Now(at_ms);
            let tested = plan
                .workshop
                .prepare(&found.candidate, &plan.settings, held, &mut |_| {});
            let tested = match tested {
                Ok(tested) => tested,
                Err(refusal) => {
                    let error = GateError::Refused {
                        policy: name.to_owned(),
                        from: found.path.display().to_string(),
                        refusal: plan.placed(refusal),
                    };
                    self.notes.push(error.to_string());
                    refused.get_or_insert(error);
                    continue;
                }
            };
            if let Some(components) = self.components {
                components.keep(name, &found.candidate)?;
            }
            let version = Version::parse(&tested.known().identity.version).ok();
            if newest.as_ref().is_none_or(|(best, _)| version > *best) {
                newest = Some((version, tested));
            }
        }
        let Some((_, tested)) = newest else {
            return Err(refused.unwrap_or_else(|| failed("there is no policy in it".to_owned())));
        };
        let mut service = Service::new(tested.known().clone(), at_ms);
        if matches!(plan.source, Source::File(_)) {
            service.source_digest = Some(tested.known().identity.digest.clone());
        }
        self.keep(name, tested);
        Ok(service)
    }

    fn keep(&mut self, name: &str, tested: Tested) {
        let digest = tested.known().identity.digest.clone();
        self.ready.insert((name.to_owned(), digest), tested);
    }
}
