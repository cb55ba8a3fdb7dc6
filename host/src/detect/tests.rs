use super::*;

/// A detector that has learned values around 100.
fn learned(count: u64) -> Detector {
    let mut detector = Detector::new(DetectOptions {
        window: 1000,
        established_after: 30,
    });
    detector.series("commits_per_s").unwrap();
    for at_ms in 0..count {
        let value = [98.0, 100.0, 102.0][usize::try_from(at_ms % 3).unwrap()];
        detector.step(at_ms, &[Some(value)]);
    }
    detector
}

#[test]
fn nothing_is_anomalous_before_there_is_a_baseline() {
    let judged = learned(29).step(29, &[Some(1e6)]);
    assert_eq!((judged.alarm, judged.established), (false, false));
}

#[test]
fn four_and_forty_deviations_do_not_look_alike() {
    let confidence = |value| {
        let judged = learned(300).step(300, &[Some(value)]);
        judged.anomaly.map(|a| a.confidence)
    };
    assert_eq!(confidence(103.0), None);
    let (near, far) = (confidence(120.0).unwrap(), confidence(300.0).unwrap());
    assert!(0.5 < near && near < far && far < 1.0, "{near} {far}");
}

#[test]
fn an_incident_is_not_learned_but_a_lasting_change_is() {
    let mut detector = learned(300);
    let count = |detector: &Detector| detector.baseline("commits_per_s").unwrap().count;
    for n in 1..=ACCEPT_AFTER {
        detector.step(300, &[Some(0.0)]);
        assert_eq!(count(&detector), 300, "value {n}");
    }
    detector.step(300, &[Some(0.0)]);
    assert_eq!(count(&detector), 301);
}
