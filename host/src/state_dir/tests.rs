use std::fs;

use super::*;

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
