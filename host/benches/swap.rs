//! What a swap costs: how long the pipeline cannot decide, and how soon a known candidate is ready.
//!
//! `cargo bench -p dbmedic --bench swap`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::gate::{Candidate, Held, Trust, Workshop};
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions, TargetOptions, only_default};
use dbmedic::policy::{CacheLimits, CompiledCache, Limits, Policy, Runtime, Standing};
use dbmedic::signing::{self, Comment, Hashed, Password, TrustedKey, Verified};

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");
const TARGETS: usize = 16;

fn pipeline(policy: Policy) -> Pipeline {
    let target = || TargetOptions {
        policies: only_default(),
        mode: Mode::Observe,
        diagnose: DiagnoseOptions {
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
            snapshot_recent_ms: 1000,
            may_end: Vec::new(),
        },
        constraints: Vec::new(),
    };
    let options = PipelineOptions {
        decide_interval_ms: 1000,
        baseline_window: 100,
        baseline_established_after: 10,
        guard: GuardLimits::default(),
        breaker: dbmedic::policy::BreakerOptions::default(),
        named_breakers: std::collections::BTreeMap::new(),
        targets: (0..TARGETS).map(|n| (format!("t{n}"), target())).collect(),
        signatures: None,
    };
    Pipeline::new(options, policy, Carried::default())
}

fn swap(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let keys = signing::generate(&Password::None).unwrap();
    let comment = Comment {
        sha256: Some(signing::sha256(DEFAULT)),
        ..Comment::default()
    };
    let signature = signing::sign(DEFAULT, &comment, &keys.secret).unwrap();
    let signature: Arc<[u8]> = signature.into_bytes().into();
    let key = TrustedKey {
        name: "bench".into(),
        key: keys.key,
        expires_ms: None,
    };
    let cache = CompiledCache::open(dir.path(), CacheLimits::default()).unwrap();
    let workshop = Workshop::new(
        Runtime::new(Limits::default()).unwrap(),
        Some(Arc::new(cache)),
        Trust {
            require_signature: true,
            keys: vec![key.clone()],
        },
    );
    let prepare = || {
        let candidate = Candidate {
            component: Hashed::new(black_box(DEFAULT)),
            signature: Some(Arc::clone(&signature)),
            cases: Arc::default(),
        };
        workshop
            .prepare(&candidate, &[], Held::Now(1), &mut |_| {})
            .unwrap()
    };
    let policy = prepare().policy().clone();
    // Digest, authentication of the code, contract, description and settings; the signature was found
    // good before, as it is when a policy comes back.
    criterion.bench_function(
        "from the file's bytes to ready, code from the cache",
        |bencher| {
            bencher.iter(prepare);
        },
    );
    criterion.bench_function("of that, the digest", |bencher| {
        bencher.iter(|| Hashed::new(black_box(DEFAULT)));
    });
    let keys = [key];
    criterion.bench_function("digest and signature, the first time", |bencher| {
        bencher.iter(|| Verified::signed(black_box(DEFAULT), Some(&signature), &keys, 1).unwrap());
    });
    let verified = Verified::signed(DEFAULT, Some(&signature), &keys, 1).unwrap();
    criterion.bench_function("of that, from the cache to ready", |bencher| {
        bencher.iter(|| {
            workshop
                .prepare_verified(black_box(&verified), &[], &mut |_| {})
                .unwrap()
        });
    });

    let mut pipeline = pipeline(policy.clone());
    let to = policy.identity();
    let mut at_ms = 0;
    criterion.bench_function("pause of a swap in 16 targets", |bencher| {
        bencher.iter_batched(
            || policy.clone(),
            |policy| {
                at_ms += 1;
                pipeline.stand_by("default", policy);
                pipeline.step(&Event::PolicySwapped {
                    policy: "default".to_owned(),
                    at_ms,
                    to: to.clone(),
                    why: "bench".to_owned(),
                    standing: Standing::Proven,
                })
            },
            BatchSize::SmallInput,
        );
    });
    // What the first decision costs right after, and any other, for 16 targets each.
    for (name, swaps) in [
        ("16 decisions right after a swap", true),
        ("16 decisions", false),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter_batched(
                || swaps.then(prepare),
                |tested| {
                    at_ms += 1;
                    if let Some(tested) = tested {
                        pipeline.stand_by("default", tested.policy().clone());
                        pipeline.step(&Event::PolicySwapped {
                            policy: "default".to_owned(),
                            at_ms,
                            to: to.clone(),
                            why: "bench".to_owned(),
                            standing: Standing::Proven,
                        });
                    }
                    pipeline.step(&Event::Tick { at_ms })
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, swap);
criterion_main!(benches);
