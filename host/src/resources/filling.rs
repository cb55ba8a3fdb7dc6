//! Whether a disk is filling up, and when it will be full. Pure.
//!
//! The slope is Theil's and Sen's: the median of the slopes between all pairs of points, which one
//! large file written or deleted does not move (Sen, "Estimates of the regression coefficient based
//! on Kendall's tau", JASA 1968). A disk counts as filling when three quarters of the pairs say so
//! (Kendall's tau of a half).

use std::collections::VecDeque;

/// Points that are kept: 20 minutes at one in 30 seconds.
const POINTS: usize = 40;
/// Points from which on a trend is told.
const LEAST_POINTS: usize = 6;
/// The share of pairs that must say that it fills.
const AGREEMENT: f64 = 0.75;
/// Later than this is not filling, as far as anybody can tell from 20 minutes: 30 days, seconds.
pub const FULL_IN_MOST_S: f64 = 30.0 * 86_400.0;

/// What a disk's free space has been.
#[derive(Debug, Clone, Default)]
pub struct Filling {
    points: VecDeque<(u64, f64)>,
}

/// What will become of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outlook {
    /// Too few points.
    Unknown,
    /// It does not fill, or so slowly that it takes more than [`FULL_IN_MOST_S`].
    NotFilling,
    /// It will be full.
    Full {
        /// In so many seconds, if it goes on like this.
        in_s: f64,
        /// How fast it fills; 0 when it is full.
        bytes_per_s: f64,
    },
}

impl Filling {
    /// Takes up a point. One that is not later than the last is left out.
    pub fn record(&mut self, at_ms: u64, free_bytes: f64) {
        if self.points.back().is_some_and(|(last, _)| at_ms <= *last) || !free_bytes.is_finite() {
            return;
        }
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back((at_ms, free_bytes));
    }

    /// Points that it rests on.
    #[cfg(test)]
    pub(super) fn points(&self) -> usize {
        self.points.len()
    }

    /// What will become of it.
    #[expect(
        clippy::cast_precision_loss,
        reason = "differences of milliseconds and numbers of pairs are small"
    )]
    pub fn outlook(&self) -> Outlook {
        let Some(&(_, free)) = self.points.back() else {
            return Outlook::Unknown;
        };
        // A disk that stays full has no slope any more.
        if free <= 0.0 {
            return Outlook::Full {
                in_s: 0.0,
                bytes_per_s: 0.0,
            };
        }
        if self.points.len() < LEAST_POINTS {
            return Outlook::Unknown;
        }
        let points = self.points.iter().enumerate();
        // Bytes that are lost in a second, between every two points.
        let mut slopes: Vec<f64> = points
            .flat_map(|(index, (then, before))| {
                let later = self.points.iter().skip(index + 1);
                later.map(move |(now, after)| (before - after) * 1000.0 / (now - then) as f64)
            })
            .collect();
        let agree = slopes.iter().filter(|slope| **slope > 0.0).count();
        if (agree as f64) < AGREEMENT * slopes.len() as f64 {
            return Outlook::NotFilling;
        }
        let middle = slopes.len() / 2;
        let (_, bytes_per_s, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
        let in_s = free / *bytes_per_s;
        if in_s > FULL_IN_MOST_S {
            Outlook::NotFilling
        } else {
            Outlook::Full {
                in_s,
                bytes_per_s: *bytes_per_s,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: f64 = 1e9;

    fn outlook(free: impl IntoIterator<Item = f64>) -> Outlook {
        let mut filling = Filling::default();
        for (at_ms, free) in (0..).step_by(30_000).zip(free) {
            filling.record(at_ms, free);
        }
        filling.outlook()
    }

    #[test]
    fn a_steady_fill_is_told_with_its_time() {
        // 1 MB/s, 30 MB a point.
        let Outlook::Full { in_s, bytes_per_s } =
            outlook((0..20).map(|n| 10.0 * GB - 3e7 * f64::from(n)))
        else {
            panic!("not filling");
        };
        assert!((bytes_per_s - 1e6).abs() < 1.0, "{bytes_per_s}");
        assert!((in_s - 9430.0).abs() < 1.0, "{in_s}");
    }

    #[test]
    fn one_large_file_is_no_trend_and_hides_none() {
        let step = (0..40).map(|n| if n < 20 { 10.0 * GB } else { 5.0 * GB });
        assert_eq!(outlook(step), Outlook::NotFilling);
        let deleted =
            (0..40).map(|n| 10.0 * GB - 3e7 * f64::from(n) + if n > 37 { 2.0 * GB } else { 0.0 });
        let Outlook::Full { bytes_per_s, .. } = outlook(deleted) else {
            panic!("not filling");
        };
        assert!((bytes_per_s - 1e6).abs() < 1e5, "{bytes_per_s}");
    }

    #[test]
    fn what_is_steady_noisy_or_growing_does_not_fill() {
        assert_eq!(outlook([10.0 * GB; 40]), Outlook::NotFilling);
        let noise = (0..40).map(|n| 10.0 * GB + 1e6 * f64::from(n * 7919 % 13));
        assert_eq!(outlook(noise), Outlook::NotFilling);
        assert_eq!(
            outlook((0..40).map(|n| GB + 1e6 * f64::from(n))),
            Outlook::NotFilling
        );
        // 1 KiB a point would take centuries.
        assert_eq!(
            outlook((0..40).map(|n| 100.0 * GB - 1024.0 * f64::from(n))),
            Outlook::NotFilling
        );
    }

    #[test]
    fn a_full_disk_is_full_now_and_few_points_say_nothing() {
        let Outlook::Full { in_s, .. } = outlook((0..10).map(|n| 9e6 - 1e6 * f64::from(n))) else {
            panic!("not filling");
        };
        assert!(in_s.abs() < 1e-9);
        // It stays full.
        let full = Outlook::Full {
            in_s: 0.0,
            bytes_per_s: 0.0,
        };
        assert_eq!(
            outlook((0..60).map(|n| (9e6 - 1e6 * f64::from(n)).max(0.0))),
            full
        );
        assert_eq!(outlook([0.0]), full);
        assert_eq!(outlook([3.0, 2.0, 1.0]), Outlook::Unknown);
        let mut filling = Filling::default();
        for _ in 0..10 {
            filling.record(5, 1.0);
        }
        assert_eq!(filling.outlook(), Outlook::Unknown);
    }
}
