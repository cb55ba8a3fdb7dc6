//! One store with its limits, and the calls into it. A trap poisons a store for good, so none is
//! ever used again after a failure.

use std::time::Instant;

use wasmtime::component::Component;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::answer::cut;
use super::contract::{Instance, Linked};
use super::runtime::Inner;
use super::{
    LOG_LINE_BYTES, LOG_LINES, Limits, LogLine, NoTelemetry, PolicyFailure, RECENT_POINTS,
    Telemetry,
};
use crate::model::{BaselineSummary, LogLevel, Point};

/// What a store holds of the host's.
pub(super) struct State {
    lent: Box<dyn Telemetry>,
    log: Vec<LogLine>,
    /// None before the first call.
    due: Option<Instant>,
    pub(super) limit_ms: u64,
    pub(super) memory: Ceiling,
}

/// What one call may use.
pub(super) struct Allowance {
    /// When its time is over.
    pub(super) due: Instant,
    /// How long that was from its beginning, milliseconds.
    pub(super) limit_ms: u64,
    /// Where fuel is counted at all.
    pub(super) fuel: u64,
    /// What it may read.
    pub(super) lent: Box<dyn Telemetry>,
}

/// What a call leaves.
pub(super) struct Used {
    pub(super) lent: Box<dyn Telemetry>,
    pub(super) log: Vec<LogLine>,
    /// Fuel used, where it is counted.
    pub(super) fuel: Option<u64>,
    /// All memories of the instance together at their highest, bytes.
    pub(super) memory_bytes: usize,
}

pub(super) struct Sandbox {
    store: Store<State>,
    /// None until the first call.
    instance: Option<Instance>,
    /// Fuel given to the call that runs or ran last; none where it is not counted.
    fuel: Option<u64>,
}

impl Sandbox {
    /// A store of this engine. Whoever calls into it has the runtime's ticker watch the call.
    pub(super) fn new(runtime: &Inner) -> Self {
        let limits = &runtime.limits;
        let state = State {
            lent: Box::new(NoTelemetry),
            log: Vec::new(),
            due: None,
            limit_ms: 0,
            memory: Ceiling {
                memory_bytes: limits.memory_mib << 20,
                table_elements: limits.table_elements,
                core_instances: limits.core_instances as usize,
                memories: limits.memories as usize,
                tables: limits.tables as usize,
                used_bytes: 0,
                denied: false,
            },
        };
        let mut store = Store::new(&runtime.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.hostcall_fuel);
        // Ticks only wake this up: their number says nothing under load, the clock does.
        store.epoch_deadline_callback(|store| {
            Ok(
                if store.data().due.is_none_or(|due| Instant::now() >= due) {
                    UpdateDeadline::Interrupt
                } else {
                    UpdateDeadline::Continue(1)
                },
            )
        });
        Self {
            store,
            instance: None,
            fuel: None,
        }
    }

    /// Readies the store for one call.
    pub(super) fn allow(&mut self, limits: &Limits, allowance: Allowance) {
        let state = self.store.data_mut();
        state.due = Some(allowance.due);
        state.limit_ms = allowance.limit_ms;
        state.lent = allowance.lent;
        // What an earlier call was denied, and lived with, is not why this one ends.
        state.memory.denied = false;
        self.store.set_epoch_deadline(1);
        if limits.fuel.is_some() {
            self.fuel = Some(allowance.fuel);
            // Fails only where no fuel is counted, and then nothing could run.
            if self.store.set_fuel(allowance.fuel).is_err() {
                tracing::error!("the engine does not count fuel");
            }
        }
    }

    /// Makes the instance unless there is one; what the engine says when it cannot.
    pub(super) fn start(&mut self, linked: &Linked) -> wasmtime::Result<()> {
        if self.instance.is_none() {
            self.instance = Some(linked.instantiate(&mut self.store)?);
        }
        Ok(())
    }

    /// Makes the instance unless there is one, and calls it.
    pub(super) fn call<R>(
        &mut self,
        limits: &Limits,
        linked: &Linked,
        call: impl FnOnce(&Instance, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let instance = match &self.instance {
            Some(instance) => instance,
            None => match linked.instantiate(&mut self.store) {
                Ok(instance) => self.instance.insert(instance),
                Err(error) => return Err(self.failure(limits, &error)),
            },
        };
        call(instance, &mut self.store).map_err(|error| self.failure(limits, &error))
    }

    pub(super) fn failure(&self, limits: &Limits, error: &wasmtime::Error) -> PolicyFailure {
        super::failure::of_call(error, self.store.data(), limits)
    }

    /// Takes back what the call was lent, and what it left.
    pub(super) fn settle(&mut self) -> Used {
        // Where none is counted, asking would make an error, and with it a trace of the stack.
        let fuel = self
            .fuel
            .and_then(|given| Some(given.saturating_sub(self.store.get_fuel().ok()?)));
        let state = self.store.data_mut();
        Used {
            lent: std::mem::replace(&mut state.lent, Box::new(NoTelemetry)),
            log: std::mem::take(&mut state.log),
            fuel,
            memory_bytes: state.memory.used_bytes,
        }
    }
}

/// Bounds the instance's memories together, and remembers that it wanted more: an allocator that
/// is given none ends in a trap that does not say why.
pub(super) struct Ceiling {
    memory_bytes: usize,
    table_elements: usize,
    core_instances: usize,
    memories: usize,
    tables: usize,
    used_bytes: usize,
    pub(super) denied: bool,
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .used_bytes
            .saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_bytes {
            self.denied = true;
            return Ok(false);
        }
        self.used_bytes = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
    }

    fn instances(&self) -> usize {
        self.core_instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

impl State {
    /// The latest point of a series of the target.
    pub(super) fn latest_point(&self, series: &str) -> Option<Point> {
        self.lent.latest(series)
    }

    /// What is normal for a series of the target.
    pub(super) fn baseline_of(&self, series: &str) -> Option<BaselineSummary> {
        self.lent.baseline(series)
    }

    /// The latest points of a series of the target, oldest first.
    pub(super) fn recent_points(&self, series: &str, limit: u32) -> Vec<Point> {
        let limit = RECENT_POINTS.min(limit as usize);
        let mut points = self.lent.recent(series, limit);
        points.drain(..points.len().saturating_sub(limit));
        points
    }

    /// Keeps a line of the policy's log.
    pub(super) fn note(&mut self, level: LogLevel, message: &str) {
        if self.log.len() < LOG_LINES {
            // One entry is one line: a policy cannot forge its neighbours.
            let message = cut(message.replace(['\n', '\r'], " "), LOG_LINE_BYTES);
            self.log.push(LogLine { level, message });
        }
    }
}

/// The interfaces that the host offers, whatever their version; that is checked when linking.
const OFFERED: [&str; 5] = ["telemetry", "log", "findings", "situation", "verdicts"];

/// The imports that no policy may have.
pub(super) fn foreign_imports(component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(component.engine())
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            let interface = name.strip_prefix("dbmedic:policy/").unwrap_or_default();
            let unversioned = interface.split('@').next().unwrap_or_default();
            !OFFERED.contains(&unversioned)
        })
        .collect()
}
