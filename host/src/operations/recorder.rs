//! The hot side: each thread writes counters of its own, found through its thread-local list.
//!
//! Who owns what: a thread's counters are in `Shared::live` as long as the thread lives. When it
//! ends, its last act is to add them to `Shared::retired` and to leave `live`, both under the one
//! lock that the collector holds while it sums. So every count is in exactly one of the two at any
//! time that the collector looks, and the sum over both never shrinks.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use super::running::{Running, Waiting};
use super::shard::{Pending, Shard, Tally};
use super::{Collector, Ended, Judgement, OTHER, OperationId, OperationLimits};

/// The longest name, bytes; what is longer is cut.
const NAME_BYTES: usize = 48;
/// The most names and threads; what is asked beyond it is held there.
const MOST: usize = 4096;
/// No limit is known.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// Records operations. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// Makes a recorder and the one collector of what it records.
pub fn recorder(limits: OperationLimits) -> (Recorder, Collector) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let limits = OperationLimits {
        names: limits.names.clamp(1, MOST),
        threads: limits.threads.clamp(1, MOST),
        ..limits
    };
    // `other` has a place of its own.
    let places = limits.names + 1;
    let shared = Arc::new(Shared {
        number: NEXT.fetch_add(1, Relaxed),
        epoch: AtomicU64::new(0),
        limits_ns: (0..places).map(|_| AtomicU64::new(UNKNOWN)).collect(),
        overflow: Arc::new(ThreadShards::new(places, true)),
        max_threads: limits.threads,
        threads: Mutex::new(Threads {
            live: Vec::new(),
            retired: vec![None; places],
        }),
        names: Mutex::new(Names {
            known: BTreeMap::from([(OTHER.to_owned(), OperationId::OTHER)]),
            in_order: vec![OTHER.to_owned()],
            refused: 0,
        }),
    });
    let collector = Collector::new(Arc::clone(&shared), limits);
    (Recorder { shared }, collector)
}

pub(super) struct Shared {
    number: u64,
    /// Counts the buckets.
    pub(super) epoch: AtomicU64,
    /// Above which an operation is slow, nanoseconds, by operation.
    pub(super) limits_ns: Box<[AtomicU64]>,
    /// For threads beyond the bound, and for those whose own list is gone already.
    overflow: Arc<ThreadShards>,
    max_threads: usize,
    threads: Mutex<Threads>,
    names: Mutex<Names>,
}

struct Threads {
    live: Vec<Arc<ThreadShards>>,
    /// What ended threads left, by operation.
    retired: Vec<Option<Tally>>,
}

struct Names {
    known: BTreeMap<String, OperationId>,
    in_order: Vec<String>,
    refused: u64,
}

/// The counters of one thread, by operation, each made at its first use.
struct ThreadShards {
    shards: Box<[OnceLock<Box<Shard>>]>,
    shared: bool,
}

impl ThreadShards {
    fn new(places: usize, shared: bool) -> Self {
        Self {
            shards: (0..places).map(|_| OnceLock::new()).collect(),
            shared,
        }
    }

    #[inline]
    fn of(&self, id: OperationId) -> &Shard {
        // The handle of another recorder may lie beyond the end.
        let place = self.shards.get(id.0 as usize).unwrap_or(&self.shards[0]);
        place.get_or_init(|| Box::new(Shard::new(self.shared)))
    }
}

/// What a thread holds for one recorder; it is handed over when the thread ends.
struct Mine {
    number: u64,
    shards: Arc<ThreadShards>,
    home: Weak<Shared>,
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.retire(&self.shards);
        }
    }
}

/// What a thread holds for the recorders that it uses.
struct Local {
    /// The first one has a place that is found without a search or a borrow. Its counters stay until
    /// the thread ends.
    first: OnceCell<Mine>,
    others: RefCell<Vec<Mine>>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            first: OnceCell::new(),
            others: RefCell::new(Vec::new()),
        }
    };
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Does something with this thread's counters of an operation, if this is the thread's first
    /// recorder. Says whether.
    #[inline]
    fn with(&self, id: OperationId, act: impl FnOnce(&Shard)) -> bool {
        let done = LOCAL.try_with(|local| {
            let first = local.first.get();
            if let Some(mine) = first.filter(|mine| mine.number == self.number) {
                act(mine.shards.of(id));
                return true;
            }
            false
        });
        matches!(done, Ok(true))
    }

    /// The same in any other case. Apart and called through a pointer, so that the usual way stays
    /// small.
    #[cold]
    fn with_other(self: &Arc<Self>, id: OperationId, act: &dyn Fn(&Shard)) {
        let done = LOCAL.try_with(|local| {
            // Borrowed already only inside `enrol`, which records nothing.
            let others = local.others.try_borrow().ok()?;
            let mine = others.iter().find(|mine| mine.number == self.number)?;
            act(mine.shards.of(id));
            Some(())
        });
        if !matches!(done, Ok(Some(()))) {
            act(self.enrol().of(id));
        }
    }

    /// The same in any thread.
    #[inline]
    fn with_any(self: &Arc<Self>, id: OperationId, act: fn(&Shard)) {
        if !self.with(id, act) {
            self.with_other(id, &act);
        }
    }

    /// The first use of this recorder in this thread.
    fn enrol(self: &Arc<Self>) -> Arc<ThreadShards> {
        let enrolled = LOCAL.try_with(|local| {
            let mut others = local.others.try_borrow_mut().ok()?;
            // Recorders that are gone need no counters here any more.
            others.retain(|mine| mine.home.strong_count() > 0);
            let shards = {
                let mut threads = unpoisoned(&self.threads);
                if threads.live.len() < self.max_threads {
                    let shards = Arc::new(ThreadShards::new(self.limits_ns.len(), false));
                    threads.live.push(Arc::clone(&shards));
                    shards
                } else {
                    Arc::clone(&self.overflow)
                }
            };
            let mine = Mine {
                number: self.number,
                shards: Arc::clone(&shards),
                home: Arc::downgrade(self),
            };
            if let Err(mine) = local.first.set(mine) {
                others.push(mine);
            }
            Some(shards)
        });
        // A thread that is ending has no list any more.
        enrolled
            .ok()
            .flatten()
            .unwrap_or_else(|| Arc::clone(&self.overflow))
    }

    /// Takes over the counts of a thread that ends.
    fn retire(&self, shards: &Arc<ThreadShards>) {
        let mut threads = unpoisoned(&self.threads);
        let Some(place) = threads
            .live
            .iter()
            .position(|live| Arc::ptr_eq(live, shards))
        else {
            return;
        };
        threads.live.swap_remove(place);
        for (retired, shard) in threads.retired.iter_mut().zip(&shards.shards) {
            if let Some(shard) = shard.get() {
                shard.add_to(retired.get_or_insert_default());
            }
        }
    }

    /// Everything counted so far, by operation; none for one that was never used.
    pub(super) fn tallies(&self) -> Vec<Option<Tally>> {
        let threads = unpoisoned(&self.threads);
        let mut sums = threads.retired.clone();
        for shards in threads.live.iter().chain([&self.overflow]) {
            for (sum, shard) in sums.iter_mut().zip(&shards.shards) {
                if let Some(shard) = shard.get() {
                    shard.add_to(sum.get_or_insert_default());
                }
            }
        }
        sums
    }

    /// How many operations are under way and wait, all together.
    pub(super) fn pending(&self) -> Pending {
        let threads = unpoisoned(&self.threads);
        let mut pending = Pending::default();
        for tally in threads.retired.iter().flatten() {
            pending.add(tally.pending());
        }
        for shards in threads.live.iter().chain([&self.overflow]) {
            for shard in shards.shards.iter().filter_map(OnceLock::get) {
                pending.add(shard.pending());
            }
        }
        pending
    }

    /// The name of an operation by its place.
    pub(super) fn name(&self, place: usize) -> String {
        let names = unpoisoned(&self.names);
        names
            .in_order
            .get(place)
            .cloned()
            .unwrap_or_else(|| OTHER.to_owned())
    }

    /// The names of the operations, by their places.
    pub(super) fn names(&self) -> Vec<String> {
        unpoisoned(&self.names).in_order.clone()
    }

    /// How often a name was asked for beyond the bound.
    pub(super) fn refused(&self) -> u64 {
        unpoisoned(&self.names).refused
    }
}

impl Recorder {
    /// The handle of an operation: the same for the same name. To be asked for once and kept, as it
    /// takes a lock. What is no letter, digit, `_` or `-` in a name becomes `_`, and a name is cut
    /// at 48 bytes. Beyond [`OperationLimits::names`] it is [`OperationId::OTHER`].
    pub fn operation(&self, name: &str) -> OperationId {
        let name: String = name
            .bytes()
            .take(NAME_BYTES)
            .map(|byte| match byte {
                b'_' | b'-' => char::from(byte),
                byte if byte.is_ascii_alphanumeric() => char::from(byte),
                _ => '_',
            })
            .collect();
        let mut names = unpoisoned(&self.shared.names);
        if let Some(id) = names.known.get(&name) {
            return *id;
        }
        let next = names.in_order.len();
        if name.is_empty() || next >= self.shared.limits_ns.len() {
            names.refused += 1;
            return OperationId::OTHER;
        }
        // Bounded by MOST.
        let id = OperationId(u32::try_from(next).unwrap_or(0));
        names.known.insert(name.clone(), id);
        names.in_order.push(name);
        id
    }

    /// An operation begins. It counts as under way until it is said how it ended.
    #[inline]
    pub fn start(&self, id: OperationId) -> Running<'_> {
        self.shared.with_any(id, Shard::begun);
        Running::new(self, id, Instant::now())
    }

    /// An operation waits for its turn: the queue depth counts it until it starts or gives up.
    pub fn wait(&self, id: OperationId) -> Waiting<'_> {
        self.shared.with_any(id, Shard::queued);
        Waiting::new(self, id)
    }

    /// Counts an operation whose time was taken elsewhere, and judges it. No clock is read.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call with its arguments on the stack costs as much as the counting"
    )]
    pub fn record(&self, id: OperationId, duration_ns: u64, ended: Ended) -> Judgement {
        self.count(id, duration_ns, ended, false)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as `record`")]
    fn count(&self, id: OperationId, duration_ns: u64, ended: Ended, began: bool) -> Judgement {
        let judgement = self.judge(id, duration_ns);
        let epoch = self.shared.epoch.load(Relaxed);
        let is_slow = matches!(judgement, Judgement::Slow { .. });
        // Written twice, so that the one for the usual case becomes part of the caller.
        let count = self.shared.with(id, |shard| {
            shard.count(epoch, duration_ns, ended, is_slow, began);
        });
        if !count {
            self.shared.with_other(id, &move |shard| {
                shard.count(epoch, duration_ns, ended, is_slow, began);
            });
        }
        judgement
    }

    /// How a duration stands to what is normal for the operation now. Counts nothing.
    #[inline]
    pub fn judge(&self, id: OperationId, duration_ns: u64) -> Judgement {
        let limit = self.shared.limits_ns.get(id.0 as usize);
        match limit.map_or(UNKNOWN, |limit| limit.load(Relaxed)) {
            UNKNOWN => Judgement::Unknown,
            limit_ns if duration_ns > limit_ns => Judgement::Slow { limit_ns },
            _ => Judgement::Normal,
        }
    }

    /// Operations under way, of all names.
    pub fn running(&self) -> u64 {
        self.shared.pending().running()
    }

    /// Operations that wait, of all names.
    pub fn waiting(&self) -> u64 {
        self.shared.pending().waiting()
    }

    /// What was begun ends.
    #[inline]
    pub(super) fn end(&self, id: OperationId, begun: Instant, ended: Ended) -> Judgement {
        // 584 years.
        let duration_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.count(id, duration_ns, ended, true)
    }

    pub(super) fn leave_queue(&self, id: OperationId) {
        self.shared.with_any(id, Shard::dequeued);
    }
}
