//! What one typical decision costs: the policy `tests/guests/typical` in a fresh and in a reused
//! instance, beside the same rules natively, in Rego (regorus, RVM), Rhai and CEL.
//!
//! `cargo bench -p dbmedic-bench --bench decide`
//!
//! Criterion measures each on its own; the table at the end measures all in turns, so that its
//! ratios hold on a machine that is busy with other things too. The peers get their input prepared;
//! the policy's time holds everything from the host's records to the checked verdict.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and tells what it measured"
)]

mod case;
mod engine;
mod peers;
mod side_by_side;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use dbmedic::assemble::RULES_POLICY;
use dbmedic::model::{Setting, Value};
use dbmedic::policy::{Isolation, Limits, NoTelemetry, Policy, Runtime};
use dbmedic::signing::Verified;
use typical_policy::Typical;

use case::{host, native};
use engine::Bare;
use peers::{Answer, Cel, Rego, Rhai};
use side_by_side::{Contender, Table};

pub(crate) const TYPICAL: &[u8] = include_bytes!("../../../guests/typical/typical.wasm");
const DEFAULT: &[u8] = include_bytes!("../../../../policies/prebuilt/default.wasm");

/// Everything that is measured, checked to give the same answer.
struct Bench {
    settings: Vec<u8>,
    fresh: Policy,
    reused: Policy,
    bare_with_epochs: Bare,
    bare_without: Bare,
    rego: Rego,
    rhai: Rhai,
    cel: Cel,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new(Limits::default()).unwrap();
        let fresh = runtime.load(&Verified::unsigned(TYPICAL), &[]).unwrap();
        let reused = fresh.with_isolation(Isolation::Reused {
            recycle_after: 100_000,
        });
        let settings = fresh.settings().to_vec();
        let event = host::event();
        let context = host::context(settings.clone());
        let bench = Self {
            bare_with_epochs: Bare::new(true, &settings),
            bare_without: Bare::new(false, &settings),
            rego: Rego::new(&event, &context),
            rhai: Rhai::new(&event, &context),
            cel: Cel::new(&event, &context),
            settings,
            fresh,
            reused,
        };
        bench.check()
    }

    /// The same answer by everyone, or nothing is measured.
    fn check(mut self) -> Self {
        let event = native::event();
        let context = native::context(self.settings.clone());
        assert_eq!(context.memory.len(), 64);
        let verdict = dbmedic_policy::decide::<Typical>(&event, &context).unwrap();
        assert_eq!((verdict.reasons.len(), verdict.memory.len()), (3, 64));
        let expected = Answer {
            classification: peers::case_of(&verdict.classification.unwrap()),
            level: peers::case_of(&verdict.level),
            repair: verdict.repair.clone(),
            reasons: verdict.reasons.iter().map(|r| r.text.clone()).collect(),
        };
        let event = host::event();
        let context = host::context(self.settings.clone());
        for policy in [&self.fresh, &self.reused] {
            let decision = policy.decide(&event, &context, &mut NoTelemetry);
            assert_eq!(decision.failure, None);
            assert_eq!(Answer::of(&decision.verdict), expected);
            assert_eq!(decision.verdict.memory, verdict.memory);
        }
        assert_eq!(self.rego.decide(), expected, "Rego");
        assert_eq!(self.rhai.decide(), expected, "Rhai");
        assert_eq!(self.cel.decide(), expected, "CEL");
        self
    }
}

fn decide(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let event = host::event();
    let context = host::context(bench.settings.clone());
    let native_event = native::event();
    let native_context = native::context(bench.settings.clone());

    let mut group = criterion.benchmark_group("decide");
    group.bench_function("native", |bencher| {
        bencher.iter(|| {
            dbmedic_policy::decide::<Typical>(black_box(&native_event), black_box(&native_context))
        });
    });
    for (name, policy) in [("fresh", &bench.fresh), ("reused", &bench.reused)] {
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| policy.decide(black_box(&event), black_box(&context), &mut NoTelemetry));
        });
    }
    group.bench_function("engine/with-epochs", |bencher| {
        bencher.iter(|| bench.bare_with_epochs.decide());
    });
    group.bench_function("engine/without-epochs", |bencher| {
        bencher.iter(|| bench.bare_without.decide());
    });
    group.bench_function("regorus", |bencher| bencher.iter(|| bench.rego.run()));
    group.bench_function("rhai", |bencher| bencher.iter(|| bench.rhai.run()));
    group.bench_function("cel", |bencher| bencher.iter(|| bench.cel.run()));
    group.finish();

    let mut native = || {
        black_box(dbmedic_policy::decide::<Typical>(
            black_box(&native_event),
            black_box(&native_context),
        ))
        .unwrap();
    };
    let ask = |policy: &Policy| {
        black_box(policy.decide(black_box(&event), black_box(&context), &mut NoTelemetry));
    };
    let (fresh, reused) = (&bench.fresh, &bench.reused);
    let table = Table::measure(&mut [
        Contender::new("native", &mut native),
        Contender::new("fresh", &mut || ask(fresh)),
        Contender::new("reused", &mut || ask(reused)),
        Contender::new("with-epochs", &mut || {
            black_box(bench.bare_with_epochs.decide());
        }),
        Contender::new("without-epochs", &mut || {
            black_box(bench.bare_without.decide());
        }),
        Contender::new("regorus", &mut || {
            black_box(bench.rego.run());
        }),
        Contender::new("rhai", &mut || {
            drop(black_box(bench.rhai.run()));
        }),
        Contender::new("cel", &mut || {
            black_box(bench.cel.run());
        }),
    ]);
    table.print();
    table.bar("fresh / native", table.ratio("fresh", "native"), 30.0);
    table.bar("reused / native", table.ratio("reused", "native"), 12.0);
    for peer in ["regorus", "rhai", "cel"] {
        let least = 1.0 / 3.5;
        table.bar(
            &format!("fresh / {peer}"),
            table.ratio("fresh", peer),
            least,
        );
    }
    let epochs = table.ratio("with-epochs", "without-epochs");
    table.bar("with epochs / without", epochs, 1.12);
    table.bar("fresh, p99 / median", table.spread("fresh"), 2.0);
    table.bar("reused, p99 / median", table.spread("reused"), 2.0);
}

/// What a fresh decision by rules may cost, microseconds: thirty that are all about the event.
const RULES_MOST_US: u128 = 500;

/// Rules that stand in parameters: thirty of them, and those of the specification.
fn rules(criterion: &mut Criterion) {
    let runtime = Runtime::new(Limits::default()).unwrap();
    let thirty = Setting {
        name: "rules".into(),
        value: Value::Text(include_str!("thirty.rules.toml").into()),
    };
    let mut group = criterion.benchmark_group("rules");
    for (name, settings) in [("thirty", vec![thirty]), ("specification", Vec::new())] {
        let policy = runtime
            .load(&Verified::unsigned(RULES_POLICY), &settings)
            .unwrap();
        let event = host::event();
        let mut context = host::context(policy.settings().to_vec());
        context.memory = Vec::new();
        let first = policy.decide(&event, &context, &mut NoTelemetry);
        assert_eq!(first.failure, None, "{name}");
        assert!(first.verdict.reasons.len() > 1, "{:?}", first.verdict);
        context.memory = first.verdict.memory;
        let mut ask = || black_box(policy.decide(black_box(&event), &context, &mut NoTelemetry));
        group.bench_function(name, |bencher| bencher.iter(&mut ask));
        let mut calls: Vec<u128> = (0..2_000)
            .map(|_| {
                let began = Instant::now();
                ask();
                began.elapsed().as_micros()
            })
            .collect();
        calls.sort_unstable();
        let median = calls[calls.len() / 2];
        println!("rules/{name}: {median} us a fresh decision, at most {RULES_MOST_US}");
        assert!(median <= RULES_MOST_US, "{name}");
    }
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let runtime = Runtime::new(Limits::default()).unwrap();
    criterion.bench_function("load/default", |bencher| {
        bencher.iter(|| {
            runtime
                .load(&Verified::unsigned(black_box(DEFAULT)), &[])
                .unwrap()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).sample_size(50);
    targets = decide, rules, load
}
criterion_main!(benches);
