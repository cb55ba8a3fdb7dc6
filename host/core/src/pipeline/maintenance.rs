//! The maintenance windows of one target: those that a person opens, and those of the configuration,
//! which the driver computes and hands over with their beginnings and ends.

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::model::{Attribution, Maintenance, MaintenanceWindow};

/// The name of a window that a person opened.
const COMMAND: &str = "command";

/// Ends of one window that differ by less are the same one: a wall clock that is adjusted moves them.
const SAME_MS: u64 = 1_000;

/// What is carried of a target's maintenance from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedMaintenance {
    /// The window that a person opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commanded: Option<MaintenanceWindow>,
    /// When a person closed what was open, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_ms: Option<u64>,
    /// Alerts that were withheld in the window that is open.
    #[serde(default)]
    pub withheld: u64,
}

impl CarriedMaintenance {
    /// Whether there is nothing to carry.
    pub fn is_none(&self) -> bool {
        self.commanded.is_none() && self.stopped_ms.is_none() && self.withheld == 0
    }

    pub(super) fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        if let Some(window) = &mut self.commanded {
            window.begins_ms = window.begins_ms.saturating_add_signed(by_ms).min(now_ms);
            window.ends_ms = window.ends_ms.saturating_add_signed(by_ms);
        }
        if let Some(stopped_ms) = &mut self.stopped_ms {
            *stopped_ms = stopped_ms.saturating_add_signed(by_ms).min(now_ms);
        }
    }
}

/// The windows of one target.
#[derive(Debug, Default)]
pub(super) struct Windows {
    carried: CarriedMaintenance,
    /// Those of the configuration that are open or come next.
    planned: Vec<MaintenanceWindow>,
    /// The window that was told to be open.
    told: Option<MaintenanceWindow>,
    /// The latest time that was heard of: a look that began before a window opened is judged after it, and
    /// must not find it closed.
    latest_ms: u64,
}

impl Windows {
    pub(super) fn resume(carried: CarriedMaintenance) -> Self {
        Self {
            // An earlier run told it.
            told: carried.commanded.clone(),
            carried,
            planned: Vec::new(),
            latest_ms: 0,
        }
    }

    pub(super) fn carried(&self) -> CarriedMaintenance {
        self.carried.clone()
    }

    /// The windows of the configuration from now on.
    pub(super) fn plan(&mut self, planned: Vec<MaintenanceWindow>) {
        self.planned = planned;
    }

    /// A person opens a window, in the place of one that a person opened before.
    pub(super) fn start(&mut self, ends_ms: u64, allow_repairs: bool, said: &Attribution) {
        self.latest_ms = self.latest_ms.max(said.at_ms);
        self.carried.commanded = Some(MaintenanceWindow {
            name: COMMAND.to_owned(),
            begins_ms: said.at_ms,
            ends_ms,
            allow_repairs,
            by: Some(said.by.clone()),
            reason: said.note.clone(),
        });
    }

    /// A person closes what is open. What the configuration opens later is not concerned.
    pub(super) fn stop(&mut self, at_ms: u64) {
        self.carried.commanded = None;
        self.carried.stopped_ms = Some(at_ms);
    }

    /// An alert is withheld because of the window that is open.
    pub(super) fn withhold(&mut self) {
        self.carried.withheld += 1;
    }

    /// The window that is open. Of several one that forbids repairs, and of these the one that ends last.
    pub(super) fn open(&self, at_ms: u64) -> Option<&MaintenanceWindow> {
        let at_ms = at_ms.max(self.latest_ms);
        let is_stopped = |window: &MaintenanceWindow| {
            let stopped_ms = self.carried.stopped_ms;
            stopped_ms.is_some_and(|stopped_ms| window.begins_ms <= stopped_ms)
        };
        let planned = self.planned.iter().filter(|window| !is_stopped(window));
        let all = self.carried.commanded.iter().chain(planned);
        all.filter(|window| window.begins_ms <= at_ms && at_ms < window.ends_ms)
            .max_by_key(|window| (!window.allow_repairs, window.ends_ms))
    }

    /// What is open, and what comes next.
    pub(super) fn state(&self, at_ms: u64) -> Maintenance {
        let coming = self
            .planned
            .iter()
            .filter(|window| window.begins_ms > at_ms);
        Maintenance {
            open: self.open(at_ms).cloned(),
            next: coming.min_by_key(|window| window.begins_ms).cloned(),
        }
    }

    /// Why no repair may begin, in one line for a person; none when one may.
    pub(super) fn objection(&self, at_ms: u64) -> Option<String> {
        let open = self.open(at_ms)?;
        (!open.allow_repairs).then(|| open.to_string())
    }

    /// What changed by `at_ms`: which window is open now, or that none is any more.
    pub(super) fn turn(&mut self, target: &str, at_ms: u64) -> Option<Effect> {
        self.latest_ms = self.latest_ms.max(at_ms);
        let is_over = |window: &MaintenanceWindow| window.ends_ms <= at_ms;
        if self.carried.commanded.as_ref().is_some_and(is_over) {
            self.carried.commanded = None;
        }
        let now = self.open(at_ms).cloned();
        let effect = match (&self.told, &now) {
            (None, None) => return None,
            (Some(told), Some(now)) if is_same(told, now) => return None,
            (_, Some(now)) => Effect::MaintenanceBegan {
                target: target.to_owned(),
                window: now.clone(),
            },
            (Some(told), None) => Effect::MaintenanceEnded {
                target: target.to_owned(),
                window: told.clone(),
                withheld: std::mem::take(&mut self.carried.withheld),
            },
        };
        self.told = now;
        Some(effect)
    }

    /// Whether nothing was ever said or planned, so that nothing can change.
    pub(super) fn is_idle(&self) -> bool {
        self.carried.commanded.is_none() && self.planned.is_empty() && self.told.is_none()
    }
}

fn is_same(one: &MaintenanceWindow, other: &MaintenanceWindow) -> bool {
    one.name == other.name
        && one.allow_repairs == other.allow_repairs
        && one.by == other.by
        && one.reason == other.reason
        && one.ends_ms.abs_diff(other.ends_ms) < SAME_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(name: &str, begins_ms: u64, ends_ms: u64, allow_repairs: bool) -> MaintenanceWindow {
        MaintenanceWindow {
            name: name.into(),
            begins_ms,
            ends_ms,
            allow_repairs,
            by: None,
            reason: None,
        }
    }

    fn said(at_ms: u64) -> Attribution {
        Attribution {
            by: "alice".into(),
            at_ms,
            note: Some("new disks".into()),
        }
    }

    fn open(windows: &Windows, at_ms: u64) -> Option<&str> {
        windows.open(at_ms).map(|window| window.name.as_str())
    }

    #[test]
    fn a_window_is_open_from_its_beginning_until_right_before_its_end() {
        let mut windows = Windows::default();
        assert!(windows.is_idle() && windows.turn("shop", 0).is_none());
        windows.plan(vec![
            window("backup", 100, 200, false),
            window("backup", 700, 800, false),
        ]);
        for (at_ms, expected) in [
            (99, None),
            (100, Some("backup")),
            (199, Some("backup")),
            (200, None),
        ] {
            assert_eq!(open(&windows, at_ms), expected, "{at_ms}");
        }
        let next = |at_ms| windows.state(at_ms).next.map(|window| window.begins_ms);
        assert_eq!(
            (next(99), next(100), next(700)),
            (Some(100), Some(700), None)
        );
    }

    #[test]
    fn of_several_windows_one_that_forbids_repairs_counts() {
        let mut windows = Windows::default();
        windows.plan(vec![
            window("light", 0, 900, true),
            window("short", 0, 300, false),
            window("long", 0, 500, false),
        ]);
        assert_eq!(open(&windows, 10), Some("long"));
        assert!(windows.objection(10).is_some());
        assert_eq!(open(&windows, 600), Some("light"));
        assert_eq!(windows.objection(600), None);
    }

    #[test]
    fn each_change_is_told_once() {
        let mut windows = Windows::default();
        windows.start(1_000_000, false, &said(100));
        assert!(matches!(
            windows.turn("shop", 100),
            Some(Effect::MaintenanceBegan { .. })
        ));
        assert_eq!(windows.turn("shop", 200), None);
        // As long as it may: another end is another window.
        windows.start(3_000_000, false, &said(300));
        assert!(matches!(
            windows.turn("shop", 300),
            Some(Effect::MaintenanceBegan { .. })
        ));
        windows.withhold();
        let mut windows = Windows::resume(windows.carried());
        assert_eq!(
            windows.turn("shop", 2_999_999),
            None,
            "an earlier run told it"
        );
        match windows.turn("shop", 3_000_000) {
            Some(Effect::MaintenanceEnded {
                withheld, window, ..
            }) => {
                assert_eq!((withheld, window.reason.as_deref()), (1, Some("new disks")));
            }
            other => panic!("{other:?}"),
        }
        assert!(windows.is_idle() && windows.carried().is_none());
    }

    #[test]
    fn a_person_closes_what_is_open_and_not_what_comes() {
        let mut windows = Windows::default();
        windows.plan(vec![
            window("backup", 100, 200, false),
            window("backup", 300, 400, false),
        ]);
        windows.start(1_000, false, &said(150));
        windows.stop(160);
        assert_eq!(open(&windows, 160), None);
        // The next run computes the same windows.
        let mut windows = Windows::resume(windows.carried());
        windows.plan(vec![
            window("backup", 100, 200, false),
            window("backup", 300, 400, false),
        ]);
        assert_eq!(
            (open(&windows, 199), open(&windows, 300)),
            (None, Some("backup"))
        );
    }

    #[test]
    fn a_look_that_began_before_the_window_does_not_find_it_closed() {
        let mut windows = Windows::default();
        windows.start(9_000, false, &said(5_000));
        assert!(windows.turn("shop", 5_000).is_some());
        // It is judged now.
        assert_eq!(windows.turn("shop", 4_200), None);
        assert!(windows.objection(4_200).is_some());
    }

    #[test]
    fn a_wall_clock_that_is_adjusted_opens_no_window_again() {
        let mut windows = Windows::default();
        windows.plan(vec![window("backup", 10_000, 20_000, false)]);
        assert!(windows.turn("shop", 10_000).is_some());
        windows.plan(vec![window("backup", 10_900, 20_900, false)]);
        // Until the moved beginning it is closed for a moment, which nobody has to be told.
        assert_eq!(windows.turn("shop", 11_000), None);
    }
}
