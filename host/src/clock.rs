//! The wall clock, for the drivers alone: everything else gets its time in events.
//!
//! What is due, how long something took and which event came first hang on times that rise, and a
//! wall clock may be set back. So the time told here never runs backwards: where the wall clock was
//! set back it goes on from where it was, as fast as time passes but for a hundredth, until the
//! wall clock has caught up. Where the wall clock was set forward it follows at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Of the time that passes this part is given up while the wall clock is behind: an hour is caught
/// up with in four days, and what is counted by the second is not wrong by more than 1 %.
const CATCH_UP: u32 = 100;

/// A wall clock that was set back by less is not told of: it is adjusted all the time.
const LEAST_TOLD: Duration = Duration::from_secs(1);

/// What was told last, and when that was.
struct Told {
    since_epoch: Duration,
    at: Instant,
    /// How far the wall clock was behind it.
    behind: Duration,
}

impl Told {
    /// Goes on to what is to be told when so much time has passed and the wall clock says `wall`.
    /// Returns how far the wall clock was set back meanwhile, if it is worth a word.
    fn go_on(&mut self, wall: Duration, passed: Duration) -> Option<Duration> {
        let expected = self.since_epoch.saturating_add(passed);
        let behind = expected.saturating_sub(wall);
        let set_back = behind.saturating_sub(self.behind);
        let given_up = behind.min(passed / CATCH_UP);
        self.since_epoch = wall.max(expected.saturating_sub(given_up));
        self.behind = behind.saturating_sub(given_up);
        (set_back >= LEAST_TOLD).then_some(set_back)
    }
}

/// Milliseconds since the Unix epoch; never less than what this process was told before.
#[allow(
    clippy::disallowed_methods,
    reason = "the live driver is where time enters"
)]
pub fn now_ms() -> u64 {
    static TOLD: Mutex<Option<Told>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let at = Instant::now();
    let told = told.get_or_insert(Told {
        since_epoch: wall,
        at,
        behind: Duration::ZERO,
    });
    let passed = at.saturating_duration_since(std::mem::replace(&mut told.at, at));
    if let Some(set_back) = told.go_on(wall, passed) {
        tracing::warn!(
            "the clock was set back by {} s; the times that are told go on from where they were",
            set_back.as_secs()
        );
    }
    u64::try_from(told.since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const TICK: Duration = Duration::from_millis(100);

    fn told_at(since_epoch: Duration) -> Told {
        Told {
            since_epoch,
            at: Instant::now(),
            behind: Duration::ZERO,
        }
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up_and_is_told_once() {
        let mut told = told_at(HOUR * 100);
        let mut wall = HOUR * 99;
        let mut set_back = Vec::new();
        for _ in 0..36_000 {
            let before = told.since_epoch;
            wall += TICK;
            set_back.extend(told.go_on(wall, TICK));
            assert_eq!(told.since_epoch, before + TICK * 99 / 100);
        }
        assert_eq!(set_back, [HOUR]);
        // Ninety-nine hours later the wall clock has caught up.
        for _ in 0..99 {
            wall += HOUR;
            assert_eq!(told.go_on(wall, HOUR), None);
        }
        assert_eq!(told.since_epoch, wall);
        assert_eq!(told.behind, Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_and_one_that_trembles_too() {
        let mut told = told_at(HOUR);
        assert_eq!(told.go_on(HOUR * 2, TICK), None);
        assert_eq!(told.since_epoch, HOUR * 2);
        let mut wall = HOUR * 2;
        for n in 0..1000_u32 {
            let before = told.since_epoch;
            wall += TICK;
            let trembling = wall + Duration::from_micros(u64::from(n * 7919 % 500));
            assert_eq!(told.go_on(trembling, TICK), None);
            assert!(told.since_epoch > before);
            assert!(told.since_epoch < wall + Duration::from_millis(1));
        }
    }

    #[test]
    fn the_time_rises_in_all_threads() {
        let rising = || (0..1000).map(|_| now_ms()).is_sorted();
        std::thread::scope(|scope| {
            let threads = [scope.spawn(rising), scope.spawn(rising)];
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
    }
}
