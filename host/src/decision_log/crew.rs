//! Many hands for a long log: one reads and follows the chain, several work on the entries, one
//! takes the results in the order of the log. However long the log, a few batches are in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::DecisionLogError;
use super::line::{Begin, Kind, PolicyLine, VERSION};
use super::reader::{self, Chain};
use crate::policy::Limits;

/// Entries that go through the hands together.
const BATCH: usize = 64;
/// Batches on their way, for each worker.
const AHEAD: usize = 4;
/// Workers at most.
const WORKERS: usize = 16;

/// What holds for an entry beside what stands in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The limits that policies were held to.
    limits: Limits,
    /// The limits of those that were held to others, by their configured names.
    named_limits: BTreeMap<String, Limits>,
    /// Packed settings by their digests.
    pub(super) packed: HashMap<String, Arc<[u8]>>,
    /// Names and versions by the components' digests.
    pub(super) called: HashMap<String, String>,
}

impl Surroundings {
    /// The limits that the policy of a configured name was held to.
    pub(super) fn limits_of(&self, name: &str) -> &Limits {
        self.named_limits.get(name).unwrap_or(&self.limits)
    }
}

/// Entries with what holds for them: number, and [`super::Decided`] as JSON.
pub(super) struct Batch {
    sequence: u64,
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) entries: Vec<(u64, Vec<u8>)>,
}

/// How far a log has been worked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read, as they are on disk.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
    /// Decisions done.
    pub decisions: u64,
}

enum Stop {
    Failed(DecisionLogError),
    /// Nobody works any more.
    Alone,
}

impl From<DecisionLogError> for Stop {
    fn from(error: DecisionLogError) -> Self {
        Self::Failed(error)
    }
}

/// Decisions that can be worked on at the same time.
pub(super) fn workers() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS))
}

/// Works through a log. `work` runs in several threads; `take` gets the results in order.
pub(super) fn work_through<R: Send>(
    log: &Path,
    work: impl Fn(Batch) -> R + Sync,
    mut take: impl FnMut(R),
    progress: &mut dyn FnMut(Progress),
) -> Result<Chain, DecisionLogError> {
    let of_bytes = reader::bytes(log);
    let taken = Arc::new(AtomicU64::new(0));
    let workers = workers();
    let ahead = workers * AHEAD;
    let (give, batches) = mpsc::sync_channel::<Batch>(ahead);
    let batches = Arc::new(Mutex::new(batches));
    let (hand_in, results) = mpsc::sync_channel(ahead);
    // Who reads needs a ticket for each batch, and gets it back when the result was taken.
    let (ticket, tickets) = mpsc::sync_channel(ahead);
    for _ in 0..ahead {
        // There is room for all of them.
        let _sent = ticket.try_send(());
    }
    thread::scope(|scope| {
        let counted = &taken;
        let reading = scope.spawn(move || {
            let mut gather = Gather {
                give,
                tickets,
                sequence: 0,
                surroundings: Arc::default(),
                entries: Vec::new(),
            };
            let chain = reader::read(log, counted, &mut |line| gather.line(line))?;
            gather.hand_out()?;
            Ok(chain)
        });
        for _ in 0..workers {
            let (batches, hand_in, work) = (Arc::clone(&batches), hand_in.clone(), &work);
            scope.spawn(move || {
                while let Some(batch) = next(&batches) {
                    let (sequence, entries) = (batch.sequence, batch.entries.len());
                    if hand_in.send((sequence, entries, work(batch))).is_err() {
                        break;
                    }
                }
            });
        }
        drop((hand_in, batches));
        let mut early = BTreeMap::new();
        let (mut next, mut decisions) = (0, 0);
        for (sequence, entries, result) in results {
            early.insert(sequence, (entries, result));
            while let Some((entries, result)) = early.remove(&next) {
                next += 1;
                decisions += entries as u64;
                take(result);
                // The reader may be done.
                let _sent = ticket.try_send(());
            }
            progress(Progress {
                bytes: taken.load(Relaxed).min(of_bytes),
                of_bytes,
                decisions,
            });
        }
        match reading.join() {
            Ok(Ok(chain)) => Ok(chain),
            Ok(Err(Stop::Failed(error))) => Err(error),
            Ok(Err(Stop::Alone)) | Err(_) => Err(DecisionLogError::Broken),
        }
    })
}

fn next(batches: &Mutex<Receiver<Batch>>) -> Option<Batch> {
    let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
    batches.recv().ok()
}

struct Gather {
    give: mpsc::SyncSender<Batch>,
    tickets: Receiver<()>,
    sequence: u64,
    surroundings: Arc<Surroundings>,
    entries: Vec<(u64, Vec<u8>)>,
}

impl Gather {
    fn line(&mut self, line: &reader::Line<'_>) -> Result<(), Stop> {
        let value = line.head.value(line.text);
        match line.head.kind {
            Kind::Decided => {
                self.entries.push((line.head.n, value.to_vec()));
                if self.entries.len() >= BATCH {
                    self.hand_out()?;
                }
            }
            Kind::Begin => {
                // One that cannot be read was changed; the chain tells.
                if let Ok(begin) = serde_json::from_slice::<Begin>(value) {
                    if begin.dbmedic_decisions != VERSION {
                        return Err(Stop::Failed(DecisionLogError::Version {
                            path: line.file.to_owned(),
                            found: begin.dbmedic_decisions,
                        }));
                    }
                    self.hand_out()?;
                    let surroundings = Arc::make_mut(&mut self.surroundings);
                    surroundings.limits = begin.limits;
                    surroundings.named_limits = begin.named_limits;
                }
            }
            Kind::Policy => {
                if let Ok(policy) = serde_json::from_slice::<PolicyLine>(value)
                    && let Some(packed) = policy.unpack()
                {
                    self.hand_out()?;
                    let surroundings = Arc::make_mut(&mut self.surroundings);
                    surroundings.packed.insert(policy.settings, packed.into());
                    if let Some(called) = policy.called {
                        surroundings.called.insert(policy.digest, called);
                    }
                }
            }
            Kind::Lost => {}
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Result<(), Stop> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.tickets.recv().map_err(|_| Stop::Alone)?;
        let batch = Batch {
            sequence: self.sequence,
            surroundings: Arc::clone(&self.surroundings),
            entries: std::mem::take(&mut self.entries),
        };
        self.sequence += 1;
        self.give.send(batch).map_err(|_| Stop::Alone)
    }
}
