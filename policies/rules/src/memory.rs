//! What the rules carry from one event of a target to the next. Everything is bounded: the oldest goes
//! when a new one comes.

use dbmedic_policy::EscalationLevel;
use serde::{Deserialize, Serialize};

use crate::check::MOST_COUNTED;

/// Rules and problems that are remembered.
const MOST_KEYS: usize = 128;
/// Moments that are remembered, of all of them together.
const MOST_MOMENTS: usize = 1_024;

/// The memory for one target. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When a rule last called for watch, warn and escalate.
    called_ms: [u64; 3],
    /// When which rule spoke about what; what spoke last stands last.
    spoken: Vec<Spoken>,
}

/// When one rule spoke about one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Spoken {
    key: u64,
    times_ms: Vec<u64>,
}

impl Memory {
    /// Takes what lies in the future for what was just now. The wall clock was set back since it was
    /// remembered, and nobody knows for how long.
    pub(crate) fn up_to(&mut self, now_ms: u64) {
        let spoken = self.spoken.iter_mut().flat_map(|one| &mut one.times_ms);
        for at in self.called_ms.iter_mut().chain(spoken) {
            *at = now_ms.min(*at);
        }
    }

    /// Something called for this level.
    pub(crate) fn called(&mut self, level: EscalationLevel, now_ms: u64) {
        if level > EscalationLevel::Normal {
            self.called_ms[level as usize - 1] = now_ms;
        }
    }

    /// When something last called for this level or a higher one; 0 for never.
    pub(crate) fn called_ms(&self, level: EscalationLevel) -> u64 {
        let from = (level as usize).saturating_sub(1);
        self.called_ms[from..].iter().copied().max().unwrap_or(0)
    }

    /// A rule spoke; the latest `most` moments are kept. Several events of one moment are one.
    pub(crate) fn spoke(&mut self, key: u64, now_ms: u64, most: usize) {
        let known = self.spoken.iter().position(|one| one.key == key);
        let mut one = known.map_or_else(
            || Spoken {
                key,
                times_ms: Vec::new(),
            },
            |at| self.spoken.remove(at),
        );
        if one.times_ms.last() != Some(&now_ms) {
            one.times_ms.push(now_ms);
        }
        let most = most.min(usize::try_from(MOST_COUNTED).unwrap_or(1));
        let surplus = one.times_ms.len().saturating_sub(most);
        one.times_ms.drain(..surplus);
        self.spoken.push(one);
        let mut moments: usize = self.spoken.iter().map(|one| one.times_ms.len()).sum();
        while self.spoken.len() > MOST_KEYS || moments > MOST_MOMENTS {
            moments -= self.spoken.remove(0).times_ms.len();
        }
    }

    /// At how many moments within a span a rule spoke.
    pub(crate) fn count(&self, key: u64, now_ms: u64, span_ms: u64) -> usize {
        let known = self.spoken.iter().find(|one| one.key == key);
        known.map_or(0, |one| {
            let within = |at: &&u64| now_ms.saturating_sub(**at) <= span_ms;
            one.times_ms.iter().filter(within).count()
        })
    }

    /// When a rule last spoke.
    pub(crate) fn last_ms(&self, key: u64) -> Option<u64> {
        let known = self.spoken.iter().find(|one| one.key == key)?;
        known.times_ms.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use dbmedic_policy::EscalationLevel;

    use super::Memory;

    #[test]
    fn it_stays_small_whatever_happens() {
        let mut memory = Memory::default();
        for now in 0..10_000_u64 {
            memory.spoke(now, now, 32);
            memory.spoke(7, now, 32);
            memory.spoke(now % 100, now, 32);
            memory.called(EscalationLevel::Warn, now);
        }
        // Numbers and not their names, so that none is changed unseen: they bound what the host keeps.
        assert_eq!(memory.spoken.len(), 128);
        assert_eq!(memory.count(7, 9_999, u64::MAX), 32);
        let mut memory = Memory::default();
        for now in 0..64_u64 {
            for key in 0..100 {
                memory.spoke(key, now, 32);
            }
        }
        let moments: usize = memory.spoken.iter().map(|one| one.times_ms.len()).sum();
        assert!((1_000..=1_024).contains(&moments), "{moments}");
    }

    #[test]
    fn what_lies_in_the_future_was_just_now() {
        let mut memory = Memory::default();
        memory.called(EscalationLevel::Warn, 9_000);
        memory.spoke(1, 9_000, 32);
        memory.spoke(2, 400, 32);
        memory.up_to(1_000);
        assert_eq!(memory.called_ms(EscalationLevel::Warn), 1_000);
        assert_eq!(memory.last_ms(1), Some(1_000));
        assert_eq!(memory.last_ms(2), Some(400), "the past stays");
    }

    #[test]
    fn a_higher_level_counts_for_the_lower_ones() {
        let mut memory = Memory::default();
        memory.called(EscalationLevel::Warn, 70);
        memory.called(EscalationLevel::Normal, 90);
        assert_eq!(memory.called_ms(EscalationLevel::Watch), 70);
        assert_eq!(memory.called_ms(EscalationLevel::Escalate), 0);
    }

    #[test]
    fn one_moment_counts_once_and_a_span_has_an_end() {
        let mut memory = Memory::default();
        for at in [100, 100, 900] {
            memory.spoke(1, at, 32);
        }
        assert_eq!(memory.count(1, 1_000, 900), 2);
        assert_eq!(memory.count(1, 1_000, 899), 1);
        assert_eq!(memory.count(2, 1_000, 900), 0);
    }
}
