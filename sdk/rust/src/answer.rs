//! The verdict while it is being made.

use crate::{
    Alert, Classification, EscalationLevel, Reason, Urgency, Verbosity, Verdict, blob, reason,
};

/// A verdict in the making. It begins as the cautious one: no repair, no halt, the level as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    verdict: Verdict,
    /// The highest level that something called for.
    asked: EscalationLevel,
    verbosity: Option<Verbosity>,
}

impl Answer {
    /// An answer that leaves everything as it is.
    pub fn at(level: EscalationLevel) -> Self {
        Self {
            verdict: Verdict {
                classification: None,
                level,
                repair: None,
                needs_approval: false,
                halt: false,
                confidence: 0.0,
                verbosity: Verbosity::Normal,
                alerts: Vec::new(),
                reasons: Vec::new(),
                suggestions: Vec::new(),
                memory: Vec::new(),
            },
            asked: EscalationLevel::Normal,
            verbosity: None,
        }
    }

    /// The answer so far.
    pub fn so_far(&self) -> &Verdict {
        &self.verdict
    }

    /// Says what the problem means.
    pub fn classify(&mut self, classification: Classification) -> &mut Self {
        self.verdict.classification = Some(classification);
        self
    }

    /// Sets the level from now on.
    pub fn level(&mut self, level: EscalationLevel) -> &mut Self {
        self.verdict.level = level;
        self
    }

    /// Sets the level to this one unless it is higher already.
    pub fn at_least(&mut self, level: EscalationLevel) -> &mut Self {
        self.asked = self.asked.max(level);
        self.verdict.level = self.verdict.level.max(level);
        self
    }

    /// The highest level that [`Answer::at_least`] was called with; normal without a call.
    pub fn asked(&self) -> EscalationLevel {
        self.asked
    }

    /// Chooses a repair; `confidence` says how sure the choice is, 0 to 1.
    pub fn repair(&mut self, candidate: &str, confidence: f64) -> &mut Self {
        self.verdict.repair = Some(candidate.into());
        self.verdict.confidence = confidence;
        self
    }

    /// Has the chosen repair wait until a person answered, whatever the host's mode. The policy is then
    /// asked again: [`Situation::approvals`](crate::Situation::approvals) says who approved.
    pub fn needs_approval(&mut self) -> &mut Self {
        self.verdict.needs_approval = true;
        self
    }

    /// Chooses no repair after all.
    pub fn no_repair(&mut self) -> &mut Self {
        self.verdict.repair = None;
        self.verdict.needs_approval = false;
        self.verdict.confidence = 0.0;
        self
    }

    /// Stops: no repair may touch the target until a person releases it.
    pub fn halt(&mut self) -> &mut Self {
        self.verdict.halt = true;
        self.no_repair()
    }

    /// Sets how much to write down; without it the level says: escalate writes everything, watch
    /// and warn write detailed context.
    pub fn verbosity(&mut self, verbosity: Verbosity) -> &mut Self {
        self.verbosity = Some(verbosity);
        self
    }

    /// Adds a reason; the weightiest comes first.
    pub fn because(&mut self, reason: Reason) -> &mut Self {
        self.verdict.reasons.push(reason);
        self
    }

    /// Tells people.
    pub fn alert(&mut self, rule: &str, urgency: Urgency, message: String) -> &mut Self {
        self.verdict.alerts.push(Alert {
            rule: rule.into(),
            urgency,
            message,
        });
        self
    }

    /// Suggests something to a person, once.
    pub fn suggest(&mut self, suggestion: &str) -> &mut Self {
        if !self.verdict.suggestions.iter().any(|s| s == suggestion) {
            self.verdict.suggestions.push(suggestion.into());
        }
        self
    }

    /// The verdict, with what is to be remembered. A memory over the contract's limit is dropped
    /// with a reason: to forget is safe, to fail over bookkeeping is not.
    pub(crate) fn finish(mut self, memory: Option<Vec<u8>>) -> Verdict {
        let by_level = match self.verdict.level {
            EscalationLevel::Normal => Verbosity::Normal,
            EscalationLevel::Watch | EscalationLevel::Warn => Verbosity::Elevated,
            EscalationLevel::Escalate => Verbosity::Incident,
        };
        self.verdict.verbosity = self.verbosity.unwrap_or(by_level);
        match memory {
            Some(memory) => self.verdict.memory = memory,
            None => self.verdict.reasons.push(reason!(
                "memory.too-large",
                "the policy's memory exceeds {} bytes and was dropped",
                blob::LIMIT_BYTES
            )),
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use crate::{EscalationLevel, Verbosity};

    #[test]
    fn an_answer_begins_without_a_repair_and_goes_back_to_it() {
        let mut answer = Answer::at(EscalationLevel::Watch);
        let begun = answer.so_far().clone();
        assert_eq!((begun.repair.clone(), begun.halt), (None, false));
        assert!(begun.confidence.abs() < f64::EPSILON);
        answer.repair("r", 0.5).needs_approval();
        assert!(answer.so_far().needs_approval);
        answer.no_repair();
        assert_eq!(*answer.so_far(), begun);
        answer.repair("r", 0.5).halt();
        assert_eq!(
            (answer.so_far().halt, &answer.so_far().repair),
            (true, &None)
        );
    }

    #[test]
    fn the_level_says_how_much_is_written_unless_the_policy_does() {
        let at = |level| Answer::at(level).finish(Some(Vec::new())).verbosity;
        assert_eq!(at(EscalationLevel::Normal), Verbosity::Normal);
        assert_eq!(at(EscalationLevel::Watch), Verbosity::Elevated);
        assert_eq!(at(EscalationLevel::Warn), Verbosity::Elevated);
        assert_eq!(at(EscalationLevel::Escalate), Verbosity::Incident);
        let mut answer = Answer::at(EscalationLevel::Escalate);
        answer.verbosity(Verbosity::Normal);
        assert_eq!(answer.finish(None).verbosity, Verbosity::Normal);
    }

    #[test]
    fn the_same_is_suggested_once() {
        let mut answer = Answer::at(EscalationLevel::Normal);
        answer.suggest("first").suggest("second").suggest("first");
        assert_eq!(answer.so_far().suggestions, ["first", "second"]);
    }
}
