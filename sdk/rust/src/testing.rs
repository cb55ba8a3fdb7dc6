//! For a policy's native tests: what the host would answer, and events to ask about.
//!
//! The tables belong to the thread, so tests that run side by side do not meet. On WebAssembly
//! only the builders of events exist.

use crate::{
    Candidate, CascadeLevel, Context, DataLoss, EscalationLevel, Fact, Finding, Maintenance, Value,
};

/// Nothing is lost.
pub const NO_LOSS: DataLoss = DataLoss {
    commits: 0,
    rows: None,
    since_ms: None,
    percent: 0.0,
};

/// A finding of this kind with these facts: incident `i-1`, subject `main`, severity 0.5, seen
/// once at 1 000 000 ms, no candidates.
pub fn finding(kind: &str, facts: &[(&str, Value)]) -> Finding {
    Finding {
        incident: "i-1".into(),
        kind: kind.into(),
        subject: "main".into(),
        summary: kind.into(),
        severity: 0.5,
        first_seen_ms: 1_000_000,
        last_seen_ms: 1_000_000,
        sightings: 1,
        facts: facts
            .iter()
            .map(|(name, value)| Fact {
                name: (*name).into(),
                value: value.clone(),
            })
            .collect(),
        evidence: Vec::new(),
        candidates: Vec::new(),
    }
}

/// A candidate without preconditions that loses nothing and can be taken back.
pub fn candidate(id: &str, level: CascadeLevel) -> Candidate {
    Candidate {
        id: id.into(),
        summary: id.into(),
        level,
        preconditions: Vec::new(),
        expected_duration_ms: 500,
        expected_loss: NO_LOSS,
        undoable: true,
    }
}

/// A context of a SQLite database at 1 000 000 ms, level normal since 0, with these settings and nothing
/// else.
pub fn context(settings: Vec<u8>) -> Context {
    Context {
        now_ms: 1_000_000,
        target: "test".into(),
        target_kind: "sqlite".into(),
        local_time: None,
        maintenance: Maintenance {
            open: None,
            next: None,
        },
        level: EscalationLevel::Normal,
        level_since_ms: 0,
        repairs: Vec::new(),
        incidents: Vec::new(),
        constraints: Vec::new(),
        metrics: Vec::new(),
        settings,
        memory: Vec::new(),
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{baseline, latest, note, recent};
#[cfg(not(target_arch = "wasm32"))]
pub use native::{clear, notes, set_baseline, set_series};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::{cell::RefCell, collections::HashMap};

    use crate::{
        log::LogLevel,
        telemetry::{BaselineSummary, Point},
    };

    /// What the contract allows for one answer of `recent`.
    const MOST_POINTS: usize = 512;

    #[derive(Default)]
    struct Table {
        points: HashMap<String, Vec<Point>>,
        baselines: HashMap<String, BaselineSummary>,
        notes: Vec<(LogLevel, String)>,
    }

    thread_local! {
        static TABLE: RefCell<Table> = RefCell::default();
    }

    /// Sets the points of a series, oldest first.
    pub fn set_series(series: &str, points: Vec<Point>) {
        TABLE.with_borrow_mut(|table| table.points.insert(series.into(), points));
    }

    /// Sets what is normal for a series.
    pub fn set_baseline(series: &str, baseline: BaselineSummary) {
        TABLE.with_borrow_mut(|table| table.baselines.insert(series.into(), baseline));
    }

    /// Takes the notes that the policy wrote on this thread.
    pub fn notes() -> Vec<(LogLevel, String)> {
        TABLE.with_borrow_mut(|table| std::mem::take(&mut table.notes))
    }

    /// Forgets every series, baseline and note of this thread.
    pub fn clear() {
        TABLE.with_borrow_mut(|table| *table = Table::default());
    }

    pub(crate) fn note(level: LogLevel, message: &str) {
        TABLE.with_borrow_mut(|table| table.notes.push((level, message.into())));
    }

    pub(crate) fn latest(series: &str) -> Option<Point> {
        TABLE.with_borrow(|table| table.points.get(series)?.last().copied())
    }

    pub(crate) fn baseline(series: &str) -> Option<BaselineSummary> {
        TABLE.with_borrow(|table| table.baselines.get(series).copied())
    }

    pub(crate) fn recent(series: &str, limit: u32) -> Vec<Point> {
        let limit = usize::try_from(limit).map_or(MOST_POINTS, |limit| limit.min(MOST_POINTS));
        TABLE.with_borrow(|table| {
            let points = table.points.get(series).map_or(&[][..], Vec::as_slice);
            points[points.len().saturating_sub(limit)..].to_vec()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::log::{self, LogLevel};
    use crate::telemetry::{self, BaselineSummary, Point};

    #[test]
    fn notes_are_kept_until_they_are_taken() {
        super::clear();
        log::debug("fine");
        log::info("good");
        log::warn("odd");
        log::error("wrong");
        let expected = [
            (LogLevel::Debug, "fine".to_owned()),
            (LogLevel::Info, "good".to_owned()),
            (LogLevel::Warn, "odd".to_owned()),
            (LogLevel::Error, "wrong".to_owned()),
        ];
        assert_eq!(super::notes(), expected);
        assert!(super::notes().is_empty());
    }

    #[test]
    fn telemetry_answers_from_the_table() {
        super::clear();
        let points: Vec<Point> = (0..600_u32)
            .map(|i| Point {
                at_ms: u64::from(i),
                value: f64::from(i),
            })
            .collect();
        super::set_series("commits_per_s", points);
        assert_eq!(
            telemetry::latest("commits_per_s").map(|p| p.at_ms),
            Some(599)
        );
        assert_eq!(telemetry::recent("commits_per_s", 2)[0].at_ms, 598);
        assert_eq!(telemetry::recent("commits_per_s", 9_999).len(), 512);
        assert_eq!(telemetry::latest("nothing"), None);
        assert_eq!(telemetry::baseline("nothing"), None);
        assert!(telemetry::recent("nothing", 1).is_empty());
    }

    #[test]
    fn a_baseline_is_answered_until_all_is_forgotten() {
        super::clear();
        super::set_baseline(
            "commits_per_s",
            BaselineSummary {
                count: 40,
                established: true,
                median: 5.0,
                mad: 1.0,
                mean: 5.5,
                stdev: 2.0,
                p50: 5.0,
                p95: 9.0,
                p99: 10.0,
                min: 1.0,
                max: 11.0,
            },
        );
        let known = telemetry::baseline("commits_per_s");
        assert_eq!(
            known.map(|known| (known.count, known.max)),
            Some((40, 11.0))
        );
        super::clear();
        assert_eq!(telemetry::baseline("commits_per_s"), None);
    }
}
