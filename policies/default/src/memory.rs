//! What the policy carries from one event of a target to the next. Everything is bounded: the
//! oldest goes when a new one comes.

use dbmedic_policy::{EscalationLevel, fingerprint};
use serde::{Deserialize, Serialize};

/// As the specification's alert manager keeps them.
const VIOLATIONS: usize = 10;
const SENT: usize = 64;
const MITIGATED: usize = 32;
const MITIGATIONS: usize = 8;

/// The policy's memory for one target. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When something last called for watch, warn and escalate.
    evidence_ms: [u64; 3],
    /// When the condition of each alert rule last held.
    violations_ms: [Vec<u64>; 3],
    /// Alerts sent: what about, and when.
    sent: Vec<(u64, u64)>,
    /// Repairs that verified: what of, and when.
    mitigated: Vec<(u64, Vec<u64>)>,
}

/// A key for one kind of problem on one subject.
fn key(kind: &str, subject: &str) -> u64 {
    // A line break stands in neither, so no two pairs run together.
    fingerprint(&format!("{kind}\n{subject}"))
}

impl Memory {
    /// Takes what lies in the future for what was just now. The wall clock was set back since it was
    /// remembered, and nobody knows for how long: a rest begins here, and does not last until the
    /// clock is where it was.
    pub(crate) fn up_to(&mut self, now_ms: u64) {
        let seen = self.evidence_ms.iter_mut();
        let violations = self.violations_ms.iter_mut().flatten();
        let sent = self.sent.iter_mut().map(|(_, at)| at);
        let mitigated = self.mitigated.iter_mut().flat_map(|(_, times)| times);
        for at in seen.chain(violations).chain(sent).chain(mitigated) {
            *at = now_ms.min(*at);
        }
    }

    /// Something called for this level.
    pub(crate) fn saw(&mut self, level: EscalationLevel, now_ms: u64) {
        if level > EscalationLevel::Normal {
            self.evidence_ms[level as usize - 1] = now_ms;
        }
    }

    /// When something last called for this level or a higher one; 0 for never.
    pub(crate) fn last_seen_ms(&self, level: EscalationLevel) -> u64 {
        let from = (level as usize).saturating_sub(1);
        self.evidence_ms[from..].iter().copied().max().unwrap_or(0)
    }

    /// Counts a violation of an alert rule; how many lie within the window, this one included.
    pub(crate) fn violation(&mut self, rule: usize, now_ms: u64, window_ms: u64) -> usize {
        let Some(times) = self.violations_ms.get_mut(rule) else {
            return 0;
        };
        times.retain(|at| now_ms.saturating_sub(*at) <= window_ms);
        // Several events of one moment are one check.
        if times.last() != Some(&now_ms) {
            push(times, now_ms, VIOLATIONS);
        }
        times.len()
    }

    /// Whether this alert may be sent now; if so it counts as sent.
    pub(crate) fn may_send(
        &mut self,
        rule: &str,
        about: &str,
        now_ms: u64,
        cooldown_ms: u64,
    ) -> bool {
        let key = key(rule, about);
        if let Some(at) = self.sent.iter().position(|(known, _)| *known == key) {
            if now_ms.saturating_sub(self.sent[at].1) <= cooldown_ms {
                return false;
            }
            self.sent.remove(at);
        }
        push(&mut self.sent, (key, now_ms), SENT);
        true
    }

    /// A repair verified.
    pub(crate) fn mitigated(&mut self, kind: &str, subject: &str, now_ms: u64) {
        let key = key(kind, subject);
        let known = self.mitigated.iter().position(|(known, _)| *known == key);
        let (_, mut times) = known.map_or((key, Vec::new()), |at| self.mitigated.remove(at));
        push(&mut times, now_ms, MITIGATIONS);
        push(&mut self.mitigated, (key, times), MITIGATED);
    }

    /// How many repairs verified within the window.
    pub(crate) fn mitigations(
        &self,
        kind: &str,
        subject: &str,
        now_ms: u64,
        window_ms: u64,
    ) -> usize {
        let key = key(kind, subject);
        let known = self.mitigated.iter().find(|(known, _)| *known == key);
        known.map_or(0, |(_, times)| {
            let within = |at: &&u64| now_ms.saturating_sub(**at) <= window_ms;
            times.iter().filter(within).count()
        })
    }
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize) {
    while list.len() >= most {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use dbmedic_policy::EscalationLevel;

    use super::Memory;

    #[test]
    fn it_stays_small_whatever_happens() {
        let mut memory = Memory::default();
        for now in 0..10_000_u64 {
            let subject = now.to_string();
            memory.violation(0, now, u64::MAX);
            memory.may_send("rule", &subject, now, 10);
            memory.mitigated("kind", &subject, now);
            memory.mitigated("kind", "same", now);
            memory.saw(EscalationLevel::Warn, now);
        }
        // Numbers and not their names, so that none is changed unseen: they bound what the host keeps.
        assert_eq!(memory.violations_ms[0].len(), 10);
        assert_eq!(memory.sent.len(), 64);
        assert_eq!(memory.mitigated.len(), 32);
        assert_eq!(memory.mitigations("kind", "same", 9_999, u64::MAX), 8);
    }

    #[test]
    fn what_lies_in_the_future_was_just_now() {
        let mut memory = Memory::default();
        memory.saw(EscalationLevel::Warn, 9_000);
        memory.saw(EscalationLevel::Watch, 400);
        assert_eq!(memory.violation(0, 9_000, 100), 1);
        assert!(memory.may_send("rule", "a", 9_000, 500));
        memory.mitigated("kind", "a", 100);
        memory.mitigated("kind", "a", 9_000);
        // The clock was set back from 9 s to 1 s.
        memory.up_to(1_000);
        assert_eq!(memory.last_seen_ms(EscalationLevel::Warn), 1_000);
        assert_eq!(memory.evidence_ms[0], 400, "the past stays");
        assert!(!memory.may_send("rule", "a", 1_500, 500), "it rests");
        assert!(memory.may_send("rule", "a", 1_501, 500), "not for 8 s");
        assert_eq!(memory.violation(0, 1_101, 100), 1);
        assert_eq!(memory.mitigations("kind", "a", 1_500, 500), 1);
        assert_eq!(memory.mitigations("kind", "a", 1_501, 500), 0);
    }

    #[test]
    fn a_cool_down_is_about_one_thing() {
        let mut memory = Memory::default();
        assert!(memory.may_send("r", "a", 1_000, 500));
        assert!(!memory.may_send("r", "a", 1_500, 500));
        assert!(memory.may_send("r", "b", 1_500, 500));
        assert!(memory.may_send("r", "a", 1_501, 500));
    }

    #[test]
    fn mitigations_outside_the_window_do_not_count() {
        let mut memory = Memory::default();
        memory.mitigated("k", "s", 100);
        memory.mitigated("k", "s", 900);
        assert_eq!(memory.mitigations("k", "s", 1_000, 500), 1);
        assert_eq!(memory.mitigations("k", "s", 1_000, 900), 2);
        assert_eq!(memory.mitigations("k", "other", 1_000, 900), 0);
    }

    #[test]
    fn evidence_for_a_higher_level_counts_for_the_lower_ones() {
        let mut memory = Memory::default();
        memory.saw(EscalationLevel::Warn, 70);
        assert_eq!(memory.last_seen_ms(EscalationLevel::Watch), 70);
        assert_eq!(memory.last_seen_ms(EscalationLevel::Escalate), 0);
    }
}
