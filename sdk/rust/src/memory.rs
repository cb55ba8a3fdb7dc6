//! Pieces of memory that policies need again and again. All are bounded: the oldest goes when a new one
//! comes.
//!
//! A wall clock may be set back. What then lies in the future is taken for what was just now.

use serde::{Deserialize, Serialize};

use crate::fingerprint;

/// What each of them remembers at most.
const MOST: usize = 64;

/// When each of several things last happened, so that none happens again too soon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CoolDown {
    /// The fingerprint of what happened, and when.
    last: Vec<(u64, u64)>,
}

impl CoolDown {
    /// Whether it may happen now: it never did, or at least `pause_ms` ago. If so, it counts as done.
    pub fn ready(&mut self, what: &str, now_ms: u64, pause_ms: u64) -> bool {
        let key = fingerprint(what);
        let known = self.last.iter().position(|(known, _)| *known == key);
        if let Some(at) = known {
            let last_ms = &mut self.last[at].1;
            *last_ms = now_ms.min(*last_ms);
            if now_ms - *last_ms < pause_ms {
                return false;
            }
            self.last.remove(at);
        }
        push(&mut self.last, (key, now_ms));
        true
    }
}

/// Counts how often something happened within the latest time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    times: Vec<u64>,
}

impl Window {
    /// It happened now.
    pub fn add(&mut self, now_ms: u64) {
        push(&mut self.times, now_ms);
    }

    /// How often it happened within the last `span_ms`; 64 at most.
    pub fn count(&self, now_ms: u64, span_ms: u64) -> usize {
        let within = |at: &&u64| now_ms.saturating_sub(**at) <= span_ms;
        self.times.iter().filter(within).count()
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    while list.len() >= MOST {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::{CoolDown, MOST, Window};

    #[test]
    fn a_thing_rests_for_its_pause_and_no_other_does() {
        let mut rest = CoolDown::default();
        assert!(rest.ready("a", 1_000, 500));
        assert!(!rest.ready("a", 1_499, 500));
        assert!(rest.ready("b", 1_499, 500));
        assert!(rest.ready("a", 1_500, 500));
        assert!(!rest.ready("a", 1_500, 500));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_pause_again() {
        let mut rest = CoolDown::default();
        assert!(rest.ready("a", 9_000, 500));
        assert!(!rest.ready("a", 1_000, 500));
        assert!(rest.ready("a", 1_500, 500));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rest = CoolDown::default();
        let mut window = Window::default();
        for at in 0..200 {
            assert!(rest.ready(&at.to_string(), at, 10));
            window.add(at);
        }
        assert_eq!(rest.last.len(), MOST);
        assert_eq!(window.count(199, 1_000), MOST);
        assert_eq!((window.count(199, 9), window.count(0, 9)), (10, MOST));
    }
}
