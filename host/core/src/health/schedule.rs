//! Which check is due when. Pure: time is handed in, in milliseconds since the Unix epoch.
//!
//! What it holds to: a check that is still running is not started again; one that overruns its
//! time is cut off and reported once, its late answer thrown away; due checks begin one after the
//! other, not together; and of those that use the same worker only one runs at a time.

use std::collections::BTreeMap;

use super::CheckKind;

/// How often a check runs and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPlan {
    /// Which check.
    pub check: CheckKind,
    /// From the beginning of a run to the next, milliseconds.
    pub interval_ms: u64,
    /// How long a run may take, milliseconds.
    pub timeout_ms: u64,
    /// With which others it does not run at a time.
    pub lane: Lane,
}

/// Checks of one lane run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Of this check alone.
    Own,
    /// Of those that end soon, or have the target for themselves for a while.
    Short,
    /// Of those that go through everything, and may take an hour.
    Long,
}

/// Intervals after which what a check found counts as not known any more: a run or two may be late
/// on a busy machine.
const STALE_INTERVALS: u64 = 3;

impl CheckPlan {
    /// Whether what a run found that began then is too old by now. A run that may take longer than
    /// the interval is not late before its time is over.
    pub fn is_stale(&self, begun_ms: u64, now_ms: u64) -> bool {
        let rhythm_ms = self.interval_ms.max(self.timeout_ms);
        is_stale(now_ms.saturating_sub(begun_ms), rhythm_ms)
    }
}

/// Whether what is looked at again and again was not for too long.
pub fn is_stale(age_ms: u64, interval_ms: u64) -> bool {
    age_ms > interval_ms.saturating_mul(STALE_INTERVALS)
}

/// A check that is to be run now, with the number that its answer must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which check.
    pub check: CheckKind,
    /// Which run of it.
    pub run: u64,
    /// How long it may take, milliseconds.
    pub timeout_ms: u64,
}

/// A check that took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// Which check.
    pub check: CheckKind,
    /// When it began.
    pub begun_ms: u64,
    /// How long it may take, milliseconds.
    pub timeout_ms: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    plan: CheckPlan,
    due_ms: u64,
    running: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    number: u64,
    begun_ms: u64,
    cut_off: bool,
}

/// The checks of one target.
#[derive(Debug, Clone)]
pub struct Schedule {
    entries: BTreeMap<CheckKind, Entry>,
    spacing_ms: u64,
    /// Before this no check begins.
    next_start_ms: u64,
    runs: u64,
}

impl Schedule {
    /// A schedule in which every check is due at `begin_ms`, one begun every `spacing_ms`. Targets
    /// that begin at different times stay apart.
    pub fn new(plans: &[CheckPlan], begin_ms: u64, spacing_ms: u64) -> Self {
        let entry = |plan: &CheckPlan| Entry {
            plan: *plan,
            due_ms: begin_ms,
            running: None,
        };
        Self {
            entries: plans.iter().map(|plan| (plan.check, entry(plan))).collect(),
            spacing_ms,
            next_start_ms: begin_ms,
            runs: 0,
        }
    }

    /// The check to begin now, if there is one: of those that are due the one that has waited
    /// longest, measured in its own intervals. It counts as running from now on.
    pub fn due(&mut self, now_ms: u64) -> Option<Due> {
        let (check, _) = self.waiting(now_ms, &|_| true)?;
        self.begin(check, now_ms)
    }

    /// The check that [`Self::due`] would begin of those that are `wanted`, and since when it is due.
    pub fn waiting(
        &self,
        now_ms: u64,
        wanted: &dyn Fn(CheckKind) -> bool,
    ) -> Option<(CheckKind, u64)> {
        if now_ms < self.next_start_ms {
            return None;
        }
        let waited = |entry: &Entry| {
            let late_ms = u128::from(now_ms - entry.due_ms);
            (late_ms << 20) / u128::from(entry.plan.interval_ms.max(1))
        };
        let entry = self
            .entries
            .values()
            .filter(|entry| entry.running.is_none() && entry.due_ms <= now_ms)
            .filter(|entry| wanted(entry.plan.check) && !self.is_occupied(entry.plan.lane))
            .max_by(|a, b| {
                // The more frequent one first when both waited equally long, then the cheaper.
                let often = b.plan.interval_ms.cmp(&a.plan.interval_ms);
                let order = b.plan.check.cmp(&a.plan.check);
                waited(a).cmp(&waited(b)).then(often).then(order)
            })?;
        Some((entry.plan.check, entry.due_ms))
    }

    /// Begins a check: it counts as running from now on. None when there is no such check, or it runs.
    pub fn begin(&mut self, check: CheckKind, now_ms: u64) -> Option<Due> {
        let entry = self.entries.get_mut(&check)?;
        if entry.running.is_some() {
            return None;
        }
        self.runs += 1;
        entry.running = Some(Run {
            number: self.runs,
            begun_ms: now_ms,
            cut_off: false,
        });
        entry.due_ms = now_ms.saturating_add(entry.plan.interval_ms);
        self.next_start_ms = now_ms.saturating_add(self.spacing_ms);
        Some(Due {
            check,
            run: self.runs,
            timeout_ms: entry.plan.timeout_ms,
        })
    }

    /// A run ended. Says when it began, if its answer counts: not when it came too late.
    pub fn ended(&mut self, check: CheckKind, run: u64) -> Option<u64> {
        let entry = self.entries.get_mut(&check)?;
        let ended = entry.running.filter(|running| running.number == run)?;
        entry.running = None;
        (!ended.cut_off).then_some(ended.begun_ms)
    }

    /// Cuts off the runs whose time is over; each is told once.
    pub fn overruns(&mut self, now_ms: u64) -> Vec<Overrun> {
        // Takes no memory while it is empty.
        let mut overruns = Vec::new();
        for entry in self.entries.values_mut() {
            let timeout_ms = entry.plan.timeout_ms;
            if let Some(run) = &mut entry.running
                && !run.cut_off
                && now_ms.saturating_sub(run.begun_ms) > timeout_ms
            {
                run.cut_off = true;
                overruns.push(Overrun {
                    check: entry.plan.check,
                    begun_ms: run.begun_ms,
                    timeout_ms,
                });
            }
        }
        overruns
    }

    /// Makes a check due now. An answer of a run that has begun already does not count: it may tell
    /// of what was before.
    pub fn demand(&mut self, check: CheckKind, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&check) {
            entry.due_ms = 0;
            if let Some(run) = &mut entry.running {
                run.cut_off = true;
            }
            self.next_start_ms = self.next_start_ms.min(now_ms);
        }
    }

    /// Has a check begin no earlier than then: what it would do was done lately.
    pub fn put_off(&mut self, check: CheckKind, until_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&check) {
            entry.due_ms = entry.due_ms.max(until_ms);
        }
    }

    /// When something is to be done next: a check begun or one cut off; never when nothing will be
    /// until a run ends.
    pub fn next_ms(&self) -> Option<u64> {
        self.entries
            .values()
            .filter_map(|entry| match entry.running {
                Some(run) if run.cut_off => None,
                Some(run) => Some(
                    run.begun_ms
                        .saturating_add(entry.plan.timeout_ms)
                        .saturating_add(1),
                ),
                None if self.is_occupied(entry.plan.lane) => None,
                None => Some(entry.due_ms.max(self.next_start_ms)),
            })
            .min()
    }

    /// Whether a check of the same lane runs.
    fn is_occupied(&self, lane: Lane) -> bool {
        let mut running = self.entries.values();
        lane != Lane::Own && running.any(|entry| entry.running.is_some() && entry.plan.lane == lane)
    }

    /// The checks that there are.
    pub fn checks(&self) -> impl Iterator<Item = CheckKind> {
        self.entries.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::CheckKind::{Full, Quick, Resource};
    use super::*;

    fn plan(check: CheckKind, interval_ms: u64, timeout_ms: u64, exclusive: bool) -> CheckPlan {
        CheckPlan {
            check,
            interval_ms,
            timeout_ms,
            lane: if exclusive { Lane::Short } else { Lane::Own },
        }
    }

    fn three(spacing_ms: u64) -> Schedule {
        let plans = [
            plan(Quick, 60_000, 5000, true),
            plan(Full, 3_600_000, 30_000, true),
            plan(Resource, 30_000, 1000, false),
        ];
        Schedule::new(&plans, 1000, spacing_ms)
    }

    fn started(schedule: &mut Schedule, now_ms: u64) -> Option<CheckKind> {
        schedule.due(now_ms).map(|due| due.check)
    }

    #[test]
    fn due_checks_begin_one_after_the_other() {
        let mut schedule = three(100);
        assert_eq!(started(&mut schedule, 999), None);
        let first = schedule.due(1000).unwrap();
        assert_eq!(first.check, Resource);
        assert_eq!(schedule.due(1000), None);
        assert_eq!(schedule.next_ms(), Some(1100));
        let second = schedule.due(1100).unwrap();
        assert_eq!(second.check, Quick);
        // The full check waits until the target is free.
        assert_eq!(started(&mut schedule, 1200), None);
        assert_eq!(schedule.ended(Quick, second.run), Some(1100));
        assert_eq!(started(&mut schedule, 1201), Some(Full));
    }

    #[test]
    fn a_check_runs_at_its_interval_and_is_not_started_while_it_runs() {
        let mut schedule = Schedule::new(&[plan(Resource, 30_000, 1000, false)], 0, 0);
        let mut runs = Vec::new();
        let mut running = None;
        for now_ms in (0..200_000).step_by(100) {
            if let Some(due) = schedule.due(now_ms) {
                runs.push(now_ms);
                running = Some(due.run);
            }
            // The second run hangs from 30 s to 100 s.
            if !(30_000..100_000).contains(&now_ms)
                && let Some(run) = running.take()
            {
                schedule.ended(Resource, run);
            }
        }
        assert_eq!(runs, [0, 30_000, 100_100, 130_100, 160_100, 190_100]);
    }

    #[test]
    fn an_overrun_is_told_once_and_its_late_answer_thrown_away() {
        let mut schedule = three(0);
        let resource = schedule.due(1000).unwrap();
        assert_eq!(schedule.overruns(2000), []);
        let overrun = Overrun {
            check: Resource,
            begun_ms: 1000,
            timeout_ms: 1000,
        };
        assert_eq!(schedule.overruns(2001), [overrun]);
        assert_eq!(schedule.overruns(9999), []);
        assert_eq!(schedule.ended(Resource, resource.run), None);
        // It may begin again, and the answer of the new run counts.
        schedule.demand(Resource, 10_000);
        let again = schedule.due(10_000).unwrap();
        assert_eq!(again.check, Resource);
        assert_eq!(
            schedule.ended(Resource, resource.run),
            None,
            "an old answer"
        );
        assert_eq!(schedule.ended(Resource, again.run), Some(10_000));
    }

    #[test]
    fn a_demand_makes_it_due_and_voids_what_runs() {
        let mut schedule = Schedule::new(&[plan(Full, 3_600_000, 30_000, true)], 0, 1000);
        let before = schedule.due(0).unwrap();
        schedule.demand(Full, 10);
        assert_eq!(schedule.ended(Full, before.run), None);
        let after = schedule.due(10).unwrap();
        assert_eq!(schedule.ended(Full, after.run), Some(10));
        assert_eq!(schedule.next_ms(), Some(3_600_010));
    }

    #[test]
    fn in_a_long_run_no_check_starves_and_none_begin_together() {
        let mut schedule = three(50);
        let mut begun = BTreeMap::<CheckKind, Vec<u64>>::new();
        let mut ends: Vec<(u64, Due)> = Vec::new();
        let mut now_ms = 1000;
        let mut last = None;
        while now_ms < 4 * 3_600_000 {
            ends.retain(|(at, due)| {
                if *at <= now_ms {
                    schedule.ended(due.check, due.run);
                }
                *at > now_ms
            });
            if let Some(due) = schedule.due(now_ms) {
                assert_ne!(last.replace(now_ms), Some(now_ms), "two began together");
                begun.entry(due.check).or_default().push(now_ms);
                let takes = if due.check == Full { 20_000 } else { 40 };
                ends.push((now_ms + takes, due));
            }
            let next = ends
                .iter()
                .map(|(at, _)| *at)
                .chain(schedule.next_ms())
                .min();
            now_ms = next.unwrap().max(now_ms + 1);
        }
        assert_eq!(begun[&Full].len(), 4);
        for (check, interval_ms) in [(Quick, 60_000), (Resource, 30_000)] {
            for pair in begun[&check].windows(2) {
                let gap = pair[1] - pair[0];
                assert!(
                    (interval_ms..interval_ms + 20_200).contains(&gap),
                    "{check:?} {gap}"
                );
            }
        }
    }
}
