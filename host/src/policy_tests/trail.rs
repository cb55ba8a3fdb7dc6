//! The answers of a case, of which only those around a place that matters are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use super::About;
use super::report::{Moment, Said, Timeline};
use crate::model::{EscalationLevel, PolicyEvent, Verdict};
use crate::policy::{LogLine, PolicyFailure};

/// Answers that are shown before and after the one that matters.
const BEFORE: usize = 3;
const AFTER: usize = 2;

/// An answer of a policy, with what led to it.
#[derive(Debug)]
pub(super) struct Answer {
    /// Which one of the case, counted from 1.
    pub(super) number: u64,
    /// Which event of which story, in a few words.
    pub(super) place: String,
    /// Time since the beginning of the case, milliseconds.
    pub(super) at_ms: u64,
    pub(super) target: String,
    /// The level in force before.
    pub(super) level: EscalationLevel,
    pub(super) event: PolicyEvent,
    pub(super) verdict: Verdict,
    pub(super) failure: Option<PolicyFailure>,
    pub(super) log: Vec<LogLine>,
    /// What of it is not as the event expects.
    pub(super) wrong: Vec<String>,
}

impl Answer {
    pub(super) fn about(&self) -> About {
        match self.event {
            PolicyEvent::Finding(_) => About::Finding,
            PolicyEvent::Outcome(_) => About::Outcome,
            PolicyEvent::Tick => About::Tick,
        }
    }

    /// Incident, kind and subject; none of a tick.
    pub(super) fn names(&self) -> Option<[&str; 3]> {
        match &self.event {
            PolicyEvent::Finding(finding) => {
                Some([&finding.incident, &finding.kind, &finding.subject])
            }
            PolicyEvent::Outcome(outcome) => {
                Some([&outcome.incident, &outcome.kind, &outcome.subject])
            }
            PolicyEvent::Tick => None,
        }
    }
}

/// The latest answers.
#[derive(Debug, Default)]
pub(super) struct Trail(VecDeque<Arc<Answer>>);

impl Trail {
    pub(super) fn push(&mut self, answer: Arc<Answer>) {
        if self.0.len() > BEFORE {
            self.0.pop_front();
        }
        self.0.push_back(answer);
    }

    /// The latest answer and those before it.
    pub(super) fn here(&self) -> Around {
        Around {
            answers: self.0.iter().cloned().collect(),
            at: self.0.len().saturating_sub(1),
        }
    }
}

/// An answer that matters, and those around it.
#[derive(Debug, Clone)]
pub(super) struct Around {
    answers: Vec<Arc<Answer>>,
    at: usize,
}

impl Around {
    /// Takes up an answer that comes later.
    pub(super) fn follow(&mut self, answer: &Arc<Answer>) {
        if self.answers.len() <= self.at + AFTER {
            self.answers.push(Arc::clone(answer));
        }
    }

    /// The answer that matters.
    pub(super) fn answer(&self) -> &Arc<Answer> {
        &self.answers[self.at]
    }

    /// What is shown of it, beside the failure of this number. `expected` is what the answer that matters
    /// was to be.
    pub(super) fn timeline(&self, failure: usize, expected: &[String]) -> Timeline {
        let moments = self.answers.iter().enumerate().map(|(number, answer)| {
            let matters = number == self.at;
            let expected = if matters { expected } else { &answer.wrong };
            Moment {
                expected: expected.to_vec(),
                ..Moment::of(answer)
            }
        });
        Timeline {
            failure,
            at: self.at,
            moments: moments.collect(),
        }
    }
}

impl Moment {
    fn of(answer: &Answer) -> Self {
        let (facts, severity, candidates) = match &answer.event {
            PolicyEvent::Finding(finding) => (
                finding
                    .facts
                    .iter()
                    .map(|fact| (fact.name.clone(), fact.value.clone()))
                    .collect(),
                Some(finding.severity),
                finding
                    .candidates
                    .iter()
                    .map(|candidate| candidate.id.clone())
                    .collect(),
            ),
            PolicyEvent::Outcome(_) | PolicyEvent::Tick => Default::default(),
        };
        let [incident, kind, subject] = answer.names().map_or([const { None }; 3], |names| {
            names.map(|name| Some(name.to_owned()))
        });
        Self {
            event: answer.place.clone(),
            at_ms: answer.at_ms,
            incident,
            kind,
            subject,
            level: answer.level,
            severity,
            facts,
            candidates,
            expected: Vec::new(),
            failure: answer.failure.as_ref().map(ToString::to_string),
            said: Said::of(&answer.verdict),
            log: answer.log.clone(),
        }
    }
}
