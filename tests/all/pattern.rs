//! Anomalies compared with the signatures: what a finding says of it, and at replay.

use std::path::Path;

use dbmedic::assemble::DEFAULT_POLICY;
use dbmedic::diagnose::UNEXPLAINED;
use dbmedic::model::{Anomaly, DetectionMethod, Finding, Value};
use dbmedic::pipeline::{self, Carried, Effect, Event, Pipeline, PipelineOptions};
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::recording::{RecordingError, RecordingReader, RecordingWriter};
use dbmedic::replay::replay;
use dbmedic::signature::{Deviations, Signature};
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, Sample, State};
use dbmedic_tests::{observed, recording_header};

/// Looks before the trouble, and looks of it.
const CALM: u32 = 200;
const TROUBLE: u32 = 12;

/// A metric: its name, its normal level, and its level in a trouble.
type Metric = (&'static str, f64, f64);

/// What the built-in `lock-contention` describes, by the names of `MySQL`.
const LOCKS: &[Metric] = &[
    ("innodb_row_lock_waits", 2.0, 60.0),
    ("innodb_row_lock_time", 5.0, 120.0),
    ("threads_running", 8.0, 40.0),
    ("com_commit", 100.0, 60.0),
    ("questions", 400.0, 240.0),
    ("innodb_rows_updated", 200.0, 120.0),
    ("cpu_user", 40.0, 25.0),
    ("query_p99", 20.0, 120.0),
];

/// Nothing that any role knows.
const ODD: &[Metric] = &[
    ("umbrellas_sold", 20.0, 400.0),
    ("tea_cups", 100.0, 3.0),
    ("swans", 7.0, 90.0),
];

pub(crate) fn policy() -> Policy {
    let runtime = Runtime::new(Limits::default()).unwrap();
    runtime
        .load(&Verified::built_in(DEFAULT_POLICY), &[])
        .unwrap()
}

/// A pipeline of one target, `shop`, that is only observed.
pub(crate) fn options(signatures: Option<Vec<Signature>>) -> PipelineOptions {
    PipelineOptions {
        signatures,
        ..observed("shop")
    }
}

fn looks(metrics: &[Metric]) -> impl Iterator<Item = Event> {
    (0..CALM + TROUBLE).map(move |look| {
        let samples = (0..).zip(metrics).map(|(nth, (name, normal, trouble))| {
            let wobble = f64::from((look * 7 + nth * 3 + look * look % 11) % 13) - 6.0;
            let level = if look < CALM { normal } else { trouble };
            Sample {
                series: (*name).into(),
                value: level + normal * wobble * 0.01,
            }
        });
        Event::Observed(Observation {
            target: "shop".into(),
            at_ms: 1_700_000_000_000 + u64::from(look) * 1000,
            samples: samples.collect(),
            snapshot_at_ms: None,
            state: State::Samples,
        })
    })
}

/// What a run told of its anomaly: as it was noticed, and as a finding when it was decided last.
fn told(options: PipelineOptions, metrics: &[Metric], record: &Path) -> (Anomaly, Finding) {
    told_of(options, looks(metrics), record)
}

fn told_of(
    options: PipelineOptions,
    events: impl Iterator<Item = Event>,
    record: &Path,
) -> (Anomaly, Finding) {
    let policy = policy();
    let header = recording_header(&policy, Vec::new(), Limits::default(), options.clone());
    let mut writer = RecordingWriter::create(record, &header).unwrap();
    let mut pipeline = Pipeline::new(options, policy, Carried::default());
    let (mut noticed, mut found) = (None, None);
    for event in events {
        let effects = pipeline.step(&event);
        writer.write(&event, &effects).unwrap();
        for effect in effects {
            match effect {
                Effect::Noticed { anomaly, .. } => noticed = Some(anomaly),
                Effect::Decided(pipeline::Decided {
                    finding: Some(finding),
                    ..
                }) => found = Some(finding),
                _ => {}
            }
        }
    }
    drop(writer);
    let noticed = noticed.expect("an anomaly");
    let found = found.expect("a finding");
    assert_eq!(found.kind, UNEXPLAINED);
    (noticed, found)
}

fn pattern_score(anomaly: &Anomaly) -> Option<f64> {
    let mut scores = anomaly.scores.iter();
    let said = scores.find(|s| s.method == DetectionMethod::Pattern)?;
    Some(said.score)
}

fn fact<'a>(finding: &'a Finding, name: &str) -> Option<&'a Value> {
    let fact = finding.facts.iter().find(|fact| fact.name == name)?;
    Some(&fact.value)
}

fn probability(finding: &Finding, name: &str) -> f64 {
    match fact(finding, name) {
        Some(Value::Number(p)) => *p,
        other => panic!("{name}: {other:?}"),
    }
}

/// A learned signature of something else, one of its metrics not measured in each episode.
fn learned() -> Signature {
    let mut signature = Signature::new("full-moon");
    for with_tide in [true, false, true] {
        let tide = with_tide.then(|| ("tide_m".to_owned(), 3.0));
        let seen = [("wolves".to_owned(), 2.5)].into_iter().chain(tide);
        signature.refine(&seen.collect::<Deviations>());
    }
    signature
}

#[test]
fn a_known_trouble_is_named_with_its_confidence() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("rec.jsonl");
    let (anomaly, finding) = told(options(Some(Vec::new())), LOCKS, &record);
    let score = pattern_score(&anomaly).unwrap();
    assert!(score >= 0.5, "{anomaly:?}");
    let reason = format!("looks like `lock-contention` ({score:.2})");
    assert!(anomaly.reasons.contains(&reason), "{anomaly:?}");

    let best = fact(&finding, "signature_best");
    assert_eq!(best, Some(&Value::Text("lock-contention".into())));
    let (best, second, none) = (
        probability(&finding, "signature_confidence"),
        probability(&finding, "signature_second_confidence"),
        probability(&finding, "signature_none"),
    );
    assert!(best >= 0.5 && second < best, "{finding:?}");
    assert!(best + second + none <= 1.0 + 1e-9, "{finding:?}");
    let named = "this looks like `lock-contention` (";
    assert!(finding.summary.starts_with(named), "{}", finding.summary);
}

#[test]
fn what_fits_nothing_is_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("rec.jsonl");
    let (anomaly, finding) = told(options(Some(vec![learned()])), ODD, &record);
    assert_eq!(pattern_score(&anomaly), Some(0.0));
    assert!(
        anomaly
            .reasons
            .iter()
            .all(|r| !r.starts_with("looks like "))
    );
    assert_eq!(fact(&finding, "signature_best"), None);
    assert_eq!(fact(&finding, "signature_second"), None);
    assert!(probability(&finding, "signature_none") > 0.5, "{finding:?}");
}

#[test]
fn without_signatures_nothing_is_compared_and_old_headers_read() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("rec.jsonl");
    let (anomaly, finding) = told(options(None), LOCKS, &record);
    assert_eq!(pattern_score(&anomaly), None);
    let mut facts = finding.facts.iter();
    assert!(facts.all(|fact| !fact.name.starts_with("signature_")));
    assert!(
        !std::fs::read_to_string(&record)
            .unwrap()
            .contains("signature")
    );
    assert_eq!(differing(&record), 0);
}

/// A trouble learned here is recognised at replay from the recording alone.
#[test]
fn the_signatures_in_force_are_part_of_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("rec.jsonl");
    let (_, finding) = told(options(Some(vec![learned(), odd()])), ODD, &record);
    let best = fact(&finding, "signature_best");
    assert_eq!(best, Some(&Value::Text("rain".into())), "{finding:?}");
    assert_eq!(differing(&record), 0);
}

/// Learned while dbmedic ran, it is recognised from then on, and at replay.
#[test]
fn what_is_learned_later_is_part_of_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("rec.jsonl");
    let mut events: Vec<Event> = looks(ODD).collect();
    let calm = CALM as usize / 2;
    let Event::Observed(Observation { at_ms, .. }) = events[calm] else {
        panic!("{:?}", events[calm]);
    };
    // In the place of a look, so that there are as many events.
    events[calm] = Event::SignaturesLearned {
        at_ms,
        signatures: vec![learned(), odd()],
    };
    let (_, finding) = told_of(options(Some(Vec::new())), events.into_iter(), &record);
    let best = fact(&finding, "signature_best");
    assert_eq!(best, Some(&Value::Text("rain".into())), "{finding:?}");
    assert_eq!(differing(&record), 0);
}

/// What [`ODD`] does, learned.
fn odd() -> Signature {
    let mut odd = Signature::new("rain");
    for scale in [1.0, 0.9, 1.1] {
        let seen = ODD.iter().map(|(name, normal, trouble)| {
            let strength = if trouble > normal { 4.8 } else { -2.4 };
            ((*name).to_owned(), strength * scale)
        });
        odd.refine(&seen.collect::<Deviations>());
    }
    odd
}

/// Events whose effects differ at replay.
fn differing(record: &Path) -> u64 {
    let reader = RecordingReader::open(record).unwrap();
    let none = |_: &str, _: &_| Ok(None);
    let summary = replay::<RecordingError>(reader, policy(), none, |_, _| Ok(())).unwrap();
    assert_eq!(summary.events, u64::from(CALM + TROUBLE));
    summary.differing_events
}
