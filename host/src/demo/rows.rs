//! The rows of the demo's database. Each one is a function of the seed, the writer and the number
//! of the transaction that wrote it, so that anyone can say afterwards what must stand there.

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use rusqlite::{Connection, Row, params};
use sha2::{Digest as _, Sha256};

use super::{Scene, scene::PAGE_BYTES};

/// The writer that the rows of the beginning are laid to; real writers count from 1.
pub(crate) const FOUNDER: u32 = 0;
/// Length of an ordinary order's note, bytes.
pub(crate) const NOTE_BYTES: u32 = 60;
/// The first order's time: 2025-01-01, milliseconds since the Unix epoch.
const FIRST_ORDER_MS: i64 = 1_735_689_600_000;
/// Milliseconds between two orders.
const ORDER_EVERY_MS: i64 = 1000;
/// A writer changes rows of its last so many transactions.
const MEMORY: i64 = 200;
/// One transaction in four changes an earlier row instead of adding one.
const SHARE_OF_CHANGES: f64 = 0.25;

const SCHEMA: &str = "
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY,
        email TEXT NOT NULL,
        opened_ms INTEGER NOT NULL
    );
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        customer INTEGER NOT NULL REFERENCES accounts (id),
        created_ms INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        note TEXT NOT NULL,
        writer INTEGER NOT NULL,
        sequence INTEGER NOT NULL
    );
    CREATE TABLE ledger (id INTEGER PRIMARY KEY CHECK (id = 1), commits INTEGER NOT NULL);
    INSERT INTO ledger VALUES (1, 0);";

const INDEXES: &str = "
    CREATE UNIQUE INDEX accounts_by_email ON accounts (email);
    CREATE INDEX orders_by_customer ON orders (customer);
    CREATE INDEX orders_by_created ON orders (created_ms);
    CREATE UNIQUE INDEX orders_by_write ON orders (writer, sequence);";

/// The columns of an order, as [`Order::read`] wants them.
pub(crate) const ORDER_COLUMNS: &str = "id, customer, created_ms, amount, note, writer, sequence";

/// The generator for one purpose: the same purpose draws the same numbers.
pub(crate) fn random(scene: &Scene, writer: u32, sequence: i64) -> StdRng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&scene.seed.to_le_bytes());
    seed[8..12].copy_from_slice(&writer.to_le_bytes());
    seed[16..24].copy_from_slice(&sequence.to_le_bytes());
    StdRng::from_seed(seed)
}

/// A row of the table `orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: i64,
    pub(crate) created_ms: i64,
    pub(crate) amount: i64,
    pub(crate) note: String,
    pub(crate) writer: u32,
    pub(crate) sequence: i64,
}

impl Order {
    /// What the transaction `sequence` of `writer` writes: a new row, or the newer state of a row
    /// that the same writer wrote before.
    pub(crate) fn of(scene: &Scene, writer: u32, sequence: i64, note_bytes: usize) -> Self {
        let mut random = random(scene, writer, sequence);
        let changes = random.random_bool(SHARE_OF_CHANGES);
        let first_written_by = if changes && writer != FOUNDER && sequence > 1 {
            random.random_range((sequence - MEMORY).max(1)..sequence)
        } else {
            sequence
        };
        let customer = random.random_range(1..=accounts(scene));
        let amount = random.random_range(100..100_000);
        let created_ms = FIRST_ORDER_MS + sequence * ORDER_EVERY_MS + random.random_range(0..1000);
        let mut note = vec![0; note_bytes];
        random.fill_bytes(&mut note);
        Self {
            id: row_id(scene, writer, first_written_by),
            customer,
            created_ms,
            amount,
            note: note
                .iter()
                .map(|byte| char::from(b'a' + byte % 26))
                .collect(),
            writer,
            sequence,
        }
    }

    /// Reads a row of [`ORDER_COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            customer: row.get(1)?,
            created_ms: row.get(2)?,
            amount: row.get(3)?,
            note: row.get(4)?,
            writer: row.get(5)?,
            sequence: row.get(6)?,
        })
    }

    /// Writes the row, new or changed, and counts the commit. Must run inside a transaction;
    /// answers with the commit's place in the order of all commits.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<i64> {
        connection
            .prepare(
                "INSERT INTO orders (id, customer, created_ms, amount, note, writer, sequence)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET
                     customer = excluded.customer, created_ms = excluded.created_ms,
                     amount = excluded.amount, note = excluded.note,
                     writer = excluded.writer, sequence = excluded.sequence",
            )?
            .execute(params![
                self.id,
                self.customer,
                self.created_ms,
                self.amount,
                self.note,
                self.writer,
                self.sequence
            ])?;
        connection
            .prepare("UPDATE ledger SET commits = commits + 1 RETURNING commits")?
            .query_one([], |row| row.get(0))
    }

    /// SHA-256 over all columns, hexadecimal.
    pub(crate) fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        for number in [self.id, self.customer, self.created_ms, self.amount] {
            hash.update(number.to_le_bytes());
        }
        hash.update(self.writer.to_le_bytes());
        hash.update(self.sequence.to_le_bytes());
        hash.update(self.note.as_bytes());
        hex(&hash.finalize())
    }
}

/// The row that the transaction `sequence` of `writer` adds: the writers' rows interleave, so that
/// they share pages as they would in a shop.
fn row_id(scene: &Scene, writer: u32, sequence: i64) -> i64 {
    if writer == FOUNDER {
        return sequence;
    }
    i64::from(scene.rows) + (sequence - 1) * i64::from(scene.writers) + i64::from(writer)
}

/// How many accounts there are.
fn accounts(scene: &Scene) -> i64 {
    i64::from(scene.rows / 30).max(10)
}

/// SHA-256 over the accounts as they were founded, in order of id, hexadecimal.
pub(crate) fn founded_accounts_digest(scene: &Scene) -> String {
    let mut hash = Sha256::new();
    for id in 1..=accounts(scene) {
        let (email, opened_ms) = account(scene, id);
        digest_account(&mut hash, id, &email, opened_ms);
    }
    hex(&hash.finalize())
}

/// SHA-256 over the accounts in the database, in order of id, hexadecimal.
pub(crate) fn present_accounts_digest(connection: &Connection) -> rusqlite::Result<String> {
    let mut hash = Sha256::new();
    let mut statement =
        connection.prepare("SELECT id, email, opened_ms FROM accounts NOT INDEXED ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        digest_account(
            &mut hash,
            row.get(0)?,
            &row.get::<_, String>(1)?,
            row.get(2)?,
        );
    }
    Ok(hex(&hash.finalize()))
}

fn digest_account(hash: &mut Sha256, id: i64, email: &str, opened_ms: i64) {
    hash.update(id.to_le_bytes());
    hash.update(opened_ms.to_le_bytes());
    hash.update(email.len().to_le_bytes());
    hash.update(email.as_bytes());
}

fn account(scene: &Scene, id: i64) -> (String, i64) {
    // Accounts draw from numbers that no order uses: those below zero.
    let mut random = random(scene, FOUNDER, -id);
    let email = format!("customer-{:08x}-{id}@example.org", random.next_u32());
    (
        email,
        FIRST_ORDER_MS - random.random_range(0..ORDER_EVERY_MS * 1_000_000),
    )
}

/// Makes the database of the scene: in WAL mode, with all its rows, checkpointed and closed.
pub(crate) fn found(scene: &Scene) -> rusqlite::Result<()> {
    let mut connection = Connection::open(scene.database())?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    {
        let mut insert = transaction.prepare("INSERT INTO accounts VALUES (?1, ?2, ?3)")?;
        for id in 1..=accounts(scene) {
            let (email, opened_ms) = account(scene, id);
            insert.execute(params![id, email, opened_ms])?;
        }
        let mut insert =
            transaction.prepare("INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        for order in founding_orders(scene) {
            insert.execute(params![
                order.id,
                order.customer,
                order.created_ms,
                order.amount,
                order.note,
                order.writer,
                order.sequence
            ])?;
        }
    }
    transaction.execute_batch(INDEXES)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// The orders of the beginning.
pub(crate) fn founding_orders(scene: &Scene) -> impl Iterator<Item = Order> {
    let note_bytes = usize::try_from(NOTE_BYTES).unwrap_or(0);
    (1..=i64::from(scene.rows)).map(move |sequence| Order::of(scene, FOUNDER, sequence, note_bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
