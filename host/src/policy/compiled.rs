//! From a verified component to a policy: compiled, held against the contract, asked who it is,
//! given its settings. Each step takes what the step before made, so none can be left out.

use std::sync::Arc;

use wasmtime::component::Component;

use super::cache::CompiledCache;
use super::contract::Linked;
use super::runtime::{self, Inner};
use super::sandbox::foreign_imports;
use super::{Common, LoadError, Policy, Runtime, Toolchain};
use crate::model::{Description, Setting};
use crate::signing::{Provenance, Verified};

/// A policy of this contract that has no settings yet.
pub struct Compiled {
    runtime: Arc<Inner>,
    linked: Linked,
    digest: Arc<str>,
    description: Arc<Description>,
    provenance: Arc<Provenance>,
    from_cache: bool,
}

impl Compiled {
    /// What it says about itself and its parameters.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether its code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// Hands it its settings.
    ///
    /// # Errors
    /// [`LoadError::Settings`] names every field that is wrong; [`LoadError::Configure`] and
    /// [`LoadError::MalformedSettings`] say that the policy itself failed.
    pub fn configure(&self, settings: &[Setting]) -> Result<Policy, LoadError> {
        let packed = runtime::configure(&self.runtime, &self.linked, settings)?;
        Ok(self.with_packed(&packed))
    }

    /// With settings that it packed itself in an earlier [`Compiled::configure`].
    pub fn with_packed(&self, packed: &[u8]) -> Policy {
        Policy {
            common: Common::new(&self.runtime),
            isolation: self.runtime.limits.isolation,
            linked: self.linked.clone(),
            digest: Arc::clone(&self.digest),
            description: Arc::clone(&self.description),
            provenance: Arc::clone(&self.provenance),
            settings: packed.into(),
        }
    }
}

impl Runtime {
    /// Compiles a component or takes its code from the cache, checks it against the contract, and
    /// asks it who it is. Compiling takes tens of milliseconds for a small policy, seconds for one
    /// that brings an interpreter.
    ///
    /// # Errors
    /// When the bytes are no policy of this contract, or when the policy fails; see [`LoadError`].
    pub fn compile(
        &self,
        component: &Verified,
        cache: Option<&CompiledCache>,
    ) -> Result<Compiled, LoadError> {
        let runtime = self.inner();
        let bytes = component.bytes();
        runtime::check_header(bytes, runtime.limits.component_mib << 20)?;
        let digest = component.digest();
        let cached = cache.and_then(|cache| cache.load(&runtime.engine, digest));
        let from_cache = cached.is_some();
        let code = match cached {
            Some(code) => code,
            None => Component::from_binary(&runtime.engine, bytes)
                .map_err(|error| LoadError::Compile(error.into()))?,
        };
        let names = foreign_imports(&code);
        if !names.is_empty() {
            let toolchain = Toolchain::of(bytes);
            return Err(LoadError::Imports { names, toolchain });
        }
        let linked = runtime
            .linker
            .instantiate_pre(&code)
            .and_then(|pre| Linked::new(&code, pre))
            .map_err(|error| LoadError::Contract(error.into()))?;
        let description = runtime::describe(runtime, &linked)?;
        // Only what is a policy is worth its place.
        if let Some(cache) = cache.filter(|_| !from_cache) {
            cache.store(&runtime.engine, digest, &code);
        }
        Ok(Compiled {
            runtime: Arc::clone(runtime),
            linked,
            digest: digest.into(),
            description: Arc::new(description),
            provenance: Arc::new(component.provenance().clone()),
            from_cache,
        })
    }

    /// [`Runtime::compile`] without a cache, then [`Compiled::configure`].
    ///
    /// # Errors
    /// As these two.
    pub fn load(&self, component: &Verified, settings: &[Setting]) -> Result<Policy, LoadError> {
        self.compile(component, None)?.configure(settings)
    }
}
