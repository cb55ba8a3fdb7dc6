//! Anomalies in the pipeline: incidents of their own, surges, and what was learned before.

use dbmedic::detect::ROWS_BEFORE_ALARM;
use dbmedic::diagnose::UNEXPLAINED;
use dbmedic::model::Verbosity;
use dbmedic::pipeline::{Carried, Effect, Event, Pipeline};
use dbmedic::source::{Observation, Sample, State};

use crate::pattern::{options, policy};

const START_MS: u64 = 1_700_000_000_000;
const SECOND_MS: u64 = 1_000;

/// A pipeline and the looks that it has taken, one a second.
struct Shop {
    pipeline: Pipeline,
    looks: u64,
}

impl Shop {
    fn new(carried: Carried) -> Self {
        let pipeline = Pipeline::new(options(Some(Vec::new())), policy(), carried);
        Self { pipeline, looks: 0 }
    }

    /// One that has seen enough to judge by.
    fn learned() -> Self {
        let mut shop = Self::new(Carried::default());
        let told = shop.take(200, [1.0; 3]);
        assert!(noticed(&told).is_empty(), "{told:?}");
        shop
    }

    /// So many looks at three metrics, each at so many times its normal level; what came of each.
    fn take(&mut self, looks: u64, scale: [f64; 3]) -> Vec<Vec<Effect>> {
        let levels = [
            ("latency_ms", 40.0),
            ("queue", 8.0),
            ("error_rate_percent", 3.0),
        ];
        let looks = (0..looks).map(|_| {
            let look = self.looks;
            self.looks += 1;
            let samples = (0..)
                .zip(levels)
                .zip(scale)
                .map(|((nth, (name, level)), scale)| {
                    let wobble = (look * 7 + nth * 3 + look * look % 11) % 13;
                    let wobble = f64::from(u32::try_from(wobble).unwrap()) - 6.0;
                    Sample {
                        series: name.into(),
                        value: level * scale + level * wobble * 0.01,
                    }
                });
            self.pipeline.step(&Event::Observed(Observation {
                target: "shop".into(),
                at_ms: START_MS + look * SECOND_MS,
                samples: samples.collect(),
                snapshot_at_ms: None,
                state: State::Samples,
            }))
        });
        looks.collect()
    }
}

/// The looks, counted from 0, at which something of this kind happened.
fn at<T>(told: &[Vec<Effect>], what: impl Fn(&Effect) -> Option<T>) -> Vec<(usize, T)> {
    let looks = told.iter().enumerate();
    looks
        .flat_map(|(look, effects)| effects.iter().filter_map(&what).map(move |it| (look, it)))
        .collect()
}

fn noticed(told: &[Vec<Effect>]) -> Vec<(usize, ())> {
    at(told, |effect| {
        matches!(effect, Effect::Noticed { .. }).then_some(())
    })
}

fn opened(told: &[Vec<Effect>]) -> Vec<(usize, String)> {
    at(told, |effect| match effect {
        Effect::IncidentOpened { finding, .. } => Some(finding.kind.clone()),
        _ => None,
    })
}

fn resolved(told: &[Vec<Effect>]) -> Vec<(usize, String)> {
    at(told, |effect| match effect {
        Effect::IncidentResolved { resolved, .. } => Some(resolved.kind.clone()),
        _ => None,
    })
}

fn verbosity(told: &[Vec<Effect>]) -> Vec<(usize, Verbosity)> {
    at(told, |effect| match effect {
        Effect::VerbosityChanged { to, .. } => Some(*to),
        _ => None,
    })
}

#[test]
fn what_nothing_explains_is_an_incident_while_it_lasts() {
    let mut shop = Shop::learned();
    let told = shop.take(40, [20.0, 20.0, 1.0]);
    let onsets = noticed(&told);
    let [(onset, ())] = onsets[..] else {
        panic!("{onsets:?}");
    };
    // On its third look it is a problem of its own, and stays one.
    assert_eq!(opened(&told), [(onset + 2, UNEXPLAINED.to_owned())]);
    assert!(resolved(&told).is_empty(), "{told:?}");
    let told = shop.take(20, [1.0; 3]);
    let over = resolved(&told);
    assert!(
        matches!(&over[..], [(look, kind)] if *look < 3 && kind == UNEXPLAINED),
        "{over:?}"
    );
    assert!(
        opened(&told).is_empty() && noticed(&told).is_empty(),
        "{told:?}"
    );
}

#[test]
fn one_anomalous_look_is_noticed_and_no_incident() {
    let mut shop = Shop::learned();
    let told = shop.take(1, [20.0, 20.0, 1.0]);
    assert_eq!(noticed(&told).len(), 1);
    let told = shop.take(30, [1.0; 3]);
    assert!(opened(&told).is_empty(), "{told:?}");
}

/// More than ten anomalies of errors in a minute, section 3.3 of the specification. The policy, which
/// hears of the incident on the third look, asks for less.
#[test]
fn a_surge_of_errors_writes_everything_down_while_it_lasts() {
    let mut shop = Shop::learned();
    let told = shop.take(30, [1.0, 1.0, 20.0]);
    let [(onset, ())] = noticed(&told)[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        verbosity(&told),
        [
            (onset + 2, Verbosity::Elevated),
            (onset + 10, Verbosity::Incident)
        ]
    );
    // With ten of them or fewer in the last minute it is over.
    let told = shop.take(70, [1.0; 3]);
    let after = verbosity(&told);
    assert!(
        matches!(after[..], [(45..=55, Verbosity::Elevated), ..]),
        "{after:?}"
    );
}

/// As many anomalies, none of them of errors.
#[test]
fn a_surge_of_other_anomalies_does_not() {
    let mut shop = Shop::learned();
    let told = shop.take(30, [20.0, 20.0, 1.0]);
    let told = verbosity(&told);
    assert!(matches!(told[..], [(_, Verbosity::Elevated)]), "{told:?}");
}

#[test]
fn what_was_learned_before_is_judged_by_at_once() {
    let shop = Shop::learned();
    let mut carried = shop.pipeline.carried();
    let learned = shop.pipeline.detectors().into_iter();
    carried.detectors = learned
        .map(|(name, detector)| (name.to_owned(), detector.clone()))
        .collect();
    let established = |told: &[Vec<Effect>]| {
        at(told, |e| {
            matches!(e, Effect::BaselineEstablished { .. }).then_some(())
        })
    };

    let mut anew = Shop::new(Carried::default());
    let told = anew.take(60, [1.0; 3]);
    assert!(established(&told).is_empty());
    assert!(
        noticed(&anew.take(5, [20.0; 3])).is_empty(),
        "nobody knows yet what is normal"
    );
    let told = anew.take(15, [1.0; 3]);
    let first_judged = ROWS_BEFORE_ALARM as usize - 65;
    assert_eq!(established(&told), [(first_judged, ())]);

    let mut restored = Shop {
        looks: shop.looks,
        ..Shop::new(carried)
    };
    let told = restored.take(5, [20.0; 3]);
    assert!(established(&told).is_empty());
    assert_eq!(noticed(&told).len(), 1, "{told:?}");
}
