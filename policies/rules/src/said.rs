//! What the rules have said at one event so far, and how it becomes the answer.
//!
//! Several rules may speak. The gravest class counts, the highest level, the first repair, and every
//! reason, alert and suggestion; a rule can make the answer more cautious, never less.

use std::borrow::Cow;

use dbmedic_policy::{
    Alert, Classification, EscalationLevel, Facts as _, OpenIncident, Reason, Situation, reason,
    seconds,
};

use crate::record::{NONE, class_name, level_name};
use crate::value::Value;

/// After so much time without cause the level falls a step, where no rule says when it does.
const COME_DOWN_MS: u64 = 600_000;

/// A repair that a rule wants.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'a> {
    pub(crate) repair: Cow<'a, str>,
    pub(crate) confidence: f64,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) class: Option<Classification>,
    /// The rule that gave the class.
    pub(crate) judged_by: &'a str,
    pub(crate) level: Option<EscalationLevel>,
    /// The highest level to which a rule lets it fall.
    pub(crate) lower: Option<EscalationLevel>,
    pub(crate) wish: Option<Wish<'a>>,
    /// Whether a rule said that nothing is to be repaired.
    pub(crate) forbids: bool,
    pub(crate) needs_approval: bool,
    pub(crate) halt: bool,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) suggestions: Vec<String>,
    /// The numbers of the rules that spoke.
    pub(crate) spoke: Vec<usize>,
}

impl<'a> Said<'a> {
    pub(crate) fn spoke(&self, rule: usize) -> bool {
        self.spoke.contains(&rule)
    }

    /// The level that was called for so far.
    pub(crate) fn called(&self) -> EscalationLevel {
        self.level.unwrap_or(EscalationLevel::Normal)
    }

    fn wanted(&self) -> Option<&Wish<'a>> {
        self.wish.as_ref().filter(|_| !self.forbids)
    }

    /// As `answer` in a condition.
    pub(crate) fn field(&self, name: &str) -> Option<Value<'a>> {
        Some(match name {
            "class" => class_name(self.class).into(),
            "level" => level_name(self.called()).into(),
            "repair" => Value::Text(
                self.wanted()
                    .map_or(Cow::Borrowed(NONE), |wish| wish.repair.clone()),
            ),
            "reason" => {
                let first = self.reasons.first().map(|reason| reason.text.clone());
                Value::Text(first.unwrap_or_default().into())
            }
            _ => return None,
        })
    }

    /// Whether this class is graver than what was said before.
    pub(crate) fn classify(&mut self, class: Classification, rule: &'a str) -> bool {
        let graver = self.class < Some(class);
        if graver {
            self.class = Some(class);
            self.judged_by = rule;
        }
        graver
    }

    pub(crate) fn call_for(&mut self, level: EscalationLevel) {
        self.level = self.level.max(Some(level));
    }

    /// What the SDK says where no rule has judged a finding.
    pub(crate) fn judge_the_rest<P>(&mut self, situation: &Situation<'_, P>) {
        let Some(finding) = situation.finding() else {
            return;
        };
        if self.class.is_none() {
            self.class = Some(Classification::Wall);
            self.call_for(EscalationLevel::Escalate);
            self.reasons.push(reason!(
                "policy.not-judged",
                "this policy has no rule for {}",
                finding.kind
            ));
        }
        if self.reasons.is_empty() {
            self.reasons.push(Reason {
                rule: self.judged_by.to_owned(),
                text: finding.summary.clone(),
            });
        }
    }

    /// The repair that was wanted, if it is offered and everything that it requires holds.
    pub(crate) fn choose<P>(&mut self, situation: &Situation<'_, P>) -> Option<Wish<'a>> {
        let wish = self.wanted()?.clone();
        let finding = situation.finding()?;
        let Some(candidate) = finding.candidate(&wish.repair) else {
            self.reasons.push(reason!(
                "repair.not-offered",
                "{} would be right, but is not offered",
                wish.repair
            ));
            return None;
        };
        let before = self.reasons.len();
        for precondition in candidate.preconditions.iter().filter(|one| !one.holds) {
            self.reasons.push(reason!(
                "repair.precondition",
                "{} waits for {}: {}",
                candidate.id,
                precondition.name,
                precondition.detail
            ));
        }
        (self.reasons.len() == before).then_some(wish)
    }

    /// The level from now on. `lowers`: whether rules say when it falls.
    pub(crate) fn settle<P>(
        &mut self,
        situation: &Situation<'_, P>,
        lowers: bool,
    ) -> EscalationLevel {
        let (present, called) = (situation.context.level, self.called());
        if called >= present {
            return called;
        }
        if lowers {
            return self
                .lower
                .map_or(present, |lower| lower.min(present).max(called));
        }
        let quiet_ms = situation
            .now_ms()
            .saturating_sub(situation.context.level_since_ms);
        let kept = |open: &OpenIncident| self.keeps(open, situation);
        if quiet_ms <= COME_DOWN_MS || situation.context.incidents.iter().any(kept) {
            return present;
        }
        let below = match present {
            EscalationLevel::Escalate => EscalationLevel::Warn,
            EscalationLevel::Warn => EscalationLevel::Watch,
            EscalationLevel::Watch | EscalationLevel::Normal => EscalationLevel::Normal,
        }
        .max(called);
        self.reasons.push(reason!(
            "level.returns",
            "no cause for it for {}: from {} to {}",
            seconds(quiet_ms),
            level_name(present),
            level_name(below)
        ));
        below
    }

    /// Whether an open incident keeps the level where it is.
    fn keeps<P>(&self, open: &OpenIncident, situation: &Situation<'_, P>) -> bool {
        let own = situation
            .own_incident()
            .is_some_and(|own| own.id == open.id);
        let class = if own {
            self.class.or(open.classification)
        } else {
            open.classification
        };
        level_of(class) >= situation.context.level
    }
}

/// The level that a class calls for by itself; what nobody has classified may be anything that is not
/// worth a call yet.
pub(crate) const fn level_of(class: Option<Classification>) -> EscalationLevel {
    match class {
        Some(Classification::Hiccup) => EscalationLevel::Watch,
        Some(Classification::Obstacle) | None => EscalationLevel::Warn,
        Some(Classification::Wall | Classification::Crisis) => EscalationLevel::Escalate,
    }
}
