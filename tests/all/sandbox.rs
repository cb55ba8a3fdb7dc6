//! Hostile policies and junk: each ends in the cautious verdict or a typed refusal to load, and
//! the same runtime serves a good policy right after.
//!
//! The guest is `guests/hostile`, one real component that misbehaves as its setting says;
//! `policies/build.sh` builds it anew. Files that are wrong in their structure are written here.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dbmedic::model::{
    BaselineSummary, Classification, DataLoss, EscalationLevel, Outcome, OutcomeResult, Point,
    PolicyEvent, Setting, Value, Verbosity,
};
use dbmedic::policy::{
    Decision, LOG_LINE_BYTES, LOG_LINES, Limits, LoadError, NoTelemetry, Policy, PolicyFailure,
    RECENT_POINTS, Runtime, Telemetry, cautious,
};
use dbmedic::signing::Verified;
use dbmedic_tests::{context, finding};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub(crate) const HOSTILE: &[u8] = include_bytes!("../guests/hostile/hostile.wasm");

/// One runtime for all tests, as in the host: what one policy breaks, another would notice. More
/// time than by default, so that a good policy is not cut off on a busy machine.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Runtime::new(Limits {
        deadline_ms: 500,
        start_deadline_ms: 5_000,
        max_instances: 64,
        ..Limits::default()
    })
    .unwrap()
});
static WELL_BEHAVED: LazyLock<Policy> =
    LazyLock::new(|| RUNTIME.load(&Verified::unsigned(HOSTILE), &[]).unwrap());

pub(crate) fn misbehave(how: &str) -> Vec<Setting> {
    vec![Setting {
        name: "misbehave".into(),
        value: Value::Text(how.into()),
    }]
}

fn policy(how: &str) -> Policy {
    WELL_BEHAVED.with_settings(&misbehave(how)).unwrap()
}

fn decide(policy: &Policy) -> Decision {
    policy.decide(&finding(), &context(policy), &mut NoTelemetry)
}

#[track_caller]
fn assert_still_serves() {
    let decision = decide(&WELL_BEHAVED);
    assert_eq!(decision.failure, None);
    assert_eq!(decision.verdict.repair.as_deref(), Some("lock.end-holder"));
}

/// The failure of a hostile decision, after checking what holds for every failure.
#[track_caller]
fn failure(how: &str) -> PolicyFailure {
    let policy = policy(how);
    let decision = decide(&policy);
    let failure = decision
        .failure
        .unwrap_or_else(|| panic!("{how}: the answer was believed: {:?}", decision.verdict));
    let verdict = decision.verdict;
    assert_eq!(
        verdict,
        cautious(&finding(), &context(&policy), &failure),
        "{how}"
    );
    assert_eq!(verdict.repair, None, "{how}");
    assert_eq!(verdict.classification, Some(Classification::Wall), "{how}");
    assert_eq!(verdict.level, EscalationLevel::Escalate, "{how}");
    assert_eq!(verdict.verbosity, Verbosity::Incident, "{how}");
    assert_eq!(verdict.alerts[0].rule, "policy.failed", "{how}");
    assert_eq!(verdict.reasons[0].rule, failure.rule(), "{how}");
    assert_eq!(verdict.memory, [41], "{how}: the memory is kept");
    assert_still_serves();
    failure
}

#[track_caller]
fn malformed(how: &str, field: &str) {
    match failure(how) {
        PolicyFailure::MalformedAnswer { what } => assert!(what.contains(field), "{how}: {what}"),
        other => panic!("{how}: {other:?}"),
    }
}

#[test]
fn a_good_policy_is_believed_and_says_who_it_is() {
    let policy = policy("nothing");
    let decision = decide(&policy);
    assert_eq!(decision.failure, None);
    assert_eq!(
        decision.verdict.classification,
        Some(Classification::Hiccup)
    );
    assert_eq!(policy.name(), "hostile");
    assert_eq!(policy.version(), "0.1.0");
    assert_eq!(policy.description().parameters[0].name, "misbehave");
    assert_eq!(policy.digest(), sha256(HOSTILE));
    assert_eq!(decide(&policy), decision, "the same again");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[test]
fn what_runs_too_long_is_cut_off() {
    let limit_ms = RUNTIME.limits().deadline_ms;
    for how in ["endless-loop", "endless-host-calls"] {
        let started = Instant::now();
        assert_eq!(failure(how), PolicyFailure::Deadline { limit_ms }, "{how}");
        // Far above the deadline, for a machine under load; far below endless.
        assert!(started.elapsed() < Duration::from_secs(5), "{how}");
    }
}

#[test]
fn what_eats_memory_or_stack_is_named_so() {
    let memory = PolicyFailure::Memory { limit_mib: 16 };
    let stack = PolicyFailure::Stack { limit_kib: 256 };
    assert_eq!(failure("memory-bomb"), memory);
    assert_eq!(failure("stack-overflow"), stack);
}

#[test]
fn a_policy_that_is_denied_memory_and_copes_is_believed() {
    assert_eq!(decide(&policy("memory-bomb-survived")).failure, None);
}

#[test]
fn traps_keep_their_backtrace_and_are_the_same_each_time() {
    for how in ["panic", "shadow-stack-overflow", "wild-read"] {
        let first = failure(how);
        assert_eq!(first, failure(how), "{how}");
        match first {
            PolicyFailure::Trap { backtrace, .. } => {
                assert!((1..=16).contains(&backtrace.len()), "{how}: {backtrace:?}");
            }
            other => panic!("{how}: {other:?}"),
        }
    }
}

#[test]
fn an_answer_is_checked_before_it_is_believed() {
    malformed("nan", "confidence");
    malformed("infinite", "confidence");
    malformed("too-sure", "confidence");
    malformed("no-classification", "classification");
    malformed("no-reasons", "reasons");
    malformed("many-reasons", "reasons");
    malformed("long-alert", "alerts.message");
    malformed("memory-too-large", "memory");
    malformed("refuse-at-length", "refusal");
    assert_eq!(
        failure("unknown-candidate"),
        PolicyFailure::UnknownCandidate {
            id: "drop.everything".into()
        }
    );
}

#[test]
fn a_repair_is_chosen_for_findings_only() {
    let policy = policy("unknown-candidate");
    let outcome = PolicyEvent::Outcome(Outcome {
        incident: "i-1".into(),
        kind: "lock.stale-holder".into(),
        subject: "orders.db".into(),
        repair: "drop.everything".into(),
        outcome_result: OutcomeResult::Verified,
        reason: "done".into(),
        duration_ms: 1,
        loss: DataLoss::NONE,
        notes: Vec::new(),
    });
    for event in [outcome, PolicyEvent::Tick] {
        let decision = policy.decide(&event, &context(&policy), &mut NoTelemetry);
        assert!(
            matches!(
                decision.failure,
                Some(PolicyFailure::UnknownCandidate { .. })
            ),
            "{event:?}"
        );
        assert_eq!(decision.verdict.repair, None);
    }
}

#[test]
fn what_is_too_large_to_copy_is_not_copied() {
    for how in ["megabytes", "lift-bomb", "invalid-utf8", "log-bomb"] {
        let failed = failure(how);
        assert!(
            matches!(failed, PolicyFailure::Unreadable { .. }),
            "{how}: {failed:?}"
        );
    }
}

#[test]
fn a_refusal_leads_to_caution_and_is_quoted() {
    let PolicyFailure::Refused(own) = failure("refuse") else {
        panic!("not a refusal");
    };
    assert_eq!(own.rule, "hostile.refused");
    assert!(!PolicyFailure::Refused(own.clone()).is_misbehaviour());
    assert_eq!(decide(&policy("refuse")).verdict.reasons[1], own);
}

#[test]
fn text_cannot_steer_a_terminal() {
    let decision = decide(&policy("terminal-escapes"));
    assert_eq!(decision.failure, None);
    let text = &decision.verdict.suggestions[0];
    assert!(text.ends_with("run this"), "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn the_log_is_bounded() {
    let decision = decide(&policy("log-flood"));
    assert_eq!(decision.failure, None);
    assert_eq!(decision.log.len(), LOG_LINES);
    assert!(decision.log[0].message.starts_with("0 é"));
    for line in &decision.log {
        assert!(line.message.len() <= LOG_LINE_BYTES);
    }
}

/// One series of more points than a policy may read at once.
#[derive(Default)]
struct OneSeries {
    points: Vec<Point>,
}

impl Telemetry for OneSeries {
    fn latest(&self, series: &str) -> Option<Point> {
        let known = series == "commits_per_s";
        self.points.last().copied().filter(|_| known)
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        self.latest(series).map(|point| BaselineSummary {
            count: 1000,
            established: true,
            median: 210.0,
            mad: 7.5,
            mean: point.value,
            stdev: 1.0,
            p50: 210.0,
            p95: 230.0,
            p99: 240.0,
            min: 180.0,
            max: 240.0,
        })
    }

    /// Ignores the limit: the sandbox must not.
    fn recent(&self, _series: &str, _limit: usize) -> Vec<Point> {
        self.points.clone()
    }
}

#[test]
fn telemetry_is_read_bounded_and_handed_back() {
    let mut series = OneSeries {
        points: (0..2_000_u32)
            .map(|second| Point {
                at_ms: u64::from(second) * 1000,
                value: f64::from(second) / 2.0,
            })
            .collect(),
    };
    let policy = policy("read-telemetry");
    let decision = policy.decide(&finding(), &context(&policy), &mut series);
    assert_eq!(decision.failure, None);
    let most = RECENT_POINTS.to_string();
    assert_eq!(
        decision.verdict.suggestions,
        ["999.5@1999000", "210 +- 7.5", most.as_str(), "true"]
    );
    assert_eq!(series.points.len(), 2_000, "it is back");

    let hostile = self::policy("endless-host-calls");
    let decision = hostile.decide(&finding(), &context(&hostile), &mut series);
    assert!(decision.failure.is_some());
    assert_eq!(series.points.len(), 2_000, "it is back after a failure too");
}

#[test]
fn nothing_outlives_a_decision_but_the_memory() {
    let policy = policy("counter");
    let mut context = context(&policy);
    for remembered in [42, 43, 44] {
        let verdict = policy
            .decide(&finding(), &context, &mut NoTelemetry)
            .verdict;
        assert_eq!(verdict.suggestions, ["1"], "a fresh instance each time");
        assert_eq!(verdict.memory, [remembered]);
        context.memory = verdict.memory;
    }
}

#[test]
fn a_thousand_decisions_leak_no_instance() {
    // Two slots: a single leak and the third decision would find the pool full.
    let runtime = Runtime::new(Limits {
        max_instances: 2,
        deadline_ms: 2,
        ..Limits::default()
    })
    .unwrap();
    // With two milliseconds even the good one may be too slow on a busy machine; the slots are
    // what is counted here, so only the names of failures are looked at.
    let good = runtime.load(&Verified::unsigned(HOSTILE), &[]).unwrap();
    let hostile: Vec<Policy> = [
        "panic",
        "stack-overflow",
        "endless-loop",
        "lift-bomb",
        "nan",
    ]
    .into_iter()
    .map(|how| good.with_settings(&misbehave(how)).unwrap())
    .collect();
    for round in 0..500 {
        let bad = decide(&hostile[round % hostile.len()]);
        let after = decide(&good);
        assert!(bad.failure.is_some(), "round {round}");
        for decision in [bad, after] {
            assert!(
                !matches!(decision.failure, Some(PolicyFailure::Busy { .. })),
                "round {round}: a slot leaked"
            );
        }
    }
}

#[test]
fn more_decisions_at_once_than_slots_end_in_caution() {
    let runtime = Runtime::new(Limits {
        max_instances: 1,
        deadline_ms: 1_000,
        ..Limits::default()
    })
    .unwrap();
    let good = runtime.load(&Verified::unsigned(HOSTILE), &[]).unwrap();
    let slow = good.with_settings(&misbehave("endless-loop")).unwrap();
    std::thread::scope(|threads| {
        // The slow one holds the only slot for a second once it has it; the other must meet it.
        let running = threads.spawn(|| {
            while let Some(PolicyFailure::Busy { .. }) = decide(&slow).failure {
                std::thread::yield_now();
            }
        });
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(failure) = decide(&good).failure {
                assert_eq!(failure, PolicyFailure::Busy { limit: 1 });
                assert!(!failure.is_misbehaviour());
                break;
            }
            assert!(Instant::now() < until, "the slot was never in use");
        }
        running.join().unwrap();
    });
    assert_eq!(decide(&good).failure, None);
}

#[test]
fn wrong_settings_are_named() {
    let wrong = [
        Setting {
            name: "misbehaviour".into(),
            value: Value::Text("nothing".into()),
        },
        Setting {
            name: "speed".into(),
            value: Value::Integer(3),
        },
    ];
    let error = RUNTIME
        .load(&Verified::unsigned(HOSTILE), &wrong)
        .unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, LoadError::Settings(errors) if errors.len() == 2));
    assert!(message.contains("`misbehaviour`") && message.contains("`speed`"));

    let infinite = [Setting {
        name: "misbehave".into(),
        value: Value::Number(f64::INFINITY),
    }];
    let error = WELL_BEHAVED.with_settings(&infinite).unwrap_err();
    assert!(error.to_string().contains("`misbehave` must be a finite"));
}

#[test]
fn failing_to_take_settings_is_no_policy() {
    let error = WELL_BEHAVED
        .with_settings(&misbehave("configure-endless-loop"))
        .unwrap_err();
    assert!(matches!(
        error,
        LoadError::Configure(PolicyFailure::Deadline { .. })
    ));
    let error = WELL_BEHAVED
        .with_settings(&misbehave("configure-bomb"))
        .unwrap_err();
    assert!(matches!(error, LoadError::MalformedSettings { .. }));
    assert_still_serves();
}

/// The hostile component with another behaviour of `describe`, as its source says.
fn describes(how: &str) -> Result<Policy, LoadError> {
    let marker = b"describe=well-behaved___________";
    let at = HOSTILE
        .windows(marker.len())
        .position(|window| window == marker)
        .unwrap();
    let mut bytes = HOSTILE.to_vec();
    let mut other = format!("describe={how}").into_bytes();
    other.resize(marker.len(), b'_');
    bytes[at..at + marker.len()].copy_from_slice(&other);
    RUNTIME.load(&Verified::unsigned(&bytes[..]), &[])
}

#[test]
fn failing_to_describe_itself_is_no_policy() {
    assert!(matches!(
        describes("endless-loop").unwrap_err(),
        LoadError::Describe(PolicyFailure::Deadline { .. })
    ));
    assert!(matches!(
        describes("trap").unwrap_err(),
        LoadError::Describe(PolicyFailure::Trap { .. })
    ));
    for how in ["nameless", "bomb"] {
        let error = describes(how).unwrap_err();
        assert!(
            matches!(error, LoadError::MalformedDescription { .. }),
            "{error}"
        );
    }
    assert_still_serves();
}

/// The refusal of a file, with its causes, and proof that the runtime survived it.
#[track_caller]
fn refused(bytes: &[u8]) -> (LoadError, String) {
    let error = RUNTIME.load(&Verified::unsigned(bytes), &[]).unwrap_err();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    assert_still_serves();
    (error, message)
}

#[test]
fn what_is_no_component_is_refused_by_name() {
    assert!(matches!(refused(b"").0, LoadError::Empty));
    assert!(matches!(
        refused(&wat::parse_str("(module)").unwrap()).0,
        LoadError::CoreModule
    ));
    assert!(matches!(
        refused(b"(component)").0,
        LoadError::NotWebAssembly
    ));
    assert!(matches!(
        refused(&HOSTILE[..HOSTILE.len() / 2]).0,
        LoadError::Compile(_)
    ));
    assert!(matches!(refused(&HOSTILE[..8]).0, LoadError::Contract(_)));
}

#[test]
fn junk_never_loads_and_never_panics() {
    let seed = 7;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..200 {
        let mut junk: Vec<u8> = (0..random.random_range(1..2_000))
            .map(|_| random.random())
            .collect();
        if round % 2 == 0 {
            junk.splice(..0, *b"\0asm\x0d\0\x01\0");
        }
        let loaded = RUNTIME.load(&Verified::unsigned(&junk[..]), &[]);
        assert!(loaded.is_err(), "seed {seed}, round {round}: {loaded:?}");
    }
    assert_still_serves();
}

#[test]
fn wasi_is_refused_with_a_hint() {
    let (error, message) = refused(&component(
        r#"(import "wasi:cli/environment@0.2.0" (instance))
           (import "dbmedic:policy/log@0.2.0" (instance))
           (import "evil:door/open@1.0.0" (instance))"#,
    ));
    match error {
        LoadError::Imports { names, .. } => {
            assert_eq!(
                names,
                ["wasi:cli/environment@0.2.0", "evil:door/open@1.0.0"]
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(message.contains("wasm32-unknown-unknown"), "{message}");
}

#[test]
fn another_contract_is_refused_and_the_missing_part_named() {
    let exports = [
        // Nothing at all, another version, and the right name with the wrong functions.
        "",
        r#"(instance $i) (export "dbmedic:policy/decision@0.3.0" (instance $i))"#,
        r#"(instance $i) (export "dbmedic:policy/decision@0.2.0" (instance $i))"#,
        r#"(core module $m (func (export "f")))
           (core instance $c (instantiate $m))
           (func $f (canon lift (core func $c "f")))
           (instance $i (export "describe" (func $f)) (export "configure" (func $f))
                        (export "decide" (func $f)))
           (export "dbmedic:policy/decision@0.2.0" (instance $i))"#,
    ];
    for export in exports {
        let (error, message) = refused(&component(export));
        assert!(matches!(error, LoadError::Contract(_)), "{message}");
        assert!(
            message.contains("decision") || message.contains("type mismatch"),
            "{message}"
        );
    }
    let newer = r#"(import "dbmedic:policy/telemetry@0.3.0" (instance
                     (export "latest" (func (param "series" string)))))"#;
    let (error, message) = refused(&component(newer));
    assert!(matches!(error, LoadError::Contract(_)), "{message}");
}

#[test]
fn what_is_too_large_from_the_start_is_refused() {
    // 64 MiB in its first memory, 4 GiB address space.
    let (error, _) = refused(&component(
        r"(core module $m (memory 1024)) (core instance (instantiate $m))",
    ));
    assert!(matches!(error, LoadError::Compile(_)), "{error}");

    let small = Runtime::new(Limits {
        component_mib: 1,
        ..Limits::default()
    })
    .unwrap();
    let mut padded = HOSTILE.to_vec();
    padded.resize(2 << 20, 0);
    assert!(matches!(
        small
            .load(&Verified::unsigned(&padded[..]), &[])
            .unwrap_err(),
        LoadError::TooLarge { .. }
    ));
}

fn component(inside: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {inside})")).unwrap()
}

#[test]
fn a_policy_outlives_its_runtime_and_moves_between_threads() {
    let policy = Runtime::new(RUNTIME.limits().clone())
        .unwrap()
        .load(&Verified::unsigned(HOSTILE), &[])
        .unwrap();
    let decision = std::thread::spawn(move || decide(&policy)).join().unwrap();
    assert_eq!(decision.failure, None);
}

#[test]
fn a_decision_survives_its_recording() {
    for how in ["nothing", "panic", "refuse", "unknown-candidate"] {
        let decision = decide(&policy(how));
        let text = serde_json::to_string(&decision).unwrap();
        assert_eq!(
            serde_json::from_str::<Decision>(&text).unwrap(),
            decision,
            "{how}"
        );
    }
}
