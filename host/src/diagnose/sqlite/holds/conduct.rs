//! What the holder of a lock does while it holds it.

use crate::target::sqlite::Probe;
use crate::target::sqlite::activity::{Activity, RunState};

/// What a holder did since its hold began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conduct {
    /// Since when it is proven not to have run at all.
    pub(super) unmoved_since_ms: u64,
    /// Since when it did nothing that could be called work.
    pub(super) idle_since_ms: u64,
    cpu_us_at_first: Option<u64>,
    last: Option<Activity>,
    last_ms: u64,
}

impl Conduct {
    pub(super) fn begin(at_ms: u64, probe: &Probe) -> Self {
        Self {
            unmoved_since_ms: at_ms,
            idle_since_ms: at_ms,
            cpu_us_at_first: probe.activity.map(|activity| activity.cpu_us),
            last: probe.activity,
            last_ms: at_ms,
        }
    }

    /// Takes up the next probe. Says whether the process is proven not to have run since the last.
    pub(super) fn go_on(&mut self, at_ms: u64, probe: &Probe) -> bool {
        let now = probe.activity;
        let unmoved = !probe.ran
            && self
                .last
                .zip(now)
                .is_some_and(|(before, now)| before.run_mark == now.run_mark);
        if !unmoved {
            self.unmoved_since_ms = at_ms;
        }
        let elapsed_ms = at_ms.saturating_sub(self.last_ms);
        let worked = match (self.last, now) {
            (Some(before), Some(now)) => now.has_worked_since(&before, elapsed_ms),
            // What cannot be seen is not idle.
            _ => true,
        };
        if worked {
            self.idle_since_ms = at_ms;
        }
        self.last = now;
        self.last_ms = at_ms;
        unmoved
    }

    /// What the process is doing now; none when that cannot be seen.
    pub(super) fn state(&self) -> Option<RunState> {
        self.last.map(|activity| activity.state)
    }

    /// The mark by which it is seen whether the process ran since; see [`Activity::run_mark`].
    pub(super) fn run_mark(&self) -> Option<u64> {
        self.last.map(|activity| activity.run_mark)
    }

    /// Processor time since the hold began, milliseconds; none when it cannot be seen.
    pub(super) fn cpu_ms(&self) -> Option<u64> {
        let now = self.last?.cpu_us;
        Some(now.saturating_sub(self.cpu_us_at_first?) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sqlite::Lock;

    fn probe(run_mark: u64, cpu_us: u64, runs: u64, read: Option<u64>) -> Probe {
        Probe {
            lock: Lock::WalWrite,
            pid: 7,
            start_ticks: 9,
            samples: 100,
            held: 100,
            window_us: 30_000,
            ran: false,
            activity: Some(Activity {
                state: RunState::Sleeping,
                threads: 1,
                run_mark,
                runs,
                cpu_us,
                read_bytes: read,
            }),
        }
    }

    /// Whether one second after `before` this counts as work, and whether as having run.
    fn after(next: &Probe) -> (bool, bool) {
        let mut conduct = Conduct::begin(0, &probe(1, 0, 0, Some(0)));
        let unmoved = conduct.go_on(1000, next);
        assert_eq!(conduct.unmoved_since_ms == 1000, !unmoved);
        (conduct.idle_since_ms == 1000, !unmoved)
    }

    #[test]
    fn a_heartbeat_is_no_work_and_yet_a_run() {
        assert_eq!(after(&probe(1, 0, 0, Some(0))), (false, false));
        assert_eq!(after(&probe(2, 4_999, 10, Some(4095))), (false, true));
        assert_eq!(after(&probe(2, 5_000, 1, Some(0))), (true, true));
        assert_eq!(after(&probe(2, 1, 11, Some(0))), (true, true));
        assert_eq!(after(&probe(2, 1, 1, Some(4096))), (true, true));
        assert_eq!(after(&probe(2, 1, 1, None)), (true, true));
    }

    #[test]
    fn what_waits_for_a_processor_or_a_disk_is_at_work_though_it_does_not_run() {
        for (state, works) in [
            (RunState::Running, true),
            (RunState::Disk, true),
            (RunState::Sleeping, false),
            (RunState::Stopped, false),
        ] {
            let mut next = probe(1, 0, 0, None);
            next.activity.as_mut().unwrap().state = state;
            assert_eq!(after(&next), (works, false), "{state:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_neither_idle_nor_unmoved() {
        let mut hidden = probe(1, 0, 0, None);
        hidden.activity = None;
        assert_eq!(after(&hidden), (true, true));
        let mut ran = probe(1, 0, 0, Some(0));
        ran.ran = true;
        assert_eq!(after(&ran), (false, true));
    }
}
