//! The attack collection: each component of `guests/attacks` ends in a typed refusal to load or in
//! the cautious verdict, and the same runtime serves a good policy right after. The bars in
//! milliseconds are measured by the bench `attacks`; here the clock is only held to be sane.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dbmedic::model::Context;
use dbmedic::policy::{
    Decision, Isolation, LOG_LINES, Limits, LoadError, NoTelemetry, Policy, PolicyFailure,
    Question, Runtime, cautious, check_purity,
};
use dbmedic::signing::Verified;
use dbmedic_tests::{attacks, context, finding};

use crate::sandbox::HOSTILE;

/// How an attack ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is no policy: the name of the [`LoadError`].
    Refused(&'static str),
    /// It is no policy, because of this failure in `describe`, `configure` or at its start.
    FailsToLoad(&'static str, &'static str),
    /// Each decision ends in caution: the failure's rule.
    Fails(&'static str),
    /// Its answer counts: it does no harm.
    Believed,
}

use End::{Believed, Fails, FailsToLoad, Refused};

const ATTACKS: &[(&str, End)] = &[
    ("answer-alias-bomb", Fails("policy.unreadable")),
    ("answer-candidate-empty", Fails("policy.unknown-candidate")),
    ("answer-candidate-nul", Fails("policy.unknown-candidate")),
    ("answer-candidate-prefix", Fails("policy.unknown-candidate")),
    ("answer-class-unknown", Fails("policy.unreadable")),
    ("answer-infinite", Fails("policy.malformed-answer")),
    ("answer-invalid-utf8", Fails("policy.unreadable")),
    ("answer-length", Fails("policy.unreadable")),
    ("answer-level-unknown", Fails("policy.unreadable")),
    ("answer-megabytes", Fails("policy.unreadable")),
    ("answer-memory-too-large", Fails("policy.malformed-answer")),
    ("answer-nan", Fails("policy.malformed-answer")),
    ("answer-negative", Fails("policy.malformed-answer")),
    ("answer-neither", Fails("policy.unreadable")),
    ("answer-option-unknown", Fails("policy.unreadable")),
    ("answer-other-candidate", Fails("policy.unknown-candidate")),
    ("answer-outside", Fails("policy.unreadable")),
    ("answer-pointer-outside", Fails("policy.unreadable")),
    ("answer-reasons-many", Fails("policy.malformed-answer")),
    ("answer-reasons-none", Fails("policy.malformed-answer")),
    ("answer-rule-newline", Fails("policy.malformed-answer")),
    ("answer-surrogate", Fails("policy.unreadable")),
    ("answer-unaligned", Fails("policy.unreadable")),
    (
        "configure-length",
        FailsToLoad("Configure", "policy.unreadable"),
    ),
    ("configure-nothing-wrong", Refused("MalformedSettings")),
    ("configure-too-large", Refused("MalformedSettings")),
    ("describe-default-nan", Refused("MalformedDescription")),
    ("describe-default-outside", Refused("MalformedDescription")),
    (
        "describe-invalid-utf8",
        FailsToLoad("Describe", "policy.unreadable"),
    ),
    (
        "describe-length",
        FailsToLoad("Describe", "policy.unreadable"),
    ),
    ("describe-name-newline", Refused("MalformedDescription")),
    ("describe-nameless", Refused("MalformedDescription")),
    ("describe-parameters-many", Refused("MalformedDescription")),
    ("describe-twice", Refused("MalformedDescription")),
    ("import-clock", Refused("Imports")),
    ("import-environment", Refused("Imports")),
    ("import-filesystem", Refused("Imports")),
    ("import-function", Refused("Imports")),
    ("import-lookalike", Refused("Imports")),
    ("import-module", Refused("Imports")),
    ("import-random", Refused("Imports")),
    ("import-sockets", Refused("Imports")),
    ("import-unknown", Refused("Imports")),
    ("instances-many", Refused("Compile")),
    ("log-flood", Believed),
    ("log-invalid-utf8", Fails("policy.unreadable")),
    ("log-level-unknown", Fails("policy.unreadable")),
    ("log-outside", Fails("policy.unreadable")),
    ("loop-branch-table", Fails("policy.deadline")),
    (
        "loop-configure",
        FailsToLoad("Configure", "policy.deadline"),
    ),
    ("loop-decide", Fails("policy.deadline")),
    ("loop-describe", FailsToLoad("Describe", "policy.deadline")),
    ("loop-host-calls", Fails("policy.deadline")),
    ("loop-memory-fill", Fails("policy.deadline")),
    ("loop-post-return", Fails("policy.deadline")),
    ("loop-realloc", Fails("policy.deadline")),
    ("loop-start", FailsToLoad("Start", "policy.deadline")),
    ("memory-bomb", Fails("policy.memory")),
    ("memory-bomb-touched", Fails("policy.memory")),
    ("memory-many", Refused("Compile")),
    ("memory-shared", Refused("Compile")),
    ("memory-too-large", Refused("Compile")),
    ("nan-bits", Believed),
    ("realloc-outside", Fails("policy.unreadable")),
    ("realloc-overlapping", Fails("policy.unreadable")),
    ("realloc-unaligned", Fails("policy.unreadable")),
    ("reenter-post-return", Fails("policy.trap")),
    ("reenter-realloc", Fails("policy.trap")),
    ("reenter-start", FailsToLoad("Start", "policy.trap")),
    ("refusal", Fails("policy.refused")),
    ("refusal-nameless", Fails("policy.malformed-answer")),
    ("simd-relaxed", Refused("Compile")),
    ("slow-start", FailsToLoad("Start", "policy.deadline")),
    ("stack-mutual", Fails("policy.stack")),
    ("stack-realloc", Fails("policy.stack")),
    ("stack-recursion", Fails("policy.stack")),
    ("state-counter", Believed),
    ("state-leak", Believed),
    ("state-second-call", Believed),
    ("table-bomb", Fails("policy.trap")),
    ("table-many", Refused("Compile")),
    ("table-too-large", Refused("Compile")),
    ("telemetry-answer-outside", Fails("policy.unreadable")),
    ("telemetry-name-megabytes", Fails("policy.unreadable")),
    ("telemetry-name-outside", Fails("policy.unreadable")),
    ("trap-configure", FailsToLoad("Configure", "policy.trap")),
    ("trap-conversion", Fails("policy.trap")),
    ("trap-data-outside", FailsToLoad("Start", "policy.trap")),
    ("trap-decide", Fails("policy.trap")),
    ("trap-describe", FailsToLoad("Describe", "policy.trap")),
    ("trap-divide", Fails("policy.trap")),
    ("trap-null-call", Fails("policy.trap")),
    ("trap-outside", Fails("policy.trap")),
    ("trap-post-return", Fails("policy.trap")),
    ("trap-realloc", Fails("policy.trap")),
    ("trap-start", FailsToLoad("Start", "policy.trap")),
    ("world-empty", Refused("Contract")),
    ("world-hollow", Refused("Contract")),
    ("world-other-types", Refused("Contract")),
    ("world-other-version", Refused("Contract")),
    ("world-telemetry-lied", Refused("Contract")),
];

/// Far above any deadline here, for a machine under load; far below endless.
const SANE: Duration = Duration::from_secs(10);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| runtime(4));
static GOOD: LazyLock<Policy> = LazyLock::new(|| load(&RUNTIME, HOSTILE).unwrap());

fn runtime(max_instances: u32) -> Runtime {
    Runtime::new(Limits {
        deadline_ms: 100,
        start_deadline_ms: 200,
        max_instances,
        ..Limits::default()
    })
    .unwrap()
}

fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Policy, LoadError> {
    runtime.load(&Verified::unsigned(bytes), &[])
}

fn attack(name: &str) -> Policy {
    load(&RUNTIME, &attacks::component(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn decide(policy: &Policy) -> Decision {
    policy.decide(&finding(), &context(policy), &mut NoTelemetry)
}

fn end(name: &str) -> (End, String) {
    let policy = match load(&RUNTIME, &attacks::component(name)) {
        Ok(policy) => policy,
        Err(error) => {
            let words = format!("{error}: {error:?}");
            let end = match error {
                LoadError::Compile(_) => Refused("Compile"),
                LoadError::Imports { .. } => Refused("Imports"),
                LoadError::Contract(_) => Refused("Contract"),
                LoadError::MalformedDescription { .. } => Refused("MalformedDescription"),
                LoadError::MalformedSettings { .. } => Refused("MalformedSettings"),
                LoadError::Start(failure) => FailsToLoad("Start", failure.rule()),
                LoadError::Describe(failure) => FailsToLoad("Describe", failure.rule()),
                LoadError::Configure(failure) => FailsToLoad("Configure", failure.rule()),
                other => panic!("{name}: {other}"),
            };
            return (end, words);
        }
    };
    let decision = decide(&policy);
    let Some(failure) = decision.failure else {
        return (Believed, String::new());
    };
    let expected = cautious(&finding(), &context(&policy), &failure);
    assert_eq!(decision.verdict, expected, "{name}");
    assert_eq!(decision.verdict.repair, None, "{name}");
    (Fails(failure.rule()), failure.to_string())
}

#[test]
fn every_attack_is_in_the_table() {
    let table: Vec<&str> = ATTACKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(table, attacks::names());
}

#[test]
fn every_attack_ends_as_it_should_and_the_next_decision_is_right() {
    let mut wrong = Vec::new();
    for (name, expected) in ATTACKS {
        let began = Instant::now();
        let (found, words) = end(name);
        assert!(began.elapsed() < SANE, "{name}: {:?}", began.elapsed());
        if found != *expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}: {words}"));
        }
        let next = decide(&GOOD);
        assert_eq!(next.failure, None, "after {name}");
        assert_eq!(next.verdict.repair.as_deref(), Some("lock.end-holder"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn attacks_in_a_row_leave_the_pool_whole() {
    // One slot: whatever is left in it, the next decision meets.
    let runtime = runtime(1);
    let good = load(&runtime, HOSTILE).unwrap();
    for (name, expected) in ATTACKS {
        if !matches!(expected, Fails(rule) if *rule != "policy.deadline") {
            continue;
        }
        let bad = load(&runtime, &attacks::component(name)).unwrap();
        for _ in 0..3 {
            assert!(decide(&bad).failure.is_some(), "{name}");
            assert_eq!(decide(&good).failure, None, "after {name}");
        }
    }
}

#[test]
fn no_byte_of_one_instance_reaches_the_next() {
    // One slot for all: two policies of different code, two targets, fresh and reused.
    let runtime = runtime(1);
    let bytes = attacks::component("state-leak");
    let mut other_bytes = bytes.clone();
    let name = other_bytes.windows(6).position(|w| w == b"attack").unwrap();
    other_bytes[name..name + 6].copy_from_slice(b"leaker");
    let one = load(&runtime, &bytes).unwrap();
    let other = load(&runtime, &other_bytes).unwrap();
    assert_ne!(one.digest(), other.digest());
    let isolation = Isolation::Reused { recycle_after: 1 };
    for policy in [&one, &other, &one, &one.with_isolation(isolation), &other] {
        for target in ["a", "b"] {
            let context = Context {
                target: target.into(),
                ..context(policy)
            };
            let decision = policy.decide(&finding(), &context, &mut NoTelemetry);
            assert_eq!(decision.failure, None);
            assert_eq!(decision.verdict.memory, [0; 4], "a mark was found");
            // It marked seven megabytes.
            assert!(decision.memory_bytes > 6 << 20, "{}", decision.memory_bytes);
        }
    }
}

#[test]
fn what_is_not_a_number_has_the_same_bits_everywhere() {
    let decision = decide(&attack("nan-bits"));
    assert_eq!(
        decision.verdict.memory,
        0x7ff8_u64.rotate_right(16).to_le_bytes()
    );
}

#[test]
fn a_flood_of_lines_is_cut() {
    assert_eq!(decide(&attack("log-flood")).log.len(), LOG_LINES);
}

#[test]
fn state_outside_of_the_memory_is_found() {
    let question = |policy: &Policy| Question {
        event: finding(),
        context: context(policy),
        telemetry: NoTelemetry,
    };
    let counter = attack("state-counter");
    let found = check_purity(&counter, &mut [question(&counter), question(&counter)]);
    // The very first answer is that of a new instance; the five after it are not.
    assert_eq!(found.len(), 5);
    assert_eq!((found[0].question, found[0].after), (1, 1));
    assert_eq!(found[0].at, "/verdict/memory/0");

    let second = attack("state-second-call");
    let found = check_purity(&second, &mut [question(&second)]);
    let [impurity, ..] = &found[..] else {
        panic!("not found");
    };
    assert!(impurity.at.starts_with("/verdict/"), "{}", impurity.at);
    assert!(matches!(
        impurity.again.failure,
        Some(PolicyFailure::Trap { .. })
    ));

    let pure = &*GOOD;
    assert_eq!(
        check_purity(pure, &mut [question(pure), question(pure)]),
        []
    );
}

#[test]
fn a_refused_import_comes_with_the_way_to_build_without_it() {
    let cases = [
        (
            r#"(processed-by "rustc" "1.95.0")"#,
            "wasm32-unknown-unknown",
        ),
        (r#"(language "Go" "go1.27")"#, "an adapter"),
        (r#"(processed-by "TinyGo" "0.40")"#, "an adapter"),
        (r#"(processed-by "ComponentizeJS" "0.23")"#, "`fetch-event`"),
        (r#"(processed-by "componentize-qjs" "0.4")"#, "`--sync`"),
        (
            r#"(processed-by "componentize-py" "0.25")"#,
            "`--stub-wasi`",
        ),
        (r#"(processed-by "clang" "19")"#, "-mexec-model=reactor"),
        ("", "templates in `sdk/`"),
    ];
    for (producers, words) in cases {
        let text = format!(
            r#"(component
                 (import "wasi:clocks/wall-clock@0.2.3" (instance))
                 (core module (@producers {producers})))"#
        );
        let bytes = wat::parse_str(text).unwrap();
        let message = load(&RUNTIME, &bytes).unwrap_err().to_string();
        assert!(message.contains(words), "{producers}: {message}");
        assert!(
            message.contains("wasi:clocks/wall-clock@0.2.3"),
            "{message}"
        );
    }
}
