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
use dbmedic::gate::{Candidate, Held, Tested, Trust, Workshop};
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions, TargetOptions, only_default};
use dbmedic::policy::{CacheLimits, CompiledCache, Limits, Policy, Runtime, Standing};
use dbmedic::signing::{self, Comment, Hashed, Password, TrustedKey, Verified};

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");
const TARGETS: usize = 16;

fn pipeline(policy: Policy) -> Pipeline {
    let target = || TargetOptions {
        kind: dbmedic::model::sqlite(),
        policies: only_default(),
        mode: Mode::Observe,
        diagnose: DiagnoseOptions {
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
            sample_interval_ms: 1000,
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

/// A workshop that knows the default policy, signed.
struct Known {
    workshop: Workshop,
    signature: Arc<[u8]>,
    keys: [TrustedKey; 1],
    _dir: tempfile::TempDir,
}

impl Known {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = signing::generate(&Password::None).unwrap();
        let comment = Comment {
            sha256: Some(signing::sha256(DEFAULT)),
            ..Comment::default()
        };
        let signature = signing::sign(DEFAULT, &comment, &keys.secret).unwrap();
        let key = TrustedKey {
            name: "bench".into(),
            key: keys.key,
            expires_ms: None,
        };
        let cache = CompiledCache::open(dir.path(), CacheLimits::default()).unwrap();
        let trust = Trust {
            require_signature: true,
            keys: vec![key.clone()],
        };
        let runtime = Runtime::new(Limits::default()).unwrap();
        Self {
            workshop: Workshop::new(runtime, Some(Arc::new(cache)), trust),
            signature: signature.into_bytes().into(),
            keys: [key],
            _dir: dir,
        }
    }

    fn prepare(&self) -> Tested {
        let candidate = Candidate {
            component: Hashed::new(black_box(DEFAULT)),
            signature: Some(Arc::clone(&self.signature)),
            cases: Arc::default(),
        };
        self.workshop
            .prepare(&candidate, &[], Held::Now(1), &mut |_| {})
            .unwrap()
    }

    fn verify(&self) -> Verified {
        Verified::signed(black_box(DEFAULT), Some(&self.signature), &self.keys, 1).unwrap()
    }

    fn prepare_verified(&self, verified: &Verified) -> Tested {
        self.workshop
            .prepare_verified(verified, &[], &mut |_| {})
            .unwrap()
    }
}

/// How soon a candidate is ready whose code is in the cache.
fn ready(criterion: &mut Criterion) {
    let known = Known::new();
    // Digest, authentication of the code, contract, description and settings; the signature was found
    // good before, as it is when a policy comes back.
    known.prepare();
    criterion.bench_function("ready from the file's bytes, signature known", |bencher| {
        bencher.iter(|| known.prepare());
    });
    criterion.bench_function("ready from the file's bytes, signature new", |bencher| {
        bencher.iter(|| known.prepare_verified(&known.verify()));
    });
    criterion.bench_function("of that, the digest", |bencher| {
        bencher.iter(|| Hashed::new(black_box(DEFAULT)));
    });
    criterion.bench_function("of that, the digest and the new signature", |bencher| {
        bencher.iter(|| known.verify());
    });
    let verified = known.verify();
    criterion.bench_function("of that, from the cache to ready", |bencher| {
        bencher.iter(|| known.prepare_verified(black_box(&verified)));
    });
}

/// How long a swap holds decisions up.
fn swap(criterion: &mut Criterion) {
    let known = Known::new();
    let policy = known.prepare().policy().clone();
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
                || swaps.then(|| known.prepare()),
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

criterion_group!(benches, ready, swap);
criterion_main!(benches);
