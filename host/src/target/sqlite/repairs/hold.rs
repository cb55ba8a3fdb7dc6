//! Whether a process still stands in the way, asked again right before it is acted on.

use super::Scene;
use super::end_process::Culprit;
use crate::repair::RepairError;
use crate::target::sqlite::activity::{Activity, RunState};
use crate::target::sqlite::{Lock, Probe, SqliteState};

/// Samples that a probe needs to say that a lock stands.
const LEAST_SAMPLES: u32 = 20;

/// The precondition that fails once the process has let go.
pub(super) const STILL_HOLDS: &str = "still-holds";

/// A lock that a process was found to hold in every sample of a probe.
pub(super) struct Standing {
    /// What the same observation showed beside it.
    pub(super) state: SqliteState,
    /// What the process had done by then.
    pub(super) activity: Activity,
    /// Whether it ran while the lock was probed.
    pub(super) ran: bool,
}

/// Probes the lock that a process holds. `which` says which of its locks is meant.
///
/// # Errors
/// [`RepairError::Unmet`] when it holds none, lets go of it, is at work, or cannot be seen.
pub(super) fn standing(
    scene: &mut Scene,
    culprit: &Culprit,
    which: &dyn Fn(Lock, &SqliteState) -> bool,
) -> Result<Standing, RepairError> {
    let state = scene.look(false)?;
    let unmet = |name: &'static str, detail: String| RepairError::Unmet { name, detail };
    let pid = culprit.pid;
    let holds = state
        .locks
        .iter()
        .any(|held| culprit.holds(held) && which(held.lock, &state));
    if !holds {
        let detail = format!("process {pid} does not hold it any more");
        return Err(unmet(STILL_HOLDS, detail));
    }
    let of_culprit = |probe: &&Probe| {
        (probe.pid, probe.start_ticks) == (pid, culprit.start_ticks) && which(probe.lock, &state)
    };
    let Some(probe) = state.probes.iter().find(of_culprit) else {
        let detail = format!("the log goes on: process {pid} is at work");
        return Err(unmet("makes-no-progress", detail));
    };
    if probe.held < probe.samples || probe.samples < LEAST_SAMPLES {
        let detail = format!(
            "process {pid} held it in {} of {} samples",
            probe.held, probe.samples
        );
        return Err(unmet("held-throughout", detail));
    }
    let Some(activity) = probe.activity else {
        let detail = format!("what process {pid} does cannot be seen");
        return Err(unmet("is-at-rest", detail));
    };
    if !matches!(activity.state, RunState::Sleeping | RunState::Stopped) {
        let detail = match activity.state {
            RunState::Traced => format!("process {pid} is stopped by a debugger"),
            RunState::Frozen => format!("process {pid} is paused: its control group is frozen"),
            _ => format!("process {pid} is at work"),
        };
        return Err(unmet("is-at-rest", detail));
    }
    let ran = probe.ran;
    Ok(Standing {
        state,
        activity,
        ran,
    })
}
