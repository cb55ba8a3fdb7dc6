//! What a person may want to know of a healthy database: what could not be judged, space that could
//! be given back, a log that nobody checkpoints. No problem, so no incident and no policy.

use crate::sqlite_state::rollback::{self, Why};
use crate::sqlite_state::{Integrity, Library, Space, SqliteState, WalState};

/// Free pages are noted from this share of the file on, and from so many bytes on.
const FREE_SHARE_PERCENT: u64 = 25;
const FREE_BYTES: u64 = 10_000_000;

/// A log is noted when it holds this many times the frames after which SQLite checkpoints by itself
/// (1000, `SQLITE_DEFAULT_WAL_AUTOCHECKPOINT`).
const LOG_FACTOR: u64 = 4;
const AUTOCHECKPOINT_FRAMES: u64 = 1000;

/// What a full check leaves to be noted.
pub(super) fn of_check(integrity: &Integrity) -> Vec<String> {
    let unjudged = integrity.unjudged.iter();
    let mut notes: Vec<String> = unjudged.map(|one| format!("not judged: {one}")).collect();
    notes.extend(integrity.space.as_ref().and_then(of_space));
    notes
}

/// What a check in slices did not prove, and no snapshot either.
pub(super) fn of_slices() -> String {
    "not judged: whether each page belongs to exactly one object (in rollback mode, beside others, only \
     a check of a copy tells, a snapshot's among them; PRAGMA integrity_check in a quiet moment does too)"
        .to_owned()
}

fn of_space(space: &Space) -> Option<String> {
    let free_bytes = space.free_pages.saturating_mul(space.page_bytes);
    let is_much = space.free_pages.saturating_mul(100)
        >= space.pages.saturating_mul(FREE_SHARE_PERCENT)
        && free_bytes >= FREE_BYTES;
    let how = if space.incremental_vacuum {
        "PRAGMA incremental_vacuum"
    } else {
        "VACUUM"
    };
    is_much.then(|| {
        format!(
            "{} of {} pages are free pages: {how} would give back {}; it needs a quiet moment, in \
             which nobody writes, and room for a copy of the rest",
            space.free_pages,
            space.pages,
            megabytes(free_bytes)
        )
    })
}

/// Who has the database for itself, so that nobody else can use it.
pub(super) fn of_holder(state: &SqliteState) -> Option<String> {
    let alone = rollback::for_itself(state)?;
    let who = rollback::named(&alone.process);
    let is_judged = rollback::kept_by_another(state).is_none();
    let not_judged = if is_judged {
        ""
    } else {
        "; it cannot be judged meanwhile"
    };
    Some(match alone.why {
        Why::OnPurpose => format!(
            "{who} has the database for itself on purpose (locking_mode=EXCLUSIVE): nobody else can \
             read or write it while that runs{not_judged}"
        ),
        _ => format!(
            "{who} has the database for itself, on purpose (locking_mode=EXCLUSIVE) or in a \
             transaction: nobody else can read or write it meanwhile{not_judged}"
        ),
    })
}

/// Programs whose SQLite may damage a database with a write-ahead log, each library once.
pub(super) fn of_libraries(libraries: &[Library]) -> Vec<String> {
    let affected = libraries
        .iter()
        .filter(|one| one.version.has_wal_reset_bug());
    let note = |one: &Library| {
        format!(
            "{} uses SQLite {} ({}), which may be affected by the WAL-reset bug (3.7.0 to 3.51.2, \
             <https://sqlite.org/wal.html#walresetbug>) unless its distributor corrected it: update it",
            rollback::named(&one.process),
            one.version,
            one.path.display()
        )
    };
    affected.map(note).collect()
}

/// What the log leaves to be noted.
pub(super) fn of_log(state: &SqliteState) -> Option<String> {
    let wal = state.wal.as_ref()?;
    let in_file = frames(wal)?;
    if in_file < AUTOCHECKPOINT_FRAMES * LOG_FACTOR {
        return None;
    }
    let size = megabytes(wal.bytes);
    let index = state
        .wal_index
        .as_ref()
        .filter(|index| index.salts == wal.salts);
    let waiting = match index {
        Some(index) => u64::from(index.max_frame.saturating_sub(index.backfilled)),
        // Nobody has it open: what is in it waits.
        None => wal.valid_frames.max(if wal.scanned { 0 } else { in_file }),
    };
    Some(if waiting >= AUTOCHECKPOINT_FRAMES * LOG_FACTOR {
        format!(
            "the log holds {size}, {waiting} frames of it are not in the database: either the \
             application switched the automatic checkpoint off, or something keeps it from \
             finishing; PRAGMA wal_checkpoint(TRUNCATE) brings them over and gives the space back"
        )
    } else {
        format!(
            "the log file has {size}, of which {waiting} frames wait for a checkpoint: it grew \
             once and is used again; PRAGMA wal_checkpoint(TRUNCATE) gives the space back"
        )
    })
}

/// Frames that fit into the file.
fn frames(wal: &WalState) -> Option<u64> {
    const FILE_HEADER_BYTES: u64 = 32;
    const FRAME_HEADER_BYTES: u64 = 24;
    let frame = u64::from(wal.page_bytes).checked_add(FRAME_HEADER_BYTES)?;
    (wal.page_bytes > 0).then(|| wal.bytes.saturating_sub(FILE_HEADER_BYTES) / frame)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite_state::WalIndexState;

    #[test]
    fn free_pages_are_noted_where_they_are_much() {
        let space = |pages, free_pages| Space {
            pages,
            free_pages,
            page_bytes: 4096,
            incremental_vacuum: false,
        };
        assert_eq!(of_space(&space(100, 99)), None);
        assert_eq!(of_space(&space(100_000, 20_000)), None);
        let note = of_space(&space(15_000, 14_000)).unwrap();
        assert!(
            note.contains("14000 of 15000") && note.contains("57 MB"),
            "{note}"
        );
    }

    #[test]
    fn a_log_that_is_not_checkpointed_is_told_from_one_that_grew_once() {
        let state = |frames: u64, backfilled| SqliteState {
            wal: Some(WalState {
                bytes: 32 + frames * 4120,
                page_bytes: 4096,
                ..WalState::default()
            }),
            wal_index: Some(WalIndexState {
                max_frame: 6000,
                backfilled,
                ..WalIndexState::default()
            }),
            ..SqliteState::default()
        };
        assert_eq!(of_log(&state(1200, 0)), None);
        assert!(of_log(&state(6000, 0)).unwrap().contains("6000 frames"));
        assert!(of_log(&state(6000, 6000)).unwrap().contains("grew once"));
    }
}
