//! How many checks of all targets run at a time, and which begins next.
//!
//! Of each owner's databases one check that ends soon runs at a time, one that goes through everything,
//! and one of a large database: so that neither a thousand small ones nor one that takes an hour holds up
//! the others. Of those that are due the one begins that has waited longest. A check that overran its
//! time, or that waits for a disk that does not answer, holds up nobody: it counts no more.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::thread;

use super::{Heard, Target};
use crate::health::{CheckKind, Due};

/// From this size on a database is large, bytes.
const LARGE_BYTES: u64 = 64 << 20;
/// Checks at a time, of all owners.
const MOST: usize = 24;
/// Measurements of the host's resources at a time: they need no worker.
const MOST_MEASUREMENTS: usize = 2;

/// What a check costs the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// It ends soon.
    Short,
    /// It goes through everything.
    Whole,
    /// It goes through everything that a large database has.
    Large,
    /// It uses no worker.
    Measurement,
}

const COSTS: [Cost; 4] = [Cost::Short, Cost::Whole, Cost::Large, Cost::Measurement];

/// The user with whose rights a database is opened; none: this process's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner(pub(super) Option<u32>);

/// A check that runs.
struct Running {
    target: usize,
    due: Due,
    cost: Cost,
    owner: Owner,
    /// Whether others wait for its end.
    counts: bool,
}

/// The checks that run.
pub(super) struct Checks {
    orders: Sender<Heard>,
    running: Vec<Running>,
}

fn cost(target: &Target, check: CheckKind) -> Cost {
    let is_large = target.looker.database_bytes() >= LARGE_BYTES;
    match check {
        CheckKind::Resource => Cost::Measurement,
        CheckKind::Quick | CheckKind::ProbeTransaction => Cost::Short,
        CheckKind::Incremental | CheckKind::Full | CheckKind::Snapshot if is_large => Cost::Large,
        CheckKind::Incremental | CheckKind::Full | CheckKind::Snapshot => Cost::Whole,
    }
}

impl Checks {
    pub(super) fn new(orders: Sender<Heard>) -> Self {
        Self {
            orders,
            running: Vec::new(),
        }
    }

    /// A check ended.
    pub(super) fn ended(&mut self, target: usize, due: Due) {
        self.running
            .retain(|one| one.target != target || one.due != due);
    }

    /// A check of a target overran its time.
    pub(super) fn cut_off(&mut self, target: usize, check: CheckKind) {
        for one in &mut self.running {
            one.counts &= one.target != target || one.due.check != check;
        }
    }

    /// A target's disk does not answer.
    pub(super) fn set_aside(&mut self, target: usize) {
        for one in &mut self.running {
            one.counts &= one.target != target;
        }
    }

    /// Whether a check runs that nobody has given up.
    pub(super) fn run_in_time(&self) -> bool {
        self.running.iter().any(|one| one.counts)
    }

    /// Begins the checks that are due, as many as may run. Names the targets of which one cannot begin,
    /// and why.
    pub(super) fn begin(&mut self, targets: &mut [Target], now: u64) -> Vec<(usize, String)> {
        let mut failed = Vec::new();
        // Before the first look nothing is known of a target; and no disk is waited for twice.
        let all = (0..).zip(targets.iter());
        let all = all.filter(|(_, target)| target.owner.is_some() && !target.waiting.is_told);
        let due: Vec<usize> = all
            .filter(|(_, target)| target.schedule.waiting(now, &|_| true).is_some())
            .map(|(at, _)| at)
            .collect();
        for cost in COSTS {
            let mut free = self.free(cost);
            if free.left == 0 {
                continue;
            }
            // Those that wait, the longest first.
            let mut waiting: Vec<(u64, usize, CheckKind, Owner)> = Vec::new();
            for &at in &due {
                let Some((target, owner)) = targets.get(at).and_then(|one| Some((one, one.owner?)))
                else {
                    continue;
                };
                let wanted = |check| self::cost(target, check) == cost;
                if free.is_free(owner)
                    && let Some((check, due_ms)) = target.schedule.waiting(now, &wanted)
                {
                    waiting.push((due_ms, at, check, owner));
                }
            }
            waiting.sort_unstable_by_key(|(due_ms, at, ..)| (*due_ms, *at));
            for (_, at, check, owner) in waiting {
                if !free.is_free(owner) {
                    continue;
                }
                let Some(target) = targets.get_mut(at) else {
                    continue;
                };
                let Some(due) = target.schedule.begin(check, now) else {
                    continue;
                };
                // One that waits for its turn, as beside a repair, holds up no other.
                let counts = cost == Cost::Measurement || !target.looker.site.is_in_turn();
                if counts {
                    free.take(owner);
                }
                match self.start(at, target, due) {
                    Ok(()) => self.running.push(Running {
                        target: at,
                        due,
                        cost,
                        owner,
                        counts,
                    }),
                    Err(error) => {
                        target.schedule.ended(due.check, due.run);
                        let text = format!("{} cannot begin: {error}", due.check.name());
                        failed.push((at, text));
                    }
                }
            }
        }
        failed
    }

    /// Begins a check in a thread of its own.
    fn start(&self, at: usize, target: &mut Target, due: Due) -> std::io::Result<()> {
        let work = target.looker.work(due.check);
        let orders = self.orders.clone();
        let name = format!("{} {}", due.check.name(), target.name());
        let begun = thread::Builder::new().name(name).spawn(move || {
            // Nobody hears it when the watching has ended.
            orders.send(Heard::Found(at, due, Box::new(work()))).ok();
        });
        begun.map(drop)
    }

    fn free(&self, cost: Cost) -> Free {
        let counted = self.running.iter().filter(|one| one.counts);
        let mut taken = BTreeMap::new();
        let mut all = 0;
        for one in counted {
            if one.cost != Cost::Measurement {
                all += 1;
            }
            if one.cost == cost {
                *taken.entry(one.owner).or_insert(0) += 1;
            }
        }
        let is_measurement = cost == Cost::Measurement;
        Free {
            left: if is_measurement {
                MOST_MEASUREMENTS.saturating_sub(taken.values().sum())
            } else {
                MOST.saturating_sub(all)
            },
            of_owner: if is_measurement { usize::MAX } else { 1 },
            taken,
        }
    }
}

/// How many checks of one cost may begin.
struct Free {
    left: usize,
    of_owner: usize,
    taken: BTreeMap<Owner, usize>,
}

impl Free {
    fn is_free(&self, owner: Owner) -> bool {
        let taken = self.taken.get(&owner).copied().unwrap_or(0);
        self.left > 0 && taken < self.of_owner
    }

    fn take(&mut self, owner: Owner) {
        self.left = self.left.saturating_sub(1);
        *self.taken.entry(owner).or_insert(0) += 1;
    }
}
