//! The proof: every row that the database acknowledged, against what it holds.
//!
//! It believes neither dbmedic nor the indexes: what must be there comes from the seed and the
//! acknowledgement logs, what is there from a scan of the table. It never writes.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Acknowledged, DemoError, Scene, acknowledged,
    rows::{self, FOUNDER, ORDER_COLUMNS, Order, founding_orders, hex},
};

/// So many offenders and integrity faults are named.
const NAMED: usize = 10;

/// What the comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whether every acknowledged row is there, as it was acknowledged, but for the announced
    /// ones; no row is there that nobody wrote; and SQLite finds the database sound.
    pub holds: bool,
    /// Commits that were acknowledged, the announced losses included.
    pub acknowledged_commits: u64,
    /// Acknowledged commits whose loss was announced.
    pub announced_commits: u64,
    /// Announced losses whose row is there all the same: better than announced.
    pub kept_although_announced: u64,
    /// Rows that a writer committed and was killed before it could write that down. Each one is
    /// compared with what that transaction must have written; they are allowed, and counted in
    /// none of the following.
    pub unacknowledged: u64,
    /// Rows that must be there.
    pub expected_rows: u64,
    /// Rows that are there.
    pub found_rows: u64,
    /// SHA-256 over the hashes of the rows that must be there, in order of id, hexadecimal.
    pub expected_digest: String,
    /// The same over the rows that are there.
    pub found_digest: String,
    /// Rows that must be there and are not.
    pub missing: u64,
    /// Rows that are there with another content, or an older one, than was acknowledged.
    pub different: u64,
    /// Rows that are there although nobody wrote them.
    pub unexpected: u64,
    /// Whether the accounts are what they were founded as.
    pub accounts_intact: bool,
    /// The first offenders, in order of id.
    pub offenders: Vec<Offender>,
    /// The first lines of `PRAGMA integrity_check`; empty when it says `ok`.
    pub integrity_faults: Vec<String>,
}

/// A row that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// The row's id.
    pub row: i64,
    /// What is wrong with it, for a person.
    pub what: String,
}

/// Compares what the database holds with what it acknowledged, but for the `announced` losses.
/// Reads in a child process, on a read-only connection; safe while writers write.
///
/// # Errors
///
/// When the database or the logs cannot be read. A comparison that found faults is an answer.
pub fn prove(scene: &Scene, announced: &[Acknowledged]) -> Result<Proof, DemoError> {
    scene.ask("prove", &[], &announced)
}

/// What must be known about a row: who wrote it last, and its hash.
struct Expected {
    writer: u32,
    sequence: i64,
    hash: String,
}

/// A transaction: its writer and its number.
type Transaction = (u32, i64);

/// What the seed and the logs say.
struct Promise {
    /// The last acknowledged state of every row, announced losses aside.
    rows: BTreeMap<i64, Expected>,
    /// All acknowledged transactions.
    acknowledged: HashSet<Transaction>,
    /// Those whose loss was announced, with the row's hash.
    announced: BTreeMap<Transaction, String>,
}

impl Promise {
    fn read(scene: &Scene, announced: &[Acknowledged]) -> Result<Self, DemoError> {
        let announced: BTreeMap<Transaction, String> = announced
            .iter()
            .map(|lost| ((lost.writer, lost.sequence), lost.hash.clone()))
            .collect();
        let mut acknowledged = HashSet::new();
        let mut rows: BTreeMap<_, _> = founding_orders(scene)
            .map(|order| (order.id, Expected::from(&order)))
            .collect();
        for writer in 1..=scene.writers {
            // In the order of commits: the newest state of a row comes last.
            for commit in acknowledged::read(scene, writer)? {
                let transaction = (writer, commit.sequence);
                acknowledged.insert(transaction);
                if !announced.contains_key(&transaction) {
                    let expected = Expected {
                        writer,
                        sequence: commit.sequence,
                        hash: commit.hash,
                    };
                    rows.insert(commit.row, expected);
                }
            }
        }
        Ok(Self {
            rows,
            acknowledged,
            announced,
        })
    }
}

impl From<&Order> for Expected {
    fn from(order: &Order) -> Self {
        Self {
            writer: order.writer,
            sequence: order.sequence,
            hash: order.content_hash(),
        }
    }
}

/// A count and a digest of rows.
#[derive(Default)]
struct Tally {
    rows: u64,
    hash: Sha256,
}

impl Tally {
    fn add(&mut self, row: i64, hash: &str) {
        self.rows += 1;
        self.hash.update(row.to_le_bytes());
        self.hash.update(hash);
    }

    fn digest(self) -> (u64, String) {
        (self.rows, hex(&self.hash.finalize()))
    }
}

/// What a row in the database turned out to be.
enum Finding {
    AsAcknowledged,
    /// Committed, and its writer killed before it wrote that down.
    Unacknowledged,
    /// Announced as lost, and there.
    Kept,
    Different(String),
    Unexpected,
}

fn judge(scene: &Scene, promise: &Promise, expected: Option<&Expected>, order: &Order) -> Finding {
    let transaction = (order.writer, order.sequence);
    let hash = order.content_hash();
    if expected.is_some_and(|expected| expected.hash == hash) {
        return Finding::AsAcknowledged;
    }
    // What follows explains a row without an expected state, or one newer than that state.
    let newer = expected.is_none_or(|expected| {
        expected.writer == order.writer && expected.sequence < order.sequence
    });
    let real_writer = (1..=scene.writers).contains(&order.writer) && order.sequence > 0;
    if newer && promise.announced.get(&transaction) == Some(&hash) {
        return Finding::Kept;
    }
    if newer
        && real_writer
        && !promise.acknowledged.contains(&transaction)
        && *order == Order::of(scene, order.writer, order.sequence, order.note.len())
    {
        return Finding::Unacknowledged;
    }
    match expected {
        None => Finding::Unexpected,
        Some(expected) => Finding::Different(format!(
            "holds what looks like transaction {} of writer {}; acknowledged was {} of writer {}",
            order.sequence, order.writer, expected.sequence, expected.writer
        )),
    }
}

/// The child's side of [`prove`].
pub(crate) fn compare(scene: &Scene, announced: &[Acknowledged]) -> anyhow::Result<Proof> {
    // The promise first: what is committed meanwhile is newer than it, never missing from it.
    let mut promise = Promise::read(scene, announced)?;
    let connection =
        Connection::open_with_flags(scene.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .context("cannot open the database")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    // One snapshot for all that follows.
    let snapshot = connection.unchecked_transaction()?;

    let (mut expected_tally, mut found_tally) = (Tally::default(), Tally::default());
    let mut rows_left = std::mem::take(&mut promise.rows);
    let mut proof = Proof::empty(&promise);
    let mut offenders = BTreeMap::new();
    let mut statement = snapshot.prepare(&format!(
        "SELECT {ORDER_COLUMNS} FROM orders NOT INDEXED ORDER BY id"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next().context("cannot read the table of orders")? {
        let order = Order::read(row).context("cannot read an order")?;
        // In order of id on both sides: what the table has passed by is missing.
        while let Some(gone) = rows_left.first_entry().filter(|row| *row.key() < order.id) {
            let (id, expected) = gone.remove_entry();
            expected_tally.add(id, &expected.hash);
            proof.miss(&mut offenders, id, &expected);
        }
        let expected = rows_left.remove(&order.id);
        let finding = judge(scene, &promise, expected.as_ref(), &order);
        match finding {
            Finding::Unacknowledged => {
                proof.unacknowledged += 1;
                continue;
            }
            Finding::Kept => {
                proof.kept_although_announced += 1;
                continue;
            }
            Finding::AsAcknowledged => {}
            Finding::Different(what) => {
                proof.different += 1;
                offenders.insert(order.id, what);
            }
            Finding::Unexpected => {
                proof.unexpected += 1;
                offenders.insert(order.id, "is there although nobody wrote it".into());
            }
        }
        if let Some(expected) = &expected {
            expected_tally.add(order.id, &expected.hash);
        }
        found_tally.add(order.id, &order.content_hash());
    }
    for (id, expected) in rows_left {
        expected_tally.add(id, &expected.hash);
        proof.miss(&mut offenders, id, &expected);
    }

    (proof.expected_rows, proof.expected_digest) = expected_tally.digest();
    (proof.found_rows, proof.found_digest) = found_tally.digest();
    proof.accounts_intact =
        rows::present_accounts_digest(&snapshot)? == rows::founded_accounts_digest(scene);
    proof.offenders = offenders
        .into_iter()
        .take(NAMED)
        .map(|(row, what)| Offender { row, what })
        .collect();
    proof.integrity_faults = integrity_faults(&snapshot)?;
    proof.holds = proof.accounts_intact
        && proof.expected_digest == proof.found_digest
        && proof.expected_rows == proof.found_rows
        && proof.missing + proof.different + proof.unexpected == 0
        && proof.integrity_faults.is_empty();
    Ok(proof)
}

impl Proof {
    fn empty(promise: &Promise) -> Self {
        Self {
            holds: false,
            acknowledged_commits: promise.acknowledged.len() as u64,
            announced_commits: promise.announced.len() as u64,
            kept_although_announced: 0,
            unacknowledged: 0,
            expected_rows: 0,
            found_rows: 0,
            expected_digest: String::new(),
            found_digest: String::new(),
            missing: 0,
            different: 0,
            unexpected: 0,
            accounts_intact: false,
            offenders: Vec::new(),
            integrity_faults: Vec::new(),
        }
    }

    fn miss(&mut self, offenders: &mut BTreeMap<i64, String>, row: i64, expected: &Expected) {
        self.missing += 1;
        let Expected {
            writer, sequence, ..
        } = expected;
        let what = if *writer == FOUNDER {
            "is missing; it was there from the beginning".to_owned()
        } else {
            format!("is missing; acknowledged to writer {writer} as its transaction {sequence}")
        };
        offenders.insert(row, what);
    }
}

fn integrity_faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
    statement
        .query_map([], |row| row.get::<_, String>(0))?
        .filter(|line| !matches!(line, Ok(line) if line == "ok"))
        .collect()
}
