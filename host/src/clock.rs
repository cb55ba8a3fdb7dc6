//! The clocks, for the drivers alone: everything else gets its time in events.
//!
//! Ages, what is due and which event came first hang on times that rise as fast as time passes, and
//! a wall clock is set forward and back. So the time of events is the wall clock as it was when this
//! process began, plus what has passed since, a suspended machine's sleep included
//! (`CLOCK_BOOTTIME`). A wall clock that is set meanwhile changes none of it; people are told.
//!
//! What outlives the process is dated by a [`Moment`]: within one boot of the machine its age is
//! exact, whatever became of the wall clock.

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A wall clock that was set by less is not reported: it is adjusted all the time.
const LEAST_REPORTED: Duration = Duration::from_secs(1);

/// The wall clock and the time since boot, read together when this process first asked.
#[derive(Debug, Clone, Copy)]
struct Start {
    wall: Duration,
    since_boot: Duration,
}

/// Milliseconds since the Unix epoch, as events carry them: they rise as fast as time passes, also
/// when the wall clock is set.
pub fn now_ms() -> u64 {
    milliseconds(steady(since_boot()))
}

/// Milliseconds since the Unix epoch by the wall clock as it is now: for what people read and what
/// other processes compare.
pub fn wall_ms() -> u64 {
    milliseconds(wall())
}

/// Milliseconds since the machine was booted, its sleep included: what two processes can compare.
pub fn boot_ms() -> u64 {
    milliseconds(since_boot())
}

/// The time of events, as [`now_ms`], at a moment that lies so long after the boot of the machine.
pub fn ms_at_boot_ms(boot_ms: u64) -> u64 {
    milliseconds(steady(Duration::from_millis(boot_ms)))
}

fn steady(since_boot: Duration) -> Duration {
    let start = start();
    start
        .wall
        .saturating_add(since_boot.saturating_sub(start.since_boot))
}

fn start() -> Start {
    static START: OnceLock<Start> = OnceLock::new();
    *START.get_or_init(|| Start {
        wall: wall(),
        since_boot: since_boot(),
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the live driver is where time enters"
)]
fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How far the wall clock is from the time of events, to be asked now and then. Reports each time
/// that it was set, once.
#[derive(Debug, Default)]
pub struct WallClock {
    ahead_ms: i64,
}

impl WallClock {
    /// How far the wall clock was set since the last time, milliseconds: forward is positive.
    pub fn was_set(&mut self) -> Option<i64> {
        let since_boot = since_boot();
        self.compare(wall(), steady(since_boot))
    }

    fn compare(&mut self, wall: Duration, steady: Duration) -> Option<i64> {
        let ahead_ms = i64::try_from(milliseconds(wall))
            .unwrap_or(i64::MAX)
            .saturating_sub(i64::try_from(milliseconds(steady)).unwrap_or(i64::MAX));
        let by = ahead_ms.saturating_sub(self.ahead_ms);
        if u128::from(by.unsigned_abs()) < LEAST_REPORTED.as_millis() {
            return None;
        }
        self.ahead_ms = ahead_ms;
        Some(by)
    }
}

/// A moment that outlives the process that noted it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the wall clock of then, milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The boot of the machine in which it lay (`/proc/sys/kernel/random/boot_id`); empty when that
    /// is not known.
    #[serde(default)]
    pub boot: String,
    /// How long after that boot, milliseconds, a suspended machine's sleep included.
    #[serde(default)]
    pub since_boot_ms: u64,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self {
            wall_ms: wall_ms(),
            boot: boot_id().to_owned(),
            since_boot_ms: milliseconds(since_boot()),
        }
    }

    /// How long ago it was, milliseconds: exact within one boot, by the wall clock otherwise; none
    /// when by that it lies in the future, so that nobody knows.
    pub fn age_ms(&self) -> Option<u64> {
        self.age_at(&Self::now())
    }

    fn age_at(&self, now: &Self) -> Option<u64> {
        if !self.boot.is_empty() && self.boot == now.boot {
            return now.since_boot_ms.checked_sub(self.since_boot_ms);
        }
        now.wall_ms.checked_sub(self.wall_ms)
    }
}

/// The time of events and the machine's clocks, noted together in a file that the next run reads: by
/// it that run knows how long ago the times in the file were, whatever became of the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeMark {
    /// By the time of events, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The same by the machine's clocks.
    pub moment: Moment,
}

impl TimeMark {
    /// This moment.
    pub fn now() -> Self {
        Self {
            at_ms: now_ms(),
            moment: Moment::now(),
        }
    }

    /// By how much the times that were noted with this mark are to be moved, milliseconds, so that
    /// each is as long ago by the time of events as it is in truth; forward is positive.
    ///
    /// Within one boot of the machine that is exact. Where the wall clock lies before the mark and
    /// the machine was started meanwhile, nobody knows how much time has passed: it counts as none,
    /// so that no rest and no budget is over too early.
    pub fn offset_ms(&self) -> i64 {
        self.offset_at(&Self::now())
    }

    fn offset_at(&self, now: &Self) -> i64 {
        let passed_ms = self.moment.age_at(&now.moment).unwrap_or(0);
        let by_then = i128::from(self.at_ms) + i128::from(passed_ms);
        let offset = i128::from(now.at_ms) - by_then;
        if offset.unsigned_abs() < LEAST_REPORTED.as_millis() {
            return 0;
        }
        i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
    }
}

fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

/// What a person reads of a wall clock that was set; none when it was not set since the last time.
pub fn wall_clock_note() -> Option<String> {
    static WALL: Mutex<WallClock> = Mutex::new(WallClock { ahead_ms: 0 });
    let by = WALL
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .was_set()?;
    let way = if by < 0 { "back" } else { "forward" };
    Some(format!(
        "the wall clock was set {way} by {:.0} s; ages and intervals are not affected, times in this run go on from where they were",
        Duration::from_millis(by.unsigned_abs()).as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn the_time_rises_in_all_threads_and_with_the_time_since_boot() {
        let rising = || (0..1000).map(|_| now_ms()).is_sorted();
        std::thread::scope(|scope| {
            let threads = [scope.spawn(rising), scope.spawn(rising)];
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
        let (before, boot) = (now_ms(), since_boot());
        std::thread::sleep(Duration::from_millis(20));
        let passed = since_boot().saturating_sub(boot).as_millis();
        let told = u128::from(now_ms() - before);
        assert!(told >= 20 && told <= passed + 20, "{told} in {passed} ms");
    }

    #[test]
    fn a_wall_clock_that_is_set_is_reported_once_in_each_direction() {
        let mut clock = WallClock::default();
        let mut steady = HOUR * 100;
        assert_eq!(clock.compare(steady, steady), None);
        steady += HOUR;
        assert_eq!(clock.compare(steady + HOUR, steady), Some(3_600_000));
        assert_eq!(clock.compare(steady + HOUR, steady), None);
        let slewed = Duration::from_millis(900);
        assert_eq!(clock.compare(steady + HOUR + slewed, steady), None);
        let set_back = steady.checked_sub(HOUR).unwrap();
        assert_eq!(clock.compare(set_back, steady), Some(-7_200_000));
        assert_eq!(clock.compare(set_back, steady), None);
    }

    fn moment(wall_ms: u64, boot: &str, since_boot_ms: u64) -> Moment {
        Moment {
            wall_ms,
            boot: boot.into(),
            since_boot_ms,
        }
    }

    #[test]
    fn an_age_within_a_boot_is_exact_whatever_the_wall_clock_says() {
        let taken = moment(5_000_000, "a", 1_000);
        for wall_ms in [0, 5_000_500, 9_000_000] {
            assert_eq!(taken.age_at(&moment(wall_ms, "a", 1_500)), Some(500));
        }
        assert_eq!(taken.age_at(&moment(0, "a", 999)), None);
        assert_eq!(taken.age_at(&moment(5_000_700, "b", 1)), Some(700));
        assert_eq!(taken.age_at(&moment(4_999_999, "b", 1)), None, "the future");
        let old = moment(5_000_000, "", 0);
        assert_eq!(old.age_at(&moment(5_000_001, "", 7)), Some(1));
        assert!(Moment::now().age_ms().unwrap() < 1_000);
    }

    #[test]
    fn times_of_an_earlier_run_are_moved_by_what_the_wall_clock_was() {
        let mark = |at_ms, wall_ms, boot: &str, since_boot_ms| TimeMark {
            at_ms,
            moment: moment(wall_ms, boot, since_boot_ms),
        };
        let noted = mark(50 * HOUR_MS, 50 * HOUR_MS, "a", 1_000);
        // Half a second later, in a run that began with another wall clock.
        for (now_ms, offset_ms) in [
            (50 * HOUR_MS + 500, 0),
            (51 * HOUR_MS + 500, 3_600_000),
            (49 * HOUR_MS + 500, -3_600_000),
            (50 * HOUR_MS + 1_499, 0),
            (50 * HOUR_MS + 1_500, 1_000),
        ] {
            let now = mark(now_ms, now_ms, "a", 1_500);
            assert_eq!(noted.offset_at(&now), offset_ms, "{now:?}");
        }
        // It was set while the earlier run went on: that run's times stayed where they were.
        let set_meanwhile = mark(50 * HOUR_MS, 51 * HOUR_MS, "a", 1_000);
        let now = mark(51 * HOUR_MS + 500, 51 * HOUR_MS + 500, "a", 1_500);
        assert_eq!(set_meanwhile.offset_at(&now), 3_600_000);
        // The machine was started meanwhile: what the wall clock says, if that can be.
        let now = mark(52 * HOUR_MS, 52 * HOUR_MS, "b", 10);
        assert_eq!(noted.offset_at(&now), 0);
        assert_eq!(set_meanwhile.offset_at(&now), 3_600_000);
        let now = mark(HOUR_MS, HOUR_MS, "b", 10);
        assert_eq!(noted.offset_at(&now), -49 * 3_600_000, "no time has passed");
        // Whatever stands in a file.
        let now = mark(u64::MAX, 0, "a", 0);
        assert_eq!(mark(0, 0, "a", 0).offset_at(&now), i64::MAX);
        assert_eq!(now.offset_at(&mark(0, 0, "a", u64::MAX)), i64::MIN);
        assert_eq!(TimeMark::now().offset_ms(), 0);
    }
}
