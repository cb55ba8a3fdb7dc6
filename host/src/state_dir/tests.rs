use std::fs;

use super::*;
use crate::command::{Command, Request};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn baselines_come_back_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    assert!(state.load_baselines().unwrap().is_empty());

    let mut detector = Detector::default();
    detector.series("commits_per_s").unwrap();
    for at_ms in 0..100_u32 {
        detector.step(u64::from(at_ms), &[Some(f64::from(at_ms % 7))]);
    }
    let learned = BTreeMap::from([("orders", &detector)]);
    state.save_baselines(&learned).unwrap();
    let mut restored = state.load_baselines().unwrap();
    let restored = restored.get_mut("orders").unwrap();
    assert_eq!(
        restored.step(100, &[Some(3.0)]),
        detector.step(100, &[Some(3.0)])
    );

    let path = dir.path().join("baselines.bin");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let newer = [b"dbmedic-baselines 9 ", &good[20..]].concat();
    let older = [b"dbmedic-baselines 1 ", &good[20..]].concat();
    let cases: [(&[u8], &str); 6] = [
        (&flipped, "digest"),
        (&good[..good.len() - 1], "digest"),
        (&newer, "version 9"),
        (&older, "version 1"),
        (b"junk\n", "not a file of dbmedic-baselines"),
        (b"", "no first line"),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).unwrap();
        let error = state.load_baselines().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let aside = state.set_baselines_aside().unwrap();
    assert!(aside.exists() && state.load_baselines().unwrap().is_empty());
}

/// What a run leaves that approved a repair and made one, half a second ago.
fn carried(at_ms: u64) -> Carried {
    let at = |ms: u64| at_ms - ms;
    let carried = serde_json::json!({
        "next_incident": 4,
        "targets": { "shop": {
            "level": "Warn", "level_since_ms": at(9_000), "memories": {}, "repairs": [],
            "guard": {
                "halted": "INC-2: damage",
                "past": [{ "kind": "k", "subject": "s", "began_ms": at(700) }],
                "last_ended_ms": at(600),
            },
        } },
        "breakers": { "default": { "0a": {
            "state": { "open": { "until_ms": at_ms + 5_000 } },
            "latest": [], "in_a_row": 0, "good": 0, "trips": 1,
            "probation": null,
        } } },
    });
    serde_json::from_value(carried).unwrap()
}

/// Changes what the last run left, as if it had been written under another clock.
fn rewrite(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join(CARRIED);
    let mut file = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut file);
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
}

#[test]
fn what_is_carried_keeps_its_age_when_the_wall_clock_is_set_between_two_runs() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let close = |at_ms: u64, expected_ms: u64| at_ms.abs_diff(expected_ms) < 2_000;
    for by_ms in [-20 * HOUR_MS, -HOUR_MS, 0, HOUR_MS, 20 * HOUR_MS] {
        // The run that wrote it had a wall clock that was behind by this.
        let then_ms = now_ms().saturating_add_signed(-by_ms);
        state.save_carried(&carried(then_ms), 0).unwrap();
        rewrite(dir.path(), |file| {
            file["written"]["at_ms"] = then_ms.into();
            file["written"]["moment"]["wall_ms"] = then_ms.into();
        });
        let CarriedOver {
            carried, moved_ms, ..
        } = state.load_carried().unwrap();
        assert!(moved_ms.abs_diff(by_ms) < 2_000, "{moved_ms} for {by_ms}");
        let shop = &carried.targets["shop"];
        let past_ms = shop.guard.past[0].began_ms;
        assert!(close(past_ms, now_ms() - 700), "{past_ms} by {by_ms}");
        assert!(close(shop.guard.last_ended_ms.unwrap(), now_ms() - 600));
        assert!(close(shop.level_since_ms, now_ms() - 9_000));
        assert_eq!(shop.guard.halted.as_deref(), Some("INC-2: damage"));
        let breaker = serde_json::to_value(&carried.breakers["default"]["0a"]).unwrap();
        let until_ms = breaker["state"]["open"]["until_ms"].as_u64().unwrap();
        assert!(close(until_ms, now_ms() + 5_000), "{until_ms}");
    }
    // The machine was started since, and its clock lies before the last run: no time has passed.
    let then_ms = now_ms() + 20 * 3_600_000;
    state.save_carried(&carried(then_ms), 0).unwrap();
    rewrite(dir.path(), |file| {
        file["written"] = serde_json::json!({
            "at_ms": then_ms,
            "moment": { "wall_ms": then_ms, "boot": "another", "since_boot_ms": 1 },
        });
    });
    let CarriedOver { carried, .. } = state.load_carried().unwrap();
    let past_ms = carried.targets["shop"].guard.past[0].began_ms;
    assert!(close(past_ms, now_ms() - 700), "{past_ms}");
    // What an older version wrote is not moved, but nothing in it is later than now.
    rewrite(dir.path(), |file| {
        file.as_object_mut().unwrap().remove("written");
    });
    let CarriedOver {
        carried, moved_ms, ..
    } = state.load_carried().unwrap();
    let past_ms = carried.targets["shop"].guard.past[0].began_ms;
    assert!(moved_ms == 0 && past_ms <= now_ms(), "{past_ms}");
}

#[test]
fn commands_wait_in_their_order_until_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let request = |id: &str, said_ms, command| {
        let mut request = Request::new(id.into(), "alice".into(), None, command);
        request.asker.said.as_mut().unwrap().wall_ms = said_ms;
        request
    };
    let release = Command::Release {
        target: "shop".into(),
    };
    let acknowledge = Command::Acknowledge {
        incident: "INC-3".into(),
    };
    let later = request("a", 10_000_000_000_000, acknowledge);
    let first = request("b", 9_000_000_000_000, release);
    state.leave_command(&later).unwrap();
    state.leave_command(&first).unwrap();
    let inbox = dir.path().join("inbox");
    fs::write(inbox.join("junk.json"), "{").unwrap();
    fs::write(inbox.join("unfinished.new"), "{").unwrap();
    // As older versions left it.
    let old = r#"{"v":1,"said":null,"approve":{"incident":"INC-1"}}"#;
    fs::write(inbox.join("approve-INC-1.json"), old).unwrap();
    assert_eq!(StateDir::read_waiting(dir.path()).unwrap().len(), 3);
    let waiting = state.waiting_commands().unwrap();
    let requests: Vec<_> = waiting.iter().map(|one| one.request.clone()).collect();
    assert_eq!(requests[..2], [first, later]);
    assert!(matches!(requests[2].command, Command::Approve { .. }));
    assert!(!inbox.join("junk.json").exists(), "nobody's command");
    for one in waiting {
        state.remove_command(&one.file).unwrap();
    }
    assert_eq!(state.waiting_commands().unwrap(), []);
}

#[test]
fn an_end_that_is_to_come_is_not_cut_off_when_times_are_moved() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let then_ms = now_ms() - 5 * 3_600_000;
    let said = serde_json::json!({ "by": "alice", "at_ms": then_ms });
    let carried = serde_json::json!({
        "next_incident": 1,
        "silences": { "count": 1, "in_force": [
            { "id": "SIL-1", "target": "shop", "ends_ms": then_ms + 7_200_000, "said": said },
        ] },
        "targets": { "shop": {
            "level": "Normal", "level_since_ms": 0, "memories": {}, "repairs": [],
            "guard": { "halted": null, "past": [], "last_ended_ms": null },
            "maintenance": {
                "commanded": { "name": "command", "begins_ms": then_ms, "ends_ms": then_ms + 3_600_000 },
                "withheld": 2,
            },
        } },
    });
    let carried: Carried = serde_json::from_value(carried).unwrap();
    state.save_carried(&carried, 7).unwrap();
    // The wall clock was five hours behind then.
    rewrite(dir.path(), |file| {
        file["written"]["at_ms"] = then_ms.into();
        file["written"]["moment"]["wall_ms"] = then_ms.into();
    });
    let over = StateDir::read_carried(dir.path()).unwrap();
    assert_eq!(over.commands_done, Some(7));
    let close = |at_ms: u64, expected_ms: u64| at_ms.abs_diff(expected_ms) < 2_000;
    let silence = &over.carried.silences.in_force[0];
    assert!(close(silence.ends_ms, now_ms() + 7_200_000), "{silence:?}");
    assert!(silence.said.at_ms <= now_ms());
    let window = over.carried.targets["shop"].maintenance.commanded.clone();
    assert!(close(window.unwrap().ends_ms, now_ms() + 3_600_000));
}
