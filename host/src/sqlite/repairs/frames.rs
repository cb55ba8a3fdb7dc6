//! Proves of a checkpoint that what the log held is in the database: not that a counter fell, but
//! that each page is there as its last committed frame had it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{Scene, checkpoint_and_truncate, data_version};
use crate::repair::{Loss, Proof, RepairError};
use crate::sqlite::contents::Contents;

/// What the log held before a checkpoint, and a connection that knows whether anybody wrote since.
pub(super) struct Noted {
    contents: Contents,
    db: Connection,
    version: i64,
}

/// Notes what the log holds, and checkpoints it.
pub(super) fn checkpoint(scene: &mut Scene) -> Result<Noted, RepairError> {
    let db = scene.open()?;
    let version = data_version(&db)?;
    let path = scene.path().to_owned();
    let contents = scene.raw()?.log_contents(&path)?;
    checkpoint_and_truncate(&db, scene.max_lock())?;
    Ok(Noted {
        contents,
        db,
        version,
    })
}

/// What became of the pages.
struct Found {
    there: usize,
    elsewise: usize,
}

/// Proves where the pages are now, and adds it to `claim`. Without a note, because another process
/// began the checkpoint, nothing is claimed of them.
pub(super) fn prove(
    scene: &mut Scene,
    noted: Option<&Noted>,
    claim: String,
) -> Result<Proof, RepairError> {
    let Some(noted) = noted else {
        let why = "what the log held before is not known: the repair was interrupted";
        return Ok(Proof::new(claim, Loss::NotProven(why.to_owned())));
    };
    let found = compare(scene, &noted.contents)?;
    let quiet = data_version(&noted.db)? == noted.version;
    if found.elsewise > 0 && quiet {
        return Err(RepairError::Unproven(format!(
            "{} of {} pages of the log are not in the database as they were written, and nobody \
             wrote since",
            found.elsewise,
            noted.contents.pages.len()
        )));
    }
    let share = match noted.contents.one_in {
        1 => String::new(),
        one_in => format!(" of the one in {one_in} that were compared"),
    };
    let there = format!(
        "{} pages{share} are in the database as the log had them",
        found.there
    );
    let loss = match (found.elsewise, noted.contents.one_in) {
        (0, 1) => Loss::Nothing,
        (0, one_in) => Loss::NotProven(format!("one page in {one_in} was compared")),
        (elsewise, _) => Loss::NotProven(format!(
            "{elsewise} pages were written again by others since"
        )),
    };
    Ok(Proof::new(claim, loss).and(there))
}

fn compare(scene: &mut Scene, before: &Contents) -> Result<Found, RepairError> {
    let wanted: Vec<u32> = before.pages.iter().map(|(page, _)| *page).collect();
    let path = scene.path().to_owned();
    let now = scene.raw()?.page_contents(&path, wanted)?;
    let now: BTreeMap<_, _> = now.pages.into_iter().collect();
    let there = before
        .pages
        .iter()
        .filter(|(page, digest)| now.get(page) == Some(digest))
        .count();
    Ok(Found {
        there,
        elsewise: before.pages.len() - there,
    })
}
