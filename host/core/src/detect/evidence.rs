//! What one series says of each of its values: how unusual it is, and how far it has shifted.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::normal::DEVIATIONS;
use super::season::Season;
use super::tail::{self, BothWays, Tail};
use crate::baseline::{MAD_TO_SIGMA, RANGE_90, SortedQueue};

/// Values that the reference rests on at most, and the least that its median can rest on.
const REFERENCE: u32 = 400;
const LEAST_REFERENCE: u32 = 10;

/// Values that the reference rests on at least, however short the window of its series.
const LEAST_WINDOW: u32 = 40;

/// Values of the short level and of the scatter.
const SHORT: usize = 10;

/// Values of the stillness.
const STILL: usize = 20;

/// Values of the long level.
const LONG: usize = 40;

/// Values in a row that must deviate to the same side for a shift.
const SUSTAINED: usize = 3;

/// The tail of a view: 2 % of its history, in which 5,000 values ago count for 1/e.
type ViewTail = Tail<2, 5000>;

/// One for each side.
type ViewTails = BothWays<2, 5000>;

/// The tail of the shift. Its memory is short: what has shifted for long is no news.
type ShiftTail = Tail<3, 1000>;

/// Views of a residual.
const VIEWS: f64 = 5.0;

/// The greatest say of one series in a common shift, as a natural logarithm: ten times beyond what
/// three values in a hundred reach. More says no more: the others have to join in.
const LARGEST_SHIFT: f64 = std::f64::consts::LN_10;

/// The least robust standard deviation, as a share of the median: below it a number is a constant
/// that was rounded.
const LEAST_SPREAD: f64 = 0.0003;

/// What one value says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// How unusual the series has become: the mean over five views of `-log10` of their
    /// probability.
    pub(super) unusual: f64,
    /// How unusual it became within the last three values, as a share of the most that its history can
    /// say; 0 unless all three are far from normal: a single blip of what is else constant says the
    /// most too.
    pub(super) saturation: f64,
    /// How far the last values together are beyond their usual tail, 0 to [`LARGEST_SHIFT`].
    pub(super) shift: f64,
}

/// The state of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeriesEvidence {
    recent: SortedQueue,
    season: Season,
    local: Views,
    seasonal: Option<Box<Views>>,
    /// The last robust deviations, the newest last.
    deviations: VecDeque<f64>,
    shift: ShiftTail,
    /// The last values' evidence as shares of the most that there could be.
    saturations: [f64; SUSTAINED],
}

impl SeriesEvidence {
    /// One whose references rest on no more values than its series' `window`.
    pub(super) fn new(window: usize) -> Self {
        let window = u32::try_from(window).unwrap_or(REFERENCE);
        let recent = SortedQueue::new(window.clamp(LEAST_WINDOW, REFERENCE));
        Self {
            season: Season::new(),
            local: Views::new(recent.capacity()),
            recent,
            seasonal: None,
            deviations: VecDeque::with_capacity(SUSTAINED + 1),
            shift: ShiftTail::default(),
            saturations: [0.0; SUSTAINED],
        }
    }

    /// Judges a value, then learns it.
    pub(super) fn push(&mut self, at_ms: u64, value: f64) -> Evidence {
        let expected = self.season.step(at_ms, value);
        let reference = median_and_mad(&self.recent);
        let Some((median, mad)) = reference else {
            self.recent.push(value);
            return Evidence::default();
        };
        let sustained = self.sustained(value, median, mad);
        let shift = self.shift.excess(sustained, 1.0).min(LARGEST_SHIFT);
        self.recent.push(value);
        let mut unusual = self.local.step(value - median);
        let mut rows = self.local.rows;
        if let Some(expected) = expected {
            let reference = self.recent.capacity();
            let seasonal = self
                .seasonal
                .get_or_insert_with(|| Box::new(Views::new(reference)));
            let seen = seasonal.step(value - expected);
            // The hours count once there is history enough, and where they explain more.
            if seasonal.rows >= 0.5 * self.local.rows && seasonal.error < self.local.error {
                unusual = seen;
                rows = seasonal.rows;
            }
        }
        self.saturations.rotate_left(1);
        self.saturations[SUSTAINED - 1] = unusual / tail::most(rows);
        Evidence {
            unusual,
            saturation: if sustained > DEVIATIONS {
                self.saturations.into_iter().fold(0.0, f64::max)
            } else {
                0.0
            },
            shift,
        }
    }

    /// The least of the last deviations when all are to the same side.
    fn sustained(&mut self, value: f64, median: f64, mad: f64) -> f64 {
        let least = (LEAST_SPREAD * median.abs()).max(f64::MIN_POSITIVE);
        let deviation = (value - median) / spread(&self.recent, mad, least);
        if self.deviations.len() == SUSTAINED {
            self.deviations.pop_front();
        }
        self.deviations.push_back(deviation);
        let (least, greatest) = self
            .deviations
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &z| {
                (low.min(z), high.max(z))
            });
        let sustained = if least > 0.0 {
            least
        } else {
            (-greatest).max(0.0)
        };
        sustained.min(1e12)
    }
}

/// The middle of the reference and the distance around it, once there is reference enough.
fn median_and_mad(reference: &SortedQueue) -> Option<(f64, f64)> {
    (reference.len() >= LEAST_REFERENCE).then(|| reference.median_and_mad())?
}

/// The middle of the reference, once there is reference enough.
fn median(reference: &SortedQueue) -> Option<f64> {
    (reference.len() >= LEAST_REFERENCE).then(|| reference.median())?
}

/// A robust standard deviation: from the MAD, or where more than half of the values are equal, from
/// the range of the middle nine tenths; never below `least`.
fn spread(reference: &SortedQueue, mad: f64, least: f64) -> f64 {
    let spread = MAD_TO_SIGMA * mad;
    if spread > least {
        return spread;
    }
    let at = |percent| reference.percentile(percent).unwrap_or_default();
    ((at(95.0) - at(5.0)) / RANGE_90).max(least)
}

/// Five views of one kind of residual: its size, its jump, its scatter (or stillness), its short and
/// its long level. Each is held against its own history.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Views {
    recent: VecDeque<f64>,
    reference: SortedQueue,
    size: ViewTails,
    jump: ViewTail,
    scatter: ViewTail,
    stillness: ViewTail,
    short_level: ViewTails,
    long_level: ViewTails,
    rows: f64,
    /// Mean absolute residual, exponentially weighted.
    error: f64,
}

impl Views {
    fn new(reference: u32) -> Self {
        Self {
            recent: VecDeque::with_capacity(LONG + 1),
            reference: SortedQueue::new(reference),
            size: ViewTails::default(),
            jump: ViewTail::default(),
            scatter: ViewTail::default(),
            stillness: ViewTail::default(),
            short_level: ViewTails::default(),
            long_level: ViewTails::default(),
            rows: 0.0,
            error: 0.0,
        }
    }

    /// The mean surprise of the views at this residual.
    fn step(&mut self, residual: f64) -> f64 {
        self.rows += 1.0;
        self.error += (residual.abs() - self.error) / self.rows.min(2000.0);
        let mut sum = self.size.step(residual);
        if let Some(last) = self.recent.back() {
            sum += self.jump.step((residual - last).abs());
        }
        self.recent.push_back(residual);
        if self.recent.len() > LONG
            && let Some(old) = self.recent.pop_front()
        {
            self.reference.push(old);
        }
        if self.recent.len() == LONG {
            let (short, scatter) = self.level_and_scatter(SHORT);
            let (_, still) = self.level_and_scatter(STILL);
            let (long, _) = self.level_and_scatter(LONG);
            let unit = self.error.max(f64::MIN_POSITIVE);
            // How much stiller than the residuals are large, up to a thousand times.
            let stillness = self.stillness.step(unit / (still + unit * 1e-3));
            sum += self.scatter.step(scatter).max(stillness);
            if let Some(reference) = median(&self.reference) {
                sum += self.short_level.step(short - reference);
                sum += self.long_level.step(long - reference);
            }
        }
        sum / VIEWS
    }

    /// Mean and standard deviation of the last `rows` residuals.
    #[allow(clippy::cast_precision_loss, reason = "some dozen values")]
    fn level_and_scatter(&self, rows: usize) -> (f64, f64) {
        let last = self.recent.range(self.recent.len() - rows..);
        let mean = last.clone().sum::<f64>() / rows as f64;
        let squares: f64 = last.map(|v| (v - mean) * (v - mean)).sum();
        (mean, (squares / rows as f64).sqrt())
    }
}
