use super::*;
use crate::model::{Candidate, CascadeLevel, DataLoss, Precondition, Value};

const HOLD_MS: u64 = 1_000;

fn seen(kind: &str, start_ticks: i64) -> Findings {
    let problem = Diagnosis {
        kind: kind.into(),
        subject: "orders".into(),
        summary: String::new(),
        severity: 0.5,
        facts: vec![Fact {
            name: "holder_start_ticks".into(),
            value: Value::Integer(start_ticks),
        }],
        series: &[],
        candidates: Vec::new(),
    };
    Findings {
        problems: vec![problem],
        examined: BTreeSet::from([part_of(kind)]),
    }
}

fn open_before(kind: &str) -> Incidents {
    let findings = seen(kind, 9);
    let mut before = Incidents::default();
    before.update(0, findings, None, || "INC-1".into());
    Incidents::resume(before.carried(), Vec::new(), HOLD_MS)
}

/// At which of these looks, that find nothing, what was open before is over.
fn over_at(kind: &str, looks: &[(u64, &[Part])]) -> Option<u64> {
    let mut incidents = open_before(kind);
    looks.iter().find_map(|(at_ms, examined)| {
        let findings = Findings {
            problems: Vec::new(),
            examined: examined.iter().copied().collect(),
        };
        let changes = incidents.update(*at_ms, findings, None, || unreachable!());
        (!changes.resolved.is_empty()).then_some(*at_ms)
    })
}

#[test]
fn another_process_under_the_same_number_is_another_incident() {
    for (start_ticks, expected) in [(9, 0), (10, 1)] {
        let mut incidents = open_before("lock.stale-holder");
        let findings = seen("lock.stale-holder", start_ticks);
        let changes = incidents.update(5_000, findings, None, || "INC-2".into());
        assert_eq!(changes.opened.len(), expected, "{start_ticks}");
    }
}

#[test]
fn what_an_earlier_run_left_open_is_over_when_it_would_have_shown() {
    const LOCKS: &[Part] = &[Part::Locks];
    const METRICS: &[Part] = &[Part::Metrics];
    const INDEXES: &[Part] = &[Part::Indexes];
    let looks = [(5_000, LOCKS), (5_100, INDEXES), (6_900, LOCKS)];
    assert_eq!(over_at("index.corrupt", &looks), Some(5_100));
    assert_eq!(over_at("lock.stale-holder", &looks), Some(6_900));
    // Out of reach is not looked at.
    let looks = [(5_000, &[][..]), (65_000, LOCKS), (65_900, LOCKS)];
    assert_eq!(over_at("lock.stale-holder", &looks), None);
    let looks: Vec<_> = (0..9).map(|n| (5_000 + n * 2_000, METRICS)).collect();
    assert_eq!(over_at("anomaly.unexplained", &looks), Some(11_000));
}

#[test]
fn the_policy_is_asked_at_once_when_a_repair_can_begin_that_could_not() {
    let sighting = |holds: bool| {
        let mut findings = seen("index.corrupt", 9);
        findings.problems[0].candidates = vec![Candidate {
            preconditions: vec![Precondition {
                name: "entries-proven".into(),
                holds,
                detail: String::new(),
            }],
            ..candidate("index.rebuild")
        }];
        findings
    };
    let mut incidents = Incidents::default();
    let mut look = |at_ms: u64, holds: bool, is_decided: bool| {
        incidents.update(at_ms, sighting(holds), None, || "INC-1".into());
        let is_due = incidents.is_due("INC-1", at_ms, 5_000);
        if is_decided {
            incidents.decided("INC-1", at_ms, None);
        }
        is_due
    };
    assert!(look(0, false, true), "at first sight");
    assert!(!look(20, false, false), "nothing is new");
    assert!(look(40, true, true), "a check has proven it");
    assert!(!look(60, true, false), "that was put to it");
    assert!(!look(80, false, false), "one less is not pressing");
    assert!(look(5_040, false, true), "it is time");
}

fn candidate(id: &str) -> Candidate {
    Candidate {
        id: id.into(),
        summary: String::new(),
        level: CascadeLevel::InPlace,
        preconditions: Vec::new(),
        expected_duration_ms: 0,
        expected_loss: DataLoss::NONE,
        undoable: true,
    }
}
