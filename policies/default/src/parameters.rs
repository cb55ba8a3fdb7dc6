//! Every number of the rules, with the specification's value as its default.

dbmedic_policy::parameters! {
    /// What the operator may set.
    pub struct Parameters {
        /// Age over which a write lock is stale, milliseconds.
        pub stale_lock_age_ms: u64 = 300_000, 100..=86_400_000;
        /// Age over which a person is called for a write lock whose holder is at work or cannot be
        /// judged, milliseconds.
        pub long_lock_person_ms: u64 = 1_800_000, 100..=604_800_000;
        /// Age over which a reader that pins the write-ahead log is released, milliseconds.
        pub reader_age_ms: u64 = 300_000, 100..=86_400_000;
        /// The last share of the write-ahead log in which damage may be cut off, percent.
        pub wal_tail_percent: f64 = 5.0, 0.0..=50.0;
        /// How long a target may be unreachable before it needs a person, milliseconds.
        pub unreachable_person_ms: u64 = 60_000, 0..=86_400_000;
        /// Failures of one repair in a row after which a person takes over.
        pub failures_before_person: u32 = 3, 1..=100;
        /// Successful repairs after which a hiccup counts as solved.
        pub successes_before_solved: u32 = 3, 1..=100;
        /// Mitigations of one obstacle within the mitigation window after which a person is called.
        pub mitigations_before_escalation: u32 = 2, 1..=8;
        /// How long a mitigation of an obstacle is held against it, milliseconds.
        pub mitigation_window_ms: u64 = 3_600_000, 1_000..=604_800_000;
        /// Severity from which a hiccup is watched, 0 to 1.
        pub hiccup_watch_severity: f64 = 0.5, 0.0..=1.0;
        /// Severity from which an obstacle or an anomaly is reported instead of watched, 0 to 1.
        pub obstacle_warn_severity: f64 = 0.7, 0.0..=1.0;
        /// Severity from which corruption calls a person even if it can be repaired, 0 to 1.
        pub corruption_escalate_severity: f64 = 0.8, 0.0..=1.0;
        /// Quiet time after which level watch returns to normal, milliseconds.
        pub watch_return_ms: u64 = 300_000, 100..=86_400_000;
        /// Quiet time after which level warn returns to watch, and escalate to warn, milliseconds.
        pub warn_return_ms: u64 = 600_000, 100..=86_400_000;
        /// Violations of one constraint within the violation window that call for action.
        pub violations_before_action: u32 = 5, 1..=32;
        /// The window in which violations of a constraint are counted, milliseconds.
        pub violation_window_ms: u64 = 60_000, 100..=86_400_000;
        /// Error rate over which the alert high_error_rate counts a violation, percent.
        pub error_rate_percent: f64 = 5.0, 0.0..=100.0;
        /// Violations within the error window after which high_error_rate fires.
        pub error_rate_count: u32 = 3, 1..=10;
        /// The window in which violations of the error rate are counted, milliseconds.
        pub error_rate_window_ms: u64 = 60_000, 100..=86_400_000;
        /// Free disk space under which the target is watched, percent.
        pub disk_low_percent: f64 = 20.0, 0.0..=100.0;
        /// Free disk space under which disk_almost_full fires and a person is called, percent.
        pub disk_critical_percent: f64 = 10.0, 0.0..=100.0;
        /// Whether a log or journal that does not belong to its database file is moved aside without
        /// asking, where the file alone is sound.
        pub set_aside_foreign_log: bool = false;
        /// How long the same alert about the same thing is not repeated, milliseconds.
        pub alert_cooldown_ms: u64 = 300_000, 0..=86_400_000;
    }
}

#[cfg(test)]
mod tests {
    use dbmedic_policy::{Parameters as _, Setting};

    use super::Parameters;
    use crate::DefaultPolicy;

    #[test]
    fn the_defaults_lie_within_their_bounds() {
        let all: Vec<Setting> = Parameters::schema()
            .into_iter()
            .map(|parameter| Setting {
                name: parameter.name,
                value: parameter.default,
            })
            .collect();
        let packed = dbmedic_policy::configure::<DefaultPolicy>(&all).unwrap();
        assert_eq!(
            packed,
            dbmedic_policy::configure::<DefaultPolicy>(&[]).unwrap()
        );
    }
}
