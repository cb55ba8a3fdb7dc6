//! What a policy asked telemetry during one decision, and what it was answered: with this and the
//! event, a decision can be made again where no series are.

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};

use super::Telemetry;
use crate::model::{BaselineSummary, Point};

/// Different questions of one decision that are kept.
const QUESTIONS: usize = 1024;
/// Bytes of names and points of one decision that are kept, about.
const BYTES: usize = 1 << 20;

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// The latest point of a series.
    Latest {
        /// The series.
        series: String,
        /// What it was told.
        answer: Option<Point>,
    },
    /// What is normal for a series.
    Baseline {
        /// The series.
        series: String,
        /// What it was told.
        answer: Option<BaselineSummary>,
    },
    /// The latest points of a series.
    Recent {
        /// The series.
        series: String,
        /// How many at most.
        limit: usize,
        /// What it was told.
        answer: Vec<Point>,
    },
}

impl Heard {
    fn is_of(&self, question: &Question<'_>) -> bool {
        match (self, question) {
            (Self::Latest { series, .. }, Question::Latest(asked))
            | (Self::Baseline { series, .. }, Question::Baseline(asked)) => series == asked,
            (Self::Recent { series, limit, .. }, Question::Recent(asked, most)) => {
                series == asked && limit == most
            }
            _ => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Latest { series, .. } | Self::Baseline { series, .. } => 128 + series.len(),
            Self::Recent { series, answer, .. } => 64 + series.len() + 16 * answer.len(),
        }
    }
}

enum Question<'a> {
    Latest(&'a str),
    Baseline(&'a str),
    Recent(&'a str, usize),
}

/// Everything that was asked during one decision.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeardTelemetry {
    /// Each question once, in the order of asking.
    pub heard: Vec<Heard>,
    /// Whether more was asked than is kept.
    pub cut: bool,
}

/// Telemetry that takes down what it is asked. Within one decision the same question has the same
/// answer.
#[derive(Debug, Default)]
pub struct Overheard<T> {
    inner: T,
    heard: RefCell<Vec<Heard>>,
    bytes: Cell<usize>,
    cut: Cell<bool>,
}

impl<T: Telemetry> Overheard<T> {
    /// Begins to listen.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            heard: RefCell::default(),
            bytes: Cell::new(0),
            cut: Cell::new(false),
        }
    }

    /// What was listened to, and what was heard.
    pub fn finish(self) -> (T, HeardTelemetry) {
        let heard = HeardTelemetry {
            heard: self.heard.into_inner(),
            cut: self.cut.get(),
        };
        (self.inner, heard)
    }

    fn note(&self, question: &Question<'_>, heard: impl FnOnce() -> Heard) {
        let mut all = self.heard.borrow_mut();
        if all.iter().any(|known| known.is_of(question)) {
            return;
        }
        let heard = heard();
        let bytes = self.bytes.get() + heard.bytes();
        if all.len() < QUESTIONS && bytes <= BYTES {
            self.bytes.set(bytes);
            all.push(heard);
        } else {
            self.cut.set(true);
        }
    }
}

impl<T: Telemetry> Telemetry for Overheard<T> {
    fn latest(&self, series: &str) -> Option<Point> {
        let answer = self.inner.latest(series);
        self.note(&Question::Latest(series), || Heard::Latest {
            series: series.to_owned(),
            answer,
        });
        answer
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        let answer = self.inner.baseline(series);
        self.note(&Question::Baseline(series), || Heard::Baseline {
            series: series.to_owned(),
            answer,
        });
        answer
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        let answer = self.inner.recent(series, limit);
        self.note(&Question::Recent(series, limit), || Heard::Recent {
            series: series.to_owned(),
            limit,
            answer: answer.clone(),
        });
        answer
    }
}

/// Telemetry that answers as it was heard once, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Retold {
    heard: Vec<Heard>,
    missed: Cell<bool>,
}

impl Retold {
    /// With these answers.
    pub fn new(heard: Vec<Heard>) -> Self {
        Self {
            heard,
            missed: Cell::new(false),
        }
    }

    /// Whether it was asked something since the last call of this that it never heard; the answer
    /// was that there is no such series.
    pub fn missed(&self) -> bool {
        self.missed.replace(false)
    }

    fn find(&self, question: &Question<'_>) -> Option<&Heard> {
        let found = self.heard.iter().find(|heard| heard.is_of(question));
        if found.is_none() {
            self.missed.set(true);
        }
        found
    }
}

impl Telemetry for Retold {
    fn latest(&self, series: &str) -> Option<Point> {
        match self.find(&Question::Latest(series)) {
            Some(Heard::Latest { answer, .. }) => *answer,
            _ => None,
        }
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        match self.find(&Question::Baseline(series)) {
            Some(Heard::Baseline { answer, .. }) => *answer,
            _ => None,
        }
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        match self.find(&Question::Recent(series, limit)) {
            Some(Heard::Recent { answer, .. }) => answer.clone(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Ramp;

    impl Telemetry for Ramp {
        fn latest(&self, series: &str) -> Option<Point> {
            (series == "ramp").then_some(Point {
                at_ms: 9,
                value: 9.0,
            })
        }

        fn baseline(&self, _series: &str) -> Option<BaselineSummary> {
            None
        }

        fn recent(&self, _series: &str, limit: usize) -> Vec<Point> {
            (0..limit as u64)
                .map(|at_ms| Point { at_ms, value: 1.0 })
                .collect()
        }
    }

    #[test]
    fn what_was_heard_is_told_again() {
        let listening = Overheard::new(Ramp);
        let latest = listening.latest("ramp");
        assert_eq!(listening.latest("ramp"), latest);
        let recent = listening.recent("ramp", 3);
        assert_eq!(listening.baseline("none"), None);
        let (_, heard) = listening.finish();
        assert_eq!(heard.heard.len(), 3, "each question once");
        assert!(!heard.cut);
        let retold = Retold::new(heard.heard);
        assert_eq!(retold.latest("ramp"), latest);
        assert_eq!(retold.recent("ramp", 3), recent);
        assert_eq!(retold.baseline("none"), None);
        assert!(!retold.missed(), "a series that was not there was heard of");
        assert!(retold.recent("ramp", 4).is_empty());
        assert!(retold.missed());
        assert!(!retold.missed(), "asked for anew");
    }

    #[test]
    fn a_policy_that_asks_without_end_is_cut_off() {
        let listening = Overheard::new(Ramp);
        for limit in 0..5000 {
            listening.recent("ramp", limit % 512 + 1);
            listening.latest(&format!("series {limit}"));
        }
        let (_, heard) = listening.finish();
        assert!(heard.cut);
        assert!(heard.heard.len() <= QUESTIONS);
        assert!(heard.heard.iter().map(Heard::bytes).sum::<usize>() <= BYTES);
    }
}
