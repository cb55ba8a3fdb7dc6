//! Alerts that are withheld for a time, because a person asked for it.

use super::carried::CarriedSilences;
use crate::model::{Attribution, Silence, SilenceScope};

/// Silences that may be in force at a time. The one that ends first makes way for a further one.
pub const MOST_SILENCES: usize = 256;

/// The silences in force.
#[derive(Debug, Default)]
pub(super) struct Silences {
    in_force: Vec<Silence>,
    /// Those that there were.
    count: u64,
}

impl Silences {
    pub(super) fn resume(carried: CarriedSilences) -> Self {
        Self {
            in_force: carried.in_force,
            count: carried.count,
        }
    }

    pub(super) fn carried(&self) -> CarriedSilences {
        CarriedSilences {
            in_force: self.in_force.clone(),
            count: self.count,
        }
    }

    /// A person asks for a silence. Hands back one that makes way for it.
    pub(super) fn add(
        &mut self,
        scope: SilenceScope,
        ends_ms: u64,
        said: &Attribution,
    ) -> (Silence, Option<Silence>) {
        let makes_way = (self.in_force.len() >= MOST_SILENCES).then(|| {
            let ends = self
                .in_force
                .iter()
                .enumerate()
                .map(|(at, one)| (one.ends_ms, at));
            let first = ends.min().map_or(0, |(_, at)| at);
            self.in_force.remove(first)
        });
        self.count += 1;
        let silence = Silence {
            id: format!("SIL-{}", self.count),
            scope,
            ends_ms,
            said: said.clone(),
            withheld: 0,
        };
        self.in_force.push(silence.clone());
        (silence, makes_way)
    }

    /// A person removes a silence.
    pub(super) fn remove(&mut self, id: &str) -> Option<Silence> {
        let at = self.in_force.iter().position(|silence| silence.id == id)?;
        Some(self.in_force.remove(at))
    }

    /// Those that are over by `at_ms`, taken out.
    pub(super) fn over(&mut self, at_ms: u64) -> Vec<Silence> {
        self.in_force
            .extract_if(.., |silence| silence.ends_ms <= at_ms)
            .collect()
    }

    /// The silence that covers an alert.
    pub(super) fn covering(
        &self,
        target: &str,
        kind: Option<&str>,
        rule: &str,
        is_crisis: bool,
    ) -> Option<&Silence> {
        let mut all = self.in_force.iter();
        all.find(|silence| silence.scope.covers(target, kind, rule, is_crisis))
    }

    /// An alert is withheld because of this silence.
    pub(super) fn withhold(&mut self, id: &str) {
        let mut all = self.in_force.iter_mut();
        if let Some(silence) = all.find(|silence| silence.id == id) {
            silence.withheld += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_ends_first_makes_way_and_numbers_are_never_used_again() {
        let mut silences = Silences::default();
        let said = Attribution::default();
        for n in 0..MOST_SILENCES as u64 {
            let ends_ms = 1_000 + (n + 7) % MOST_SILENCES as u64;
            assert_eq!(
                silences.add(SilenceScope::default(), ends_ms, &said).1,
                None
            );
        }
        let (new, gone) = silences.add(SilenceScope::default(), 5_000, &said);
        assert_eq!((new.id.as_str(), gone.unwrap().ends_ms), ("SIL-257", 1_000));
        assert_eq!(silences.remove("SIL-257").unwrap().id, "SIL-257");
        assert_eq!(silences.remove("SIL-257"), None);
        assert_eq!(
            silences.over(1_001).len(),
            1,
            "not the one that ends a moment later"
        );
        let mut silences = Silences::resume(silences.carried());
        assert_eq!(
            silences.add(SilenceScope::default(), 9, &said).0.id,
            "SIL-258"
        );
    }
}
