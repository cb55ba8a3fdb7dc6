use super::*;
use crate::sqlite_state::{Integrity, WalIndexState};

fn state(change_counter: u32) -> SqliteState {
    SqliteState {
        wal_index: Some(WalIndexState {
            change_counter,
            ..WalIndexState::default()
        }),
        ..SqliteState::default()
    }
}

fn rate(before: Option<&SqliteState>, now: &SqliteState, elapsed_ms: u64) -> Option<f64> {
    samples(now, before, elapsed_ms)
        .into_iter()
        .find(|sample| sample.series == "commits_per_s")
        .map(|sample| sample.value)
}

#[test]
fn commits_per_second() {
    assert_eq!(rate(Some(&state(10)), &state(15), 2000), Some(2.5));
    assert_eq!(rate(Some(&state(u32::MAX)), &state(4), 1000), Some(5.0));
    // First look, no time, index begun anew, index missing.
    assert_eq!(rate(None, &state(15), 2000), None);
    assert_eq!(rate(Some(&state(10)), &state(15), 0), None);
    assert_eq!(rate(Some(&state(1000)), &state(3), 1000), None);
    assert_eq!(rate(Some(&SqliteState::default()), &state(3), 1000), None);
}

#[test]
fn corruption_only_when_checked() {
    let mut state = SqliteState::default();
    assert_eq!(corruption_count(&state), None);
    state.integrity = Some(Integrity::empty(
        crate::sqlite_state::Mode::Full,
        Some("busy".to_owned()),
    ));
    assert_eq!(corruption_count(&state), None);
    state.wal = Some(crate::sqlite_state::WalState {
        scanned: true,
        first_bad_frame: Some(3),
        ..Default::default()
    });
    assert_eq!(corruption_count(&state), Some(1));
}

#[test]
fn a_database_has_the_size_of_its_last_commit() {
    let size = |state: &SqliteState| {
        let all = samples(state, None, 0);
        let size = all.into_iter().find(|s| s.series == "database_bytes");
        size.map(|sample| sample.value)
    };
    let mut state = SqliteState {
        database_bytes: Some(4096),
        ..SqliteState::default()
    };
    assert_eq!(size(&state), Some(4096.0));
    state.wal_index = Some(WalIndexState::default());
    assert_eq!(size(&state), Some(4096.0));
    state.wal_index = Some(WalIndexState {
        database_bytes: 40_960,
        ..WalIndexState::default()
    });
    assert_eq!(size(&state), Some(40_960.0));
}

#[test]
fn pages_of_a_transaction_are_the_frames_of_one_log() {
    let at = |change_counter, max_frame, salts| {
        let index = WalIndexState {
            change_counter,
            max_frame,
            salts,
            ..WalIndexState::default()
        };
        SqliteState {
            wal_index: Some(index),
            ..SqliteState::default()
        }
    };
    let pages = |before: &SqliteState, now: &SqliteState| pages_of_a_transaction(now, Some(before));
    let first = at(10, 100, (1, 2));
    assert_eq!(pages(&first, &at(14, 110, (1, 2))), Some(2.5));
    assert_eq!(pages(&first, &at(10, 100, (1, 2))), None, "no commit");
    assert_eq!(pages(&first, &at(14, 110, (2, 3))), None, "another log");
    assert_eq!(pages(&first, &at(14, 90, (1, 2))), None, "rolled back");
    assert_eq!(pages(&first, &at(3, 110, (1, 2))), None, "counted anew");
    assert_eq!(pages_of_a_transaction(&first, None), None);
}
