use super::*;
use crate::operations::Ended;

fn surroundings() -> Surroundings {
    Surroundings {
        name: "engine".into(),
        places: Some(Places {
            data: std::env::temp_dir(),
            ..Places::default()
        }),
        ..Surroundings::default()
    }
}

fn wait_until(true_at_last: impl Fn() -> bool) {
    for _ in 0..3000 {
        if true_at_last() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come in 30 s");
}

#[test]
fn before_a_bucket_has_ended_it_checks_and_knows_what_room_there_is() {
    let mut config = Config::default();
    config.operations.bucket_ms = 3_600_000;
    config.constraints.clear();
    let engine = Embedded::start(&config, surroundings(), |_, _| {}).unwrap();
    assert_eq!(engine.health().status, Status::Checking);
    // More than any disk holds.
    let bytes = 1 << 62;
    wait_until(|| {
        engine.check_before_operation(Intended::Snapshot { bytes }) != Admission::Proceed
    });
    assert_eq!(engine.health().status, Status::Checking);
    engine.stop().unwrap();
}

#[test]
fn when_nobody_looks_any_more_it_is_unhealthy() {
    let mut config = Config::default();
    config.observation.tick_interval_ms = 10;
    // No policy decides with so little: that is told.
    config.policy.limits.fuel = Some(1);
    let engine = Embedded::start(&config, surroundings(), |_, _| panic!("on purpose"));
    let engine = engine.unwrap();
    wait_until(|| engine.health().to_string().contains("watches no more"));
    assert_eq!(engine.health().status, Status::Unhealthy);
    assert!(engine.stop().is_err());
}

#[test]
fn what_was_learned_is_there_after_a_restart_and_damage_is_set_aside() {
    use crate::operations::Judgement;
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let mut config = Config::default();
    config.operations.bucket_ms = 10;
    let start = |record: &str| {
        let surroundings = Surroundings {
            record: Some(home.path().join(record)),
            state: Some(state.clone()),
            ..surroundings()
        };
        Embedded::start(&config, surroundings, |_, _| {}).unwrap()
    };
    let carried = |record: &str| {
        let path = home.path().join(record);
        let reader = crate::recording::RecordingReader::open(&path).unwrap();
        reader.header().carried.detectors.len()
    };
    let is_known =
        |engine: &Embedded, query| engine.recorder().judge(query, u64::MAX) != Judgement::Unknown;

    let engine = start("first");
    let query = engine.operation("query");
    assert!(!is_known(&engine, query));
    wait_until(|| {
        let completed = Ended::Completed { rows: 1, bytes: 1 };
        engine.recorder().record(query, 1_000_000, completed);
        is_known(&engine, query)
    });
    engine.stop().unwrap();
    assert_eq!(carried("first"), 0);

    // Nothing is recorded: what is known is from before. And it is kept on.
    for again in ["second", "third"] {
        let engine = start(again);
        let query = engine.operation("query");
        wait_until(|| is_known(&engine, query));
        engine.stop().unwrap();
        assert_eq!(carried(again), 1);
    }

    for file in ["baselines", "operations"] {
        std::fs::write(state.join(file).with_extension("bin"), "junk\n").unwrap();
    }
    let engine = start("fourth");
    assert!(!is_known(&engine, engine.operation("query")));
    engine.stop().unwrap();
    assert_eq!(carried("fourth"), 0);
    for file in ["baselines", "operations"] {
        assert!(state.join(file).with_extension("damaged").exists());
    }
}

#[test]
fn a_measurement_that_is_too_old_is_not_believed() {
    let plan = CheckPlan {
        check: CheckKind::Resource,
        interval_ms: 30_000,
        timeout_ms: 1000,
        lane: crate::health::Lane::Own,
    };
    let room = Room {
        disk_free_bytes: Some(1.0),
        ..Room::default()
    };
    assert_eq!(believed(Some((1000, room)), &plan, 91_000), room);
    assert_eq!(believed(Some((1000, room)), &plan, 91_001), Room::default());
    assert_eq!(believed(None, &plan, 0), Room::default());
}

#[test]
fn one_slow_operation_among_few_says_nothing() {
    let bucket = |fast: u64, slow: u64| {
        let (recorder, mut collector) = recorder(OperationLimits {
            established_after: 1,
            ..OperationLimits::default()
        });
        let query = recorder.operation("query");
        let completed = Ended::Completed { rows: 1, bytes: 1 };
        let record = |count: u64, duration_ns: u64| {
            for _ in 0..count {
                recorder.record(query, duration_ns, completed);
            }
        };
        record(100, 1000);
        collector.turn(1000);
        record(fast, 1000);
        record(slow, 1_000_000);
        let bucket = collector.turn(2000);
        assert_eq!(bucket.operations[0].slow, slow);
        sign_of_operation(&bucket.operations[0]).is_some()
    };
    for (fast, slow, told) in [(0, 1, false), (5, 2, false), (0, 3, true), (56, 3, true)] {
        assert_eq!(bucket(fast, slow), told, "{slow} slow, {fast} fast");
    }
    assert!(!bucket(57, 3), "5 % are not above 5 %");
}
