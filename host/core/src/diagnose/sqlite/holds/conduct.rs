//! What the holder of a lock does while it holds it.

use crate::sqlite_state::{Activity, Probe, RunState};

/// What a holder did since its hold began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conduct {
    /// Since when neither it nor a process that it started ran at all.
    pub(super) idle_since_ms: u64,
    cpu_us_at_first: Option<u64>,
    last: Option<Activity>,
}

impl Conduct {
    pub(super) fn begin(at_ms: u64, probe: &Probe) -> Self {
        Self {
            idle_since_ms: at_ms,
            cpu_us_at_first: probe.activity.map(|activity| activity.cpu_us),
            last: probe.activity,
        }
    }

    /// Takes up the next probe. Says whether the process is proven not to have run since the last: then it let go of nothing.
    pub(super) fn go_on(&mut self, at_ms: u64, probe: &Probe) -> bool {
        let now = probe.activity;
        let unmoved = !probe.ran
            && self
                .last
                .zip(now)
                .is_some_and(|(before, now)| before.run_mark == now.run_mark);
        let worked = match (self.last, now) {
            (Some(before), Some(now)) => now.has_run_since(&before),
            // What cannot be seen is not idle.
            _ => true,
        };
        if worked || !unmoved {
            self.idle_since_ms = at_ms;
        }
        self.last = now;
        unmoved
    }

    /// Whether it is at work right now, or one that it started, or that cannot be seen.
    pub(super) fn is_at_work(&self) -> bool {
        self.last.is_none_or(|activity| activity.is_at_work())
    }

    /// What the process is doing now; none when that cannot be seen.
    pub(super) fn state(&self) -> Option<RunState> {
        self.last.map(|activity| activity.state)
    }

    /// The mark by which it is seen whether the process ran since; see [`Activity::mark`].
    pub(super) fn run_mark(&self) -> Option<u64> {
        self.last.map(|activity| activity.mark())
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
    use crate::sqlite_state::Descendants;
    use crate::sqlite_state::Lock;

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
                descendants: None,
                waits_for_lock: false,
            }),
        }
    }

    /// Whether one second later this counts as work, and whether as having run.
    fn after(next: &Probe) -> (bool, bool) {
        let mut conduct = Conduct::begin(0, &probe(1, 0, 0, Some(0)));
        let unmoved = conduct.go_on(1000, next);
        (conduct.idle_since_ms == 1000, !unmoved)
    }

    #[test]
    fn whoever_runs_however_little_is_at_work() {
        assert_eq!(after(&probe(1, 0, 0, Some(0))), (false, false));
        assert_eq!(after(&probe(2, 1, 1, Some(0))), (true, true));
        assert_eq!(after(&probe(2, 9_999, 99, None)), (true, true));
    }

    /// A stream of two rows a second over a socket: it runs a few times, reads no file and uses next to
    /// no processor. A heartbeat looks the same, so that neither is idle.
    #[test]
    fn a_stream_of_a_few_rows_a_second_is_never_idle() {
        let mut conduct = Conduct::begin(0, &probe(0, 0, 0, Some(0)));
        for second in 1..600 {
            let next = probe(second, second * 100, second * 2, Some(0));
            conduct.go_on(second * 1000, &next);
            assert_eq!(conduct.idle_since_ms, second * 1000);
        }
        for second in 600..610 {
            conduct.go_on(second * 1000, &probe(599, 59_900, 1198, Some(0)));
        }
        assert_eq!(conduct.idle_since_ms, 599_000);
    }

    #[test]
    fn who_waits_for_a_child_at_work_is_at_work_and_lets_go_of_nothing() {
        for (marks, at_work, idle) in [
            ([Some(1), Some(2)], false, false),
            ([None, Some(1)], false, false),
            ([Some(1), None], false, false),
            ([Some(1), Some(1)], true, false),
            ([Some(1), Some(1)], false, true),
            ([None, None], false, true),
        ] {
            let [before, now] = marks.map(|mark| {
                let mut seen = probe(1, 0, 0, None);
                let descendants = mark.map(|run_mark| Descendants { run_mark, at_work });
                seen.activity.as_mut().unwrap().descendants = descendants;
                seen
            });
            let mut conduct = Conduct::begin(0, &before);
            assert!(conduct.go_on(1000, &now));
            assert_eq!(conduct.idle_since_ms == 0, idle, "{marks:?} {at_work}");
            assert_eq!(conduct.is_at_work(), at_work, "{marks:?}");
        }
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
        // Who ran during the look is not idle either.
        assert_eq!(after(&ran), (true, true));
    }
}
