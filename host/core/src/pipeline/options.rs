//! What the pipeline needs to know beforehand: its options, the policies and the targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::constraint::Constraint;
use crate::diagnose::DiagnoseOptions;
use crate::guard::{GuardLimits, Mode};
use crate::policy::{BreakerOptions, Decider, Signer};
use crate::signature::Signature;

/// What the pipeline needs to know beforehand. Part of a recording's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineOptions {
    /// The same finding is put to the policy at most once in this time, milliseconds.
    pub decide_interval_ms: u64,
    /// Values that a baseline rests on at most.
    pub baseline_window: usize,
    /// Values from which on a baseline may be judged by.
    pub baseline_established_after: usize,
    /// The limits that no policy can move.
    pub guard: GuardLimits,
    /// When a policy is taken out of service.
    #[serde(default)]
    pub breaker: BreakerOptions,
    /// The same for policies with bounds of their own, by their configured names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_breakers: BTreeMap<String, BreakerOptions>,
    /// The targets by name.
    pub targets: BTreeMap<String, TargetOptions>,
    /// The learned signatures that anomalies are compared with, beside the built-in ones. None
    /// compares with nothing, as recordings do that were made before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Vec<Signature>>,
}

/// The name of the policy that decides where nothing else is configured.
pub const DEFAULT_POLICY: &str = "default";

/// The policies in service, by their configured names.
#[derive(Debug, Clone)]
pub struct Policies {
    default: Arc<dyn Decider>,
    named: BTreeMap<String, Arc<dyn Decider>>,
}

impl Policies {
    /// The default policy, and others by their names.
    pub fn new<P: Into<Arc<dyn Decider>>>(default: P, named: BTreeMap<String, P>) -> Self {
        let named = named.into_iter();
        Self {
            default: default.into(),
            named: named.map(|(name, policy)| (name, policy.into())).collect(),
        }
    }

    /// The policy of this name; the default one where there is none.
    pub fn get(&self, name: &str) -> &Arc<dyn Decider> {
        self.named.get(name).unwrap_or(&self.default)
    }

    /// Who vouches for each component, by its digest.
    pub fn signers(&self) -> BTreeMap<String, Signer> {
        let all = self.named.values().chain([&self.default]);
        all.map(|policy| (policy.digest().to_owned(), policy.signer()))
            .collect()
    }

    /// Puts a policy in the place of the one of this name.
    pub(super) fn put(&mut self, name: &str, policy: Arc<dyn Decider>) {
        if name == DEFAULT_POLICY {
            self.default = policy;
        } else {
            self.named.insert(name.to_owned(), policy);
        }
    }
}

/// What the pipeline needs to know of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetOptions {
    /// What kind of database it is, as [`Context::target_kind`](crate::model::Context::target_kind) says.
    #[serde(default = "crate::model::sqlite")]
    pub kind: String,
    /// The names of the policies in line; the most cautious verdict counts.
    #[serde(default = "only_default")]
    pub policies: Vec<String>,
    /// What the guard lets happen.
    pub mode: Mode,
    /// What diagnosis needs to know.
    pub diagnose: DiagnoseOptions,
    /// The configured bounds.
    pub constraints: Vec<Constraint>,
}

/// A line of the default policy alone.
pub fn only_default() -> Vec<String> {
    vec![DEFAULT_POLICY.to_owned()]
}
