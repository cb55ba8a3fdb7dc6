//! The engine that all policies share, and how a component becomes a policy.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use wasmtime::component::Linker;
use wasmtime::{Config, Engine};

use super::address_space;
use super::answer::{check_configured, check_description, check_settings};
use super::contract::{self, Linked};
use super::failure::FRAMES;
use super::idle::Idle;
use super::load_error::EngineError;
use super::sandbox::{Allowance, Sandbox, State};
use super::ticker::{Ticker, Watched};
use super::{Limits, LoadError, NoTelemetry, PolicyFailure, RuntimeError};
use crate::model::{Description, Setting};

/// Loads policies and holds them to one set of limits. Usually one for the whole process.
pub struct Runtime(Arc<Inner>);

/// What a runtime and its policies share.
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    pub(super) limits: Limits,
    pub(super) ticker: Ticker,
    pub(super) idle: Idle,
    /// The number of the next policy; a policy with other settings is another one.
    pub(super) next_policy: AtomicU64,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts the engine and the thread that watches deadlines.
    ///
    /// # Errors
    /// When a limit makes no sense, when the engine cannot reserve its pool, or when no thread
    /// can be started.
    pub fn new(limits: Limits) -> Result<Self, RuntimeError> {
        limits.check()?;
        let engine = |error: wasmtime::Error| RuntimeError::Engine(error.into());
        let machine = address_space::engine(&config(&limits), &limits)?;
        let mut linker = Linker::new(&machine);
        contract::add_to_linker(&mut linker).map_err(engine)?;
        let ticker = Ticker::start(machine.clone()).map_err(RuntimeError::Ticker)?;
        Ok(Self(Arc::new(Inner {
            engine: machine,
            linker,
            idle: Idle::new(limits.max_instances as usize),
            limits,
            ticker,
            next_policy: AtomicU64::new(0),
        })))
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// Everything but where memories lie.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(limits.fuel.is_some())
        .max_wasm_stack(limits.stack_kib << 10)
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES))
        // For the native unwinder, which nobody asks: the engine walks a policy's frames by itself.
        .native_unwind_info(false)
        // The same answer on every machine: NaNs and relaxed SIMD are where they differ.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false);
    config
}

/// The first eight bytes tell a component, a core module and anything else apart.
pub(super) fn check_header(bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    const MAGIC: &[u8] = b"\0asm";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    match bytes {
        [] => Err(LoadError::Empty),
        _ if bytes.starts_with(MODULE) => Err(LoadError::CoreModule),
        _ if !bytes.starts_with(MAGIC) => Err(LoadError::NotWebAssembly),
        _ if bytes.len() > limit => Err(LoadError::TooLarge {
            bytes: bytes.len(),
            limit,
        }),
        _ => Ok(()),
    }
}

pub(super) fn describe(runtime: &Inner, linked: &Linked) -> Result<Description, LoadError> {
    let limits = &runtime.limits;
    let (mut sandbox, _watched) = outside_of_decisions(runtime);
    // Whether the functions have the contract's types shows here, not when linking: the engine
    // then says so, and nothing of the policy has run.
    if let Err(error) = sandbox.start(linked) {
        return Err(match sandbox.failure(limits, &error) {
            PolicyFailure::Unreadable { .. } => LoadError::Contract(EngineError::from(error)),
            failure => LoadError::Start(failure),
        });
    }
    let mut description = sandbox
        .call(limits, linked, contract::Instance::describe)
        .map_err(LoadError::Describe)?;
    check_description(&mut description).map_err(|what| LoadError::MalformedDescription { what })?;
    Ok(description)
}

pub(super) fn configure(
    runtime: &Inner,
    linked: &Linked,
    settings: &[Setting],
) -> Result<Vec<u8>, LoadError> {
    let errors = check_settings(settings);
    if !errors.is_empty() {
        return Err(LoadError::Settings(errors));
    }
    let (mut sandbox, _watched) = outside_of_decisions(runtime);
    let answer = sandbox
        .call(&runtime.limits, linked, |policy, store| {
            policy.configure(store, settings)
        })
        .map_err(LoadError::Configure)?;
    check_configured(answer)
}

/// With more time, fuel without end, and without telemetry. Watched until the second is dropped.
fn outside_of_decisions(runtime: &Inner) -> (Sandbox, Watched<'_>) {
    let limit_ms = runtime.limits.start_deadline_ms;
    let due = Instant::now() + Duration::from_millis(limit_ms);
    let mut sandbox = Sandbox::new(runtime);
    sandbox.allow(
        &runtime.limits,
        Allowance {
            due,
            limit_ms,
            fuel: u64::MAX,
            lent: Box::new(NoTelemetry),
        },
    );
    (sandbox, runtime.ticker.watch(due))
}
