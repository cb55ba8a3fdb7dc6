//! One call into a policy: a fresh store with its limits, thrown away afterwards. A trap poisons a
//! store for good, so none is ever used twice.

use std::time::{Duration, Instant};

use wasmtime::component::Component;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::answer::cut;
use super::runtime::Inner;
use super::ticker::Ticking;
use super::{LOG_LINE_BYTES, LOG_LINES, LogLine, PolicyFailure, RECENT_POINTS, Telemetry};
use crate::model::generated::dbmedic::policy as imports;
use crate::model::generated::{Policy as Instance, PolicyPre};
use crate::model::{BaselineSummary, LogLevel, Point};

/// The most memories, tables and core instances of one component. Python brings some ten modules.
pub(super) const MEMORIES: u32 = 4;
pub(super) const TABLES: u32 = 16;
pub(super) const CORE_INSTANCES: u32 = 64;

/// What a store holds of the host's.
pub(super) struct State {
    pub(super) lent: Box<dyn Telemetry>,
    pub(super) log: Vec<LogLine>,
    pub(super) limit_ms: u64,
    pub(super) memory: Ceiling,
}

pub(super) struct Sandbox<'a> {
    runtime: &'a Inner,
    store: Store<State>,
    _ticking: Ticking<'a>,
}

impl<'a> Sandbox<'a> {
    pub(super) fn new(runtime: &'a Inner, limit_ms: u64, lent: Box<dyn Telemetry>) -> Self {
        let limits = &runtime.limits;
        let state = State {
            lent,
            log: Vec::new(),
            limit_ms,
            memory: Ceiling {
                memory_bytes: limits.memory_mib << 20,
                table_elements: limits.table_elements,
                used_bytes: 0,
                denied: false,
            },
        };
        let mut store = Store::new(&runtime.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.hostcall_fuel);
        // Ticks only wake this up: their number says nothing under load, the clock does.
        let cut_off = Instant::now() + Duration::from_millis(limit_ms);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            Ok(if Instant::now() >= cut_off {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        Self {
            runtime,
            store,
            _ticking: runtime.ticker.hold(),
        }
    }

    /// Makes the instance; what the engine says when it cannot.
    pub(super) fn start(&mut self, pre: &PolicyPre<State>) -> wasmtime::Result<Instance> {
        pre.instantiate(&mut self.store)
    }

    /// Calls an instance of this sandbox.
    pub(super) fn ask<R>(
        &mut self,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        call(&mut self.store).map_err(|error| self.failure(&error))
    }

    /// Makes the instance and calls it once.
    pub(super) fn call<R>(
        &mut self,
        pre: &PolicyPre<State>,
        call: impl FnOnce(&Instance, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let instance = self.start(pre).map_err(|error| self.failure(&error))?;
        self.ask(|store| call(&instance, store))
    }

    pub(super) fn failure(&self, error: &wasmtime::Error) -> PolicyFailure {
        PolicyFailure::of_call(error, self.store.data(), &self.runtime.limits)
    }

    pub(super) fn close(self) -> State {
        self.store.into_data()
    }
}

/// Bounds the instance's memories together, and remembers that it wanted more: an allocator that
/// is given none ends in a trap that does not say why.
pub(super) struct Ceiling {
    memory_bytes: usize,
    table_elements: usize,
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
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

impl imports::telemetry::Host for State {
    fn latest(&mut self, series: String) -> Option<Point> {
        self.lent.latest(&series)
    }

    fn baseline(&mut self, series: String) -> Option<BaselineSummary> {
        self.lent.baseline(&series)
    }

    fn recent(&mut self, series: String, limit: u32) -> Vec<Point> {
        let limit = RECENT_POINTS.min(limit as usize);
        let mut points = self.lent.recent(&series, limit);
        points.drain(..points.len().saturating_sub(limit));
        points
    }
}

impl imports::log::Host for State {
    fn write(&mut self, level: LogLevel, message: String) {
        if self.log.len() < LOG_LINES {
            // One entry is one line: a policy cannot forge its neighbours.
            let message = cut(message.replace(['\n', '\r'], " "), LOG_LINE_BYTES);
            self.log.push(LogLine { level, message });
        }
    }
}

// Interfaces without functions: the records alone.
impl imports::findings::Host for State {}
impl imports::situation::Host for State {}
impl imports::verdicts::Host for State {}

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
