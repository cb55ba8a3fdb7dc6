//! Writes what one step must keep, in one transaction.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _};

use super::ballast::Ballast;
use super::record::{self, Row, sum};
use super::{StoreError, database, reader};
use crate::clock::TimeMark;
use crate::gate::Service;
use crate::pipeline::Carried;

/// The row of `carried` that belongs to no target.
pub(super) const NO_TARGET: &str = "";

/// What one step must keep: all of it, or nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// Entries of the journal.
    pub(crate) entries: Vec<Row>,
    /// Commands, and ends of repairs, that the pipeline heard, by their numbers.
    pub(crate) heard: Vec<u64>,
    /// What the next run must know.
    pub(crate) carried: Option<Carried>,
    /// Which policies are in service, and how they came there.
    pub(crate) services: Option<BTreeMap<String, Service>>,
}

/// What is written with.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) path: PathBuf,
    pub(super) db: Connection,
    pub(super) ballast: Ballast,
    pub(super) next_seq: u64,
    /// The checksum of each row of `carried`.
    pub(super) carried: BTreeMap<String, String>,
    /// The checksum of each row of `services`.
    pub(super) services: BTreeMap<String, String>,
    /// The steps that were begun of each repair that is open.
    pub(super) open: BTreeMap<String, Vec<String>>,
    pub(super) writes: u64,
    pub(super) kill_before: Option<u64>,
    pub(super) kill_after: Option<u64>,
}

/// What is written for: on a full disk a repair that has begun goes before everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Anything,
    Repair,
}

impl Inner {
    /// Writes it in one transaction; says the number of the last entry.
    pub(super) fn keep(&mut self, kept: &Kept, what: For) -> Result<u64, StoreError> {
        let changed = changes(&self.carried, kept.carried.as_ref())?;
        let mut services = services(kept.services.as_ref())?;
        let sums = |services: &[[String; 3]]| -> BTreeMap<String, String> {
            let sum = |[policy, _, sum]: &[String; 3]| (policy.clone(), sum.clone());
            services.iter().map(sum).collect()
        };
        if sums(&services) == self.services {
            services.clear();
        }
        if kept.entries.is_empty()
            && kept.heard.is_empty()
            && changed.is_empty()
            && services.is_empty()
        {
            return Ok(self.next_seq - 1);
        }
        if what == For::Anything {
            // What is left of it belongs to a repair.
            self.ballast.restore()?;
        }
        let first = self.next_seq;
        let work =
            |inner: &mut Self| inner.transaction(|db| write(db, first, kept, &changed, &services));
        match what {
            For::Anything => self.counted(work)?,
            For::Repair => self.counted(|inner| inner.with_room(work))?,
        }
        if !services.is_empty() {
            self.services = sums(&services);
        }
        self.next_seq += kept.entries.len() as u64;
        for Change { target, record } in changed {
            match record {
                Some((_, sum)) => self.carried.insert(target, sum),
                None => self.carried.remove(&target),
            };
        }
        Ok(self.next_seq - 1)
    }

    /// Does something for a repair that has begun: where it fails for want of room, again with the room in reserve.
    pub(super) fn with_room<T>(
        &mut self,
        work: impl Fn(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match work(self) {
            Err(error) if error.is_for_want_of_room() && self.ballast.release() => work(self),
            done => done,
        }
    }

    fn transaction(
        &mut self,
        work: impl Fn(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = database::database(&self.path);
        // Dropped, it is rolled back.
        let transaction = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        work(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Does what writes and syncs something, and counts it.
    pub(super) fn counted<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.writes += 1;
        let number = self.writes;
        if self.kill_before == Some(number) {
            die();
        }
        let done = work(self)?;
        if self.kill_after == Some(number) {
            die();
        }
        Ok(done)
    }
}

/// The rows of `carried` that are others than in the database, of which these are the checksums.
pub(super) fn changes(
    known: &BTreeMap<String, String>,
    carried: Option<&Carried>,
) -> Result<Vec<Change>, StoreError> {
    let Some(carried) = carried else {
        return Ok(Vec::new());
    };
    let rest = Carried {
        targets: BTreeMap::new(),
        detectors: BTreeMap::new(),
        next_incident: carried.next_incident,
        signers: carried.signers.clone(),
        breakers: carried.breakers.clone(),
        silences: carried.silences.clone(),
    };
    let mut records = vec![(NO_TARGET, record::json(&rest)?)];
    for (name, target) in &carried.targets {
        match record::json(target) {
            Ok(json) => records.push((name, json)),
            // The others must not stay behind with it.
            Err(error @ StoreError::TooLong { .. }) => {
                tracing::warn!("what is known of {name} is kept as it was before: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    let is_gone = |name: &&String| *name != NO_TARGET && !carried.targets.contains_key(*name);
    let gone = known.keys().filter(is_gone).map(|name| Change {
        target: name.clone(),
        record: None,
    });
    let changed = records.into_iter().filter_map(|(target, json)| {
        let sum = sum(target, &json);
        (known.get(target) != Some(&sum)).then(|| Change {
            target: target.to_owned(),
            record: Some((json, sum)),
        })
    });
    Ok(gone.chain(changed).collect())
}

/// A row of `carried` that changes: what it holds from now on, with its checksum; none where it goes.
pub(super) struct Change {
    target: String,
    record: Option<(String, String)>,
}

/// The rows of `services`: policy, JSON and checksum.
pub(super) fn services(
    services: Option<&BTreeMap<String, Service>>,
) -> Result<Vec<[String; 3]>, StoreError> {
    let row = |(policy, service): (&String, &Service)| -> Result<[String; 3], StoreError> {
        let json = record::json(service)?;
        let sum = sum(policy, &json);
        Ok([policy.clone(), json, sum])
    };
    services.into_iter().flatten().map(row).collect()
}

pub(super) fn write(
    db: &Connection,
    first: u64,
    kept: &Kept,
    changed: &[Change],
    services: &[[String; 3]],
) -> rusqlite::Result<()> {
    for (seq, row) in (first..).zip(&kept.entries) {
        insert(db, seq, row)?;
    }
    for seq in &kept.heard {
        hear(db, *seq)?;
    }
    for Change { target, record } in changed {
        match record {
            Some((json, sum)) => db.execute(
                "INSERT OR REPLACE INTO carried VALUES (?1, ?2, ?3)",
                (target, json, sum),
            )?,
            None => db.execute("DELETE FROM carried WHERE target = ?1", [target])?,
        };
    }
    if !changed.is_empty() {
        mark(db, "carried_at")?;
    }
    if !services.is_empty() {
        db.execute("DELETE FROM services", [])?;
        for [policy, json, sum] in services {
            let row = (policy, json, sum);
            db.execute("INSERT INTO services VALUES (?1, ?2, ?3)", row)?;
        }
        mark(db, "services_at")?;
    }
    Ok(())
}

/// Notes that the pipeline heard a command, or the end of a repair.
pub(super) fn hear(db: &Connection, seq: u64) -> rusqlite::Result<()> {
    let sql = "SELECT at_ms, json FROM entries WHERE seq = ?1 AND heard = 0";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let Some((at_ms, json)) = db.query_row(sql, [number(seq)], read).optional()? else {
        return Ok(());
    };
    let sum = sum(&reader::key(seq, at_ms.unsigned_abs(), Some(true)), &json);
    let sql = "UPDATE entries SET heard = 1, sum = ?2 WHERE seq = ?1";
    db.execute(sql, (number(seq), sum))?;
    Ok(())
}

pub(super) fn insert(db: &Connection, seq: u64, row: &Row) -> rusqlite::Result<()> {
    let sum = sum(&reader::key(seq, row.at_ms, row.heard), &row.json);
    let values = (
        number(seq),
        number(row.at_ms),
        &row.kind,
        &row.target,
        &row.incident,
        &row.repair,
        &row.command,
        row.heard,
        &row.json,
        sum,
    );
    db.execute(
        "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        values,
    )?;
    Ok(())
}

/// Notes when something was written, by the clocks that the next run compares with.
fn mark(db: &Connection, key: &str) -> rusqlite::Result<()> {
    let mark = serde_json::to_string(&TimeMark::now())
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    db.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", (key, mark))?;
    Ok(())
}

/// A number as SQLite has it.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Ends this process as a power cut would: nothing is flushed, nothing is cleaned up.
fn die() -> ! {
    let me = rustix::process::getpid();
    // Cannot fail for a living process and a valid signal; if it did, going on would be the lie.
    let killed = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
        debug_assert!(killed.is_ok(), "a process could not be killed: {killed:?}");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        database::bring_over(&self.db);
    }
}
