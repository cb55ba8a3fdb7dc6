//! The steps of a candidate before anybody hears of it, each of a type that only the step before
//! makes: [`Candidate`] → [`Verified`] → [`Compiled`] → [`Policy`] → [`Tested`]. Only what is
//! [`Tested`] can be swapped in.
//!
//! Here a candidate's code runs for the first time, in the sandbox and outside of any pipeline.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Known, Refusal, Step};
use crate::model::{Setting, SettingError};
use crate::policy::{Compiled, CompiledCache, Limits, LoadError, Policy, PolicyIdentity, Runtime};
use crate::policy_tests::{self, CaseText, CasesError};
use crate::signing::{Believed, Hashed, Provenance, TrustedKey, Verified};

/// What all test cases of a candidate may take together: others wait to be prepared.
const TESTS: Duration = Duration::from_mins(1);

/// A component as it was found.
#[derive(Clone)]
pub struct Candidate {
    /// Its bytes and their digest.
    pub component: Hashed,
    /// The signature that lay beside it.
    pub signature: Option<Arc<[u8]>>,
    /// The files of test cases that lay in the folder beside it.
    pub cases: Arc<[CaseText]>,
}

impl Candidate {
    /// Its SHA-256, lower-case hex.
    pub fn digest(&self) -> &str {
        self.component.digest()
    }
}

/// Who is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Whether a signature is needed.
    pub require_signature: bool,
    /// The keys that are believed.
    pub keys: Vec<TrustedKey>,
}

/// When a signature has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Now, milliseconds since the Unix epoch: for what is new.
    Now(u64),
    /// When it came into service: for what was there before a restart.
    Earlier,
}

/// What candidates are prepared with.
pub struct Workshop {
    runtime: Runtime,
    cache: Option<Arc<CompiledCache>>,
    trust: Trust,
    believed: Believed,
}

/// A policy that went through every step before the shadow.
#[derive(Clone, Debug)]
pub struct Tested {
    policy: Policy,
    known: Known,
    cases: usize,
}

impl Tested {
    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who it is.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Test cases that it passed.
    pub fn cases(&self) -> usize {
        self.cases
    }
}

impl Workshop {
    /// An engine, compiled code, of which none is kept without a cache, and who is believed.
    pub fn new(runtime: Runtime, cache: Option<Arc<CompiledCache>>, trust: Trust) -> Self {
        Self {
            runtime,
            cache,
            believed: Believed::new(trust.keys.clone()),
            trust,
        }
    }

    /// What policies from here are held to.
    pub fn limits(&self) -> &Limits {
        self.runtime.limits()
    }

    /// Who is believed.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Takes a candidate through signature, contract, compile, parameters and its own tests. `passed`
    /// hears each step.
    ///
    /// # Errors
    /// The step that said no, and why.
    pub fn prepare(
        &self,
        candidate: &Candidate,
        settings: &[Setting],
        held: Held,
        passed: &mut dyn FnMut(Step),
    ) -> Result<Tested, Refusal> {
        let verified = self.verify(candidate, held)?;
        passed(Step::Signature);
        self.rest(&verified, &candidate.cases, settings, passed)
    }

    /// The same for what is known already, as the policy that is built in.
    ///
    /// # Errors
    /// As [`Workshop::prepare`].
    pub fn prepare_verified(
        &self,
        verified: &Verified,
        settings: &[Setting],
        passed: &mut dyn FnMut(Step),
    ) -> Result<Tested, Refusal> {
        self.rest(verified, &[], settings, passed)
    }

    /// Everything after the signature.
    fn rest(
        &self,
        verified: &Verified,
        beside: &[CaseText],
        settings: &[Setting],
        passed: &mut dyn FnMut(Step),
    ) -> Result<Tested, Refusal> {
        let compiled = self.compile(verified)?;
        passed(Step::Contract);
        passed(Step::Compile);
        let policy = compiled.configure(settings).map_err(refused_load)?;
        passed(Step::Parameters);
        let cases = own_tests(&policy, verified.bytes(), beside)?;
        passed(Step::Tests);
        Ok(Tested {
            known: Known {
                identity: policy.identity(),
                provenance: policy.provenance().clone(),
            },
            policy,
            cases,
        })
    }

    /// Who vouches now for a component that came through the gate before.
    ///
    /// # Errors
    /// Why its signature is not believed.
    pub fn signer(
        &self,
        candidate: &Candidate,
        identity: &PolicyIdentity,
        now_ms: u64,
    ) -> Result<Provenance, Refusal> {
        let verified = self.verify(candidate, Held::Now(now_ms))?;
        signed_as(verified.provenance(), &identity.name, &identity.version)?;
        Ok(verified.provenance().clone())
    }

    fn verify(&self, candidate: &Candidate, held: Held) -> Result<Verified, Refusal> {
        let refused = |reason: String| Refusal::new(Step::Signature, reason);
        let component = candidate.component.clone();
        let signature = candidate.signature.as_ref();
        // Where none is required, one that is there must hold all the same.
        if !self.trust.require_signature && (signature.is_none() || self.trust.keys.is_empty()) {
            return Ok(Verified::unsigned_hashed(component));
        }
        let now_ms = match held {
            Held::Now(now_ms) => Some(now_ms),
            Held::Earlier => None,
        };
        self.believed
            .check(component, signature, now_ms)
            .map_err(|error| refused(error.to_string()))
    }

    fn compile(&self, verified: &Verified) -> Result<Compiled, Refusal> {
        let compiled = self
            .runtime
            .compile(verified, self.cache.as_deref())
            .map_err(refused_load)?;
        let own = compiled.description();
        signed_as(verified.provenance(), &own.name, &own.version)?;
        Ok(compiled)
    }
}

/// That a component calls itself what its signature says that it is, where it says so.
fn signed_as(provenance: &Provenance, name: &str, version: &str) -> Result<(), Refusal> {
    let Provenance::Signed { comment, .. } = provenance else {
        return Ok(());
    };
    let refused = |reason: String| Refusal::new(Step::Contract, reason);
    match (&comment.policy, &comment.version) {
        (Some(signed), _) if signed != name => Err(refused(format!(
            "it calls itself `{name}`, and was signed as `{signed}`"
        ))),
        (_, Some(signed)) if signed != version => Err(refused(format!(
            "it calls itself version {version}, and was signed as {signed}"
        ))),
        _ => Ok(()),
    }
}

/// Runs the cases that the component carries in itself and those beside it, and says how many there
/// were; a policy without any passes.
fn own_tests(policy: &Policy, component: &[u8], beside: &[CaseText]) -> Result<usize, Refusal> {
    let refused = |reason: String| Refusal::new(Step::Tests, one_line(&reason));
    let unreadable = |error: CasesError| refused(error.to_string());
    let mut files = policy_tests::carried(component).map_err(unreadable)?;
    for text in beside {
        files.push(text.read().map_err(unreadable)?);
    }
    let report = policy_tests::run(policy, &files, Some(TESTS));
    match report.failure() {
        Some(failed) => Err(refused(failed)),
        None => Ok(report.passed),
    }
}

/// Which step a component failed at, and the whole chain of reasons in one line.
fn refused_load(error: LoadError) -> Refusal {
    let step = match &error {
        LoadError::Compile(_) => Step::Compile,
        LoadError::Settings(_) | LoadError::Configure(_) | LoadError::MalformedSettings { .. } => {
            Step::Parameters
        }
        _ => Step::Contract,
    };
    let fields = match &error {
        LoadError::Settings(wrong) => wrong
            .iter()
            .map(|SettingError { name, message }| (name.clone(), message.clone()))
            .collect(),
        _ => Vec::new(),
    };
    let reason = one_line(&format!("{:#}", anyhow::Error::from(error)));
    Refusal {
        step,
        reason,
        fields,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
