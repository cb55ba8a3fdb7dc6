//! Learning: one episode more.

use std::collections::BTreeMap;

use super::{Deviations, Movement, Signature};

/// Episodes of which a signature keeps the single strengths, at most.
pub const EXAMPLES: usize = 32;

impl Signature {
    /// One without any episode yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            summary: String::new(),
            episodes: 0,
            metrics: BTreeMap::new(),
        }
    }

    /// Learns from one episode more. Mean and spread come out as if all episodes had been seen at
    /// once (Welford 1962), whatever their order.
    pub fn refine(&mut self, episode: &Deviations) {
        let examples = self
            .metrics
            .values()
            .map(|m| m.seen.len())
            .max()
            .unwrap_or(0);
        let slot = slot(self.episodes, examples);
        self.episodes += 1;
        for (metric, _) in episode.iter() {
            self.metrics
                .entry(metric.to_owned())
                .or_insert_with(|| Movement {
                    episodes: 0,
                    strength: 0.0,
                    spread: 0.0,
                    seen: vec![f64::NAN; examples],
                });
        }
        for (metric, movement) in &mut self.metrics {
            let strength = episode.get(metric);
            movement.seen.resize(examples, f64::NAN);
            match slot {
                Some(at) if at == examples => movement.seen.push(strength.unwrap_or(f64::NAN)),
                Some(at) => movement.seen[at] = strength.unwrap_or(f64::NAN),
                None => {}
            }
            if let Some(strength) = strength {
                movement.add(strength);
            }
        }
    }
}

impl Movement {
    fn add(&mut self, strength: f64) {
        let before = f64::from(self.episodes);
        self.episodes += 1;
        let now = f64::from(self.episodes);
        let squares = self.spread.powi(2) * (before - 1.0).max(0.0);
        let off = strength - self.strength;
        self.strength += off / now;
        let squares = squares + off * (strength - self.strength);
        self.spread = (squares / (now - 1.0).max(1.0)).sqrt();
    }
}

/// Where the examples take up the episode with this number, if they do: a reservoir, so that late
/// episodes have the same chance as early ones (Vitter's algorithm R), by a fixed hash instead of a
/// draw, so that the same episodes give the same file.
fn slot(episode: u32, examples: usize) -> Option<usize> {
    if examples < EXAMPLES {
        return Some(examples);
    }
    let hash = u64::from(episode).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let drawn = hash % (u64::from(episode) + 1);
    usize::try_from(drawn).ok().filter(|at| *at < EXAMPLES)
}
