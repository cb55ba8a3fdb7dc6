//! Strengths, learning, files and ranking, on made-up episodes.

use super::*;

fn seen(strengths: &[(&str, f64)]) -> Deviations {
    strengths
        .iter()
        .map(|(n, s)| ((*n).to_owned(), *s))
        .collect()
}

/// An episode of a trouble with some noise by number.
fn episode(number: u32) -> Deviations {
    let noise = f64::from(number * 7 % 5) * 0.1 - 0.2;
    seen(&[
        ("locks", 3.0 + noise),
        ("commits", -1.5 + noise),
        ("users", 0.1 * noise),
    ])
}

fn learned(name: &str, episodes: &[Deviations]) -> Signature {
    let mut signature = Signature::new(name);
    for episode in episodes {
        signature.refine(episode);
    }
    signature
}

#[test]
fn strength_does_not_depend_on_the_unit() {
    let normal = [10.0, 11.0, 9.0, 10.0, 12.0, 10.0];
    let abnormal = [30.0, 33.0, 29.0, 31.0];
    let scaled = |by: f64, values: &[f64]| values.iter().map(|v| v * by).collect::<Vec<_>>();
    let plain = strength(&normal, &abnormal).unwrap();
    let bytes = strength(
        &scaled(1_048_576.0, &normal),
        &scaled(1_048_576.0, &abnormal),
    )
    .unwrap();
    assert!(
        plain > 1.0 && (plain - bytes).abs() < 1e-9,
        "{plain} {bytes}"
    );
}

#[test]
fn strength_says_which_way_and_how_far() {
    let normal = [100.0, 103.0, 98.0, 101.0, 99.0, 102.0];
    let at = |level: f64| strength(&normal, &[level; 12]).unwrap();
    assert!(at(101.0).abs() < 0.2);
    assert!(at(150.0) > 1.0 && at(50.0) < -1.0);
    assert!(
        at(400.0) > at(150.0) + 1.0,
        "4 and 40 deviations look alike"
    );
    assert!(at(f64::MAX / 4.0) <= 150.0_f64.ln_1p());
}

#[test]
fn constants_gaps_and_too_few_rows() {
    assert_eq!(strength(&[0.0; 6], &[0.0; 6]), Some(0.0));
    assert!(strength(&[0.0; 6], &[5.0; 6]).unwrap() > 2.5);
    // An event in three of twelve rows is less than a level.
    let rare = [0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 7.0, 0.0];
    assert!(strength(&[0.0; 6], &rare).unwrap() < 1.5);
    assert_eq!(strength(&[1.0, 2.0], &[1.0]), None);
    assert_eq!(strength(&[1.0, 2.0, f64::NAN], &[1.0]), None);
    assert_eq!(strength(&[1.0; 6], &[f64::NAN]), None);
}

#[test]
fn learning_in_parts_is_learning_at_once() {
    let episodes: Vec<Deviations> = (0..40).map(episode).collect();
    let whole = learned("locks", &episodes);
    let mut parts = learned("locks", &episodes[..13]);
    for part in &episodes[13..] {
        parts.refine(part);
    }
    assert_eq!(parts, whole);
    assert_eq!(whole.episodes, 40);
    let locks = &whole.metrics["locks"];
    assert_eq!(locks.seen.len(), EXAMPLES);
    let mean = (0..40)
        .map(|n| episode(n).get("locks").unwrap())
        .sum::<f64>()
        / 40.0;
    assert!((locks.strength - mean).abs() < 1e-9);
    assert!((locks.spread - 0.143).abs() < 0.01, "{}", locks.spread);
}

#[test]
fn a_metric_that_comes_and_goes_keeps_its_place() {
    let mut signature = learned("locks", &[episode(0), episode(1)]);
    signature.refine(&seen(&[("locks", 3.0), ("late", 1.0)]));
    let late = &signature.metrics["late"];
    assert_eq!((late.episodes, late.strength, late.seen.len()), (1, 1.0, 3));
    assert!(late.seen[0].is_nan() && late.seen[1].is_nan());
    assert_eq!(signature.metrics["commits"].episodes, 2);
    assert!(signature.metrics["commits"].seen[2].is_nan());
    let read = parse(&render(&signature), "locks.toml").unwrap();
    assert_eq!(read.metrics["late"].episodes, 1);
    assert_eq!(read.metrics["commits"].episodes, 2);
}

#[test]
fn a_file_tells_what_was_learned() {
    let mut signature = learned("locks", &[episode(0), episode(1), episode(2)]);
    signature.summary = "somebody \"holds\" a lock".into();
    let text = render(&signature);
    let read = parse(&text, "locks.toml").unwrap();
    assert_eq!(render(&read), text);
    assert_eq!((read.name.as_str(), read.episodes), ("locks", 3));
    assert_eq!(read.summary, signature.summary);
    let first = text.lines().find(|l| l.contains("moves")).unwrap();
    assert!(
        first.starts_with("locks = { moves = \"up\", strength = 3"),
        "{first}"
    );
}

#[test]
fn damaged_files_are_told_by_file_and_line() {
    let good = render(&learned("locks", &[episode(0), episode(1)]));
    let cases = [
        ("", "a.toml:1: no `version`; write `version = 1`"),
        ("version = 2\n", "a.toml:1: version 2 of signature files"),
        ("version = 1\nname = [\n", "a.toml:"),
        (
            &good.replace("strength =", "strenth ="),
            "did you mean `strength`?",
        ),
        (
            &good.replace("episodes = 2", "epsiodes = 2"),
            "did you mean `episodes`?",
        ),
        (
            &good.replace("moves = \"up\"", "moves = \"sideways\""),
            "sideways",
        ),
        (
            &good.replacen("strength = ", "strength = -", 1),
            "`moves` says which way",
        ),
        (
            &good.replacen("seen = [", "seen = [1.0, ", 1),
            "as long for every metric",
        ),
        (
            &good.replace("\"locks\"", "\"../locks\""),
            "cannot be a signature's name",
        ),
        (
            "version = 1\nname = \"a\"\n[metrics]\n",
            "a.toml:3: no metric",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text, "a.toml").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{text}");
        assert!(error.starts_with("a.toml:"), "{error}");
    }
}

#[test]
fn the_right_one_is_ranked_first_and_nothing_is_none() {
    let other = |n: u32| {
        seen(&[
            ("locks", 0.1),
            ("commits", 2.0 + f64::from(n % 3) * 0.2),
            ("users", 2.0),
        ])
    };
    let known = Signatures::new(vec![
        learned("locks", &(0..9).map(episode).collect::<Vec<_>>()),
        learned("spike", &(0..9).map(other).collect::<Vec<_>>()),
    ]);
    let ranking = known.rank(&episode(11));
    assert_eq!(ranking.diagnosis().map(|m| m.name.as_str()), Some("locks"));
    assert_eq!(ranking.matches[0].evidence[0].metric, "locks");
    assert_eq!(
        known.rank(&other(11)).diagnosis().map(|m| m.name.as_str()),
        Some("spike")
    );
    // Nothing moves; everything moves another way; nothing is known of what moves.
    for odd in [
        seen(&[("locks", 0.0), ("commits", 0.1), ("users", -0.1)]),
        seen(&[("locks", -3.0), ("commits", 0.0), ("users", -3.0)]),
        seen(&[("m00", 4.0), ("m01", -4.0)]),
        seen(&[]),
    ] {
        let ranking = known.rank(&odd);
        assert_eq!(ranking.diagnosis(), None, "{odd:?} {ranking:?}");
    }
}

#[test]
fn probabilities_are_a_share_of_one() {
    let known = Signatures::new(vec![learned("locks", &[episode(0), episode(3)])]);
    for strengths in [
        episode(1),
        seen(&[("locks", 1.0), ("threads_running", 2.0)]),
        seen(&[]),
    ] {
        let ranking = known.rank(&strengths);
        let sum: f64 = ranking.matches.iter().map(|m| m.confidence).sum();
        assert!((sum + ranking.none - 1.0).abs() < 1e-9, "{ranking:?}");
        assert!(ranking.matches.iter().all(|m| m.confidence >= 0.0));
        assert_eq!(ranking.matches.len(), 1 + built_in().len());
    }
}

#[test]
fn a_thousand_shared_metrics_are_compared_by_those_that_move() {
    let name = |n: usize| format!("metric_{n:04}");
    // Each trouble moves metrics of its own among a thousand that hardly move.
    let trouble = |first: usize, number: u32| -> Deviations {
        let strengths = (0..1000_usize).map(|n| {
            let noise = f64::from(u32::try_from(n).unwrap() * 7 % 5 + number) * 0.02 - 0.05;
            let moved = (first..first + 10).contains(&n);
            (name(n), if moved { 3.0 + noise } else { noise })
        });
        strengths.collect()
    };
    let signatures: Vec<Signature> = (0..8)
        .map(|k| {
            let episodes: Vec<_> = (0..4).map(|number| trouble(k * 100, number)).collect();
            learned(&format!("trouble-{k}"), &episodes)
        })
        .collect();
    let known = Signatures::new(signatures).without_built_in();
    let ranking = known.rank(&trouble(300, 5));
    let best = ranking.diagnosis().unwrap();
    assert_eq!(best.name, "trouble-3", "{ranking:?}");
    let moved: Vec<String> = (300..310).map(name).collect();
    let told = best.evidence.iter();
    assert!(told.clone().count() > 0 && told.clone().all(|e| moved.contains(&e.metric)));
    let seen = trouble(300, 5);
    let compared = rank::compared(known.learned(), &seen);
    assert_eq!(compared.len(), rank::COMPARED);
    let compared: Vec<&str> = compared.into_iter().map(|(name, _)| name).collect();
    assert!(compared.is_sorted() && moved.iter().all(|m| compared.contains(&m.as_str())));
    // Where nothing that a signature expects has moved, it is none of them.
    assert_eq!(known.rank(&trouble(950, 5)).diagnosis(), None);
}
