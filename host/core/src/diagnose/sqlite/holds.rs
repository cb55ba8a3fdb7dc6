//! Who holds a lock, since when, and what that keeps from going on.
//!
//! No age is a difference of two observations that happen to look alike. A hold begins with the
//! observation in which it first stands in the way, and goes on from one observation to the next only when it
//! is proven that it was not let go in between:
//!
//! - the write lock: the holder did not run at all, so that it could not let go;
//! - a read lock: its read mark could not be taken by a transaction that began later (see
//!   [`reader`]), or its holder did not run. In rollback mode see [`shared`].
//!
//! After a gap in the observations (a suspended machine, dbmedic stopped) every hold begins again.

mod conduct;
mod reader;
mod shared;
mod writer;

use std::collections::BTreeMap;

use super::{DiagnoseOptions, Diagnosis, Look, NO_LOSS, boolean, integer, text};
use crate::model::{Candidate, CascadeLevel, Fact, Precondition};
use crate::sqlite_state::rollback::{self, Opener};
use crate::sqlite_state::{Lock, LockHolder, Probe, Process, RunState, SqliteState, on_purpose};
use conduct::Conduct;
use reader::{Habit, ReadHold};
use shared::{SharedHold, WaitingWriter};
use writer::{Possession, WriteHold};

pub(in crate::diagnose) use writer::LONG_HOLD_MS;

/// A process by its pid and its start: a pid is used again, a pid with its start is not.
type ProcessKey = (u32, u64);

/// The holds under watch.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    last_ms: Option<u64>,
    writer: Option<WriteHold>,
    possession: Possession,
    shared: BTreeMap<ProcessKey, SharedHold>,
    waiting_writer: Option<WaitingWriter>,
    /// Processes that may have waited in the last observation.
    others: Vec<Opener>,
    /// How many of them waited.
    waiting: u64,
    readers: BTreeMap<(Lock, ProcessKey), ReadHold>,
    habits: BTreeMap<ProcessKey, Habit>,
}

impl Holds {
    /// Takes over the locks of this observation.
    pub(super) fn follow(&mut self, at_ms: u64, state: &SqliteState, options: &DiagnoseOptions) {
        let gap = self
            .last_ms
            .is_some_and(|last| at_ms.saturating_sub(last) > options.gap_ms());
        let elapsed_ms = self.last_ms.map_or(0, |last| at_ms.saturating_sub(last));
        self.last_ms = Some(at_ms);
        let others = state.standing.as_ref().map(|seen| seen.others.clone());
        let before = std::mem::replace(&mut self.others, others.unwrap_or_default());
        self.waiting = rollback::waiting(&self.others, &before, elapsed_ms);
        self.follow_writer(at_ms, state, gap);
        self.follow_readers(at_ms, state, gap);
        self.follow_shared(at_ms, state, gap);
    }

    /// A process that holds the write lock and commits nothing.
    pub(super) fn held_write_lock(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let waiting = self.waiting;
        self.writer.as_mut()?.diagnose(look, waiting)
    }
}

fn key(process: &Process) -> ProcessKey {
    (process.pid, process.start_ticks)
}

/// The probe of a holder, if it found the lock held in every sample.
fn confirmed<'a>(state: &'a SqliteState, holder: &LockHolder) -> Option<&'a Probe> {
    rollback::confirmed(&state.probes, holder)
}

/// Whether the kernel does not name a process: it lies outside of what dbmedic can see.
fn is_outside(process: &Process) -> bool {
    process.pid == 0
}

/// A process as a person reads of it.
fn named(process: &Process) -> String {
    if is_outside(process) {
        "a process outside of this container".to_owned()
    } else if let Some(purpose) = on_purpose::purpose(&process.name) {
        format!(
            "process {} ({}, which {purpose} and holds it on purpose)",
            process.pid, process.name
        )
    } else {
        format!("process {} ({})", process.pid, process.name)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds for display stay far below 2^52"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn may_end(process: &Process, options: &DiagnoseOptions) -> bool {
    !is_outside(process)
        && process.start_ticks > 0
        && on_purpose::purpose(&process.name).is_none()
        && options.may_end.contains(&process.name)
}

fn may_be_ended(name: &str, process: &Process, options: &DiagnoseOptions) -> Precondition {
    let holds = may_end(process, options);
    let detail = if holds {
        format!("`{}` stands in may_end", process.name)
    } else {
        format!(
            "`{}` does not stand in the target's may_end (--may-end for one visit)",
            process.name
        )
    };
    Precondition {
        name: name.into(),
        holds,
        detail,
    }
}

/// Whether a holder is one that a repair could be offered for at all: a process that can be seen,
/// that holds the lock by mistake, and that nobody has paused on purpose.
fn is_candidate(process: &Process, conduct: &Conduct) -> bool {
    !is_outside(process)
        && process.start_ticks > 0
        && on_purpose::purpose(&process.name).is_none()
        && !conduct.is_at_work()
        && matches!(
            conduct.state(),
            Some(RunState::Sleeping | RunState::Stopped)
        )
}

/// The gentler repair of a stopped process; none for one that is not stopped.
fn resume(
    prefix: &str,
    process: &Process,
    conduct: &Conduct,
    options: &DiagnoseOptions,
) -> Option<Candidate> {
    (conduct.state() == Some(RunState::Stopped)).then(|| Candidate {
        id: "lock.resume-holder".into(),
        summary: format!(
            "let process {} ({}), which is stopped, go on (SIGCONT)",
            process.pid, process.name
        ),
        level: CascadeLevel::InPlace,
        preconditions: vec![may_be_ended(
            &format!("{prefix}-may-be-ended"),
            process,
            options,
        )],
        expected_duration_ms: 2000,
        expected_loss: NO_LOSS,
        undoable: false,
    })
}

/// How a state is called in facts.
fn state_name(state: Option<RunState>) -> &'static str {
    match state {
        Some(RunState::Sleeping) => "sleeping",
        Some(RunState::Running) => "running",
        Some(RunState::Disk) => "disk",
        Some(RunState::Stopped) => "stopped",
        Some(RunState::Traced) => "traced",
        Some(RunState::Frozen) => "frozen",
        None => "unknown",
    }
}

/// That a process does not go on by itself, and what would let it; empty for one that sleeps or
/// runs.
fn standstill(state: Option<RunState>) -> &'static str {
    match state {
        Some(RunState::Stopped) => " is stopped (SIGSTOP or Ctrl-Z; SIGCONT lets it go on) and",
        Some(RunState::Traced) => " is stopped by a debugger and",
        Some(RunState::Frozen) => " is paused (its control group is frozen; thaw it) and",
        _ => "",
    }
}

/// The facts of a process, each name with the given prefix.
fn holder_facts(
    prefix: &str,
    process: &Process,
    conduct: &Conduct,
    options: &DiagnoseOptions,
) -> Vec<Fact> {
    let of = |name: &str| format!("{prefix}_{name}");
    let state = conduct.state();
    let mut facts = vec![
        integer(&of("pid"), u64::from(process.pid)),
        text(&of("name"), &process.name),
        integer(&of("start_ticks"), process.start_ticks),
        boolean(&of("may_be_ended"), may_end(process, options)),
        text(&of("state"), state_name(state)),
        boolean(&of("stopped"), state == Some(RunState::Stopped)),
        boolean(&of("outside"), is_outside(process)),
        boolean(
            &of("on_purpose"),
            on_purpose::purpose(&process.name).is_some(),
        ),
    ];
    facts.extend(
        conduct
            .run_mark()
            .map(|mark| integer(&of("run_mark"), mark)),
    );
    facts
}

#[cfg(test)]
mod tests;
