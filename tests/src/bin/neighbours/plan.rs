//! What a run is made of.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::kind::Kind;
use crate::program::Fault;
use crate::scene::Settings;

/// What happens to dbmedic's own time in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Interruption {
    /// Nothing.
    None,
    /// dbmedic is stopped (SIGSTOP) for a while, and its neighbours go on.
    Stop,
    /// Everybody is stopped for a while, as when a machine is suspended.
    Suspend,
    /// The wall clock that dbmedic reads is set forward or back by an hour.
    Clock,
}

/// What one run is made of; all of it follows from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) fault: Option<Fault>,
    /// Whether the application writes rarely, and much at once.
    pub(crate) quiet: bool,
    pub(crate) settings: Settings,
    pub(crate) time: Duration,
    pub(crate) interruption: Interruption,
    /// How long a stop lasts.
    pub(crate) stop_time: Duration,
    /// Whether the neighbours take it slowly, as over hours.
    pub(crate) soak: bool,
    /// Whether dbmedic runs in a container of its own.
    pub(crate) dbmedic_contained: bool,
}

impl Plan {
    /// The run with this seed. `kind` is what it is about; others are chosen to go with it.
    /// With `rollback`, no write-ahead log is used.
    pub(crate) fn of(
        seed: u64,
        kind: Kind,
        others: &[Kind],
        with_fault: bool,
        rollback: bool,
    ) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut kinds = vec![kind];
        let quiet = !with_fault && kind.likes_quiet() && random.random_bool(0.5);
        if kind.needs_short_connections() {
            kinds.push(Kind::Cron);
        } else if !kind.is_alone() {
            let companions: Vec<_> = others
                .iter()
                .copied()
                .filter(|other| !other.is_alone() && !other.needs_short_connections())
                .filter(|other| !other.is_contained() && *other != kind)
                .filter(|other| !quiet || other.likes_quiet())
                .collect();
            for _ in 0..random.random_range(0..=2) {
                if companions.is_empty() {
                    break;
                }
                let other = companions[random.random_range(0..companions.len())];
                if !kinds.contains(&other) {
                    kinds.push(other);
                }
            }
        }
        let fault = with_fault.then(|| {
            if random.random_bool(0.5) {
                Fault::IdleHolder
            } else {
                Fault::EndlessReader
            }
        });
        if fault == Some(Fault::EndlessReader) && !rollback && !kinds.contains(&Kind::BulkLoad) {
            // A reader is in the way of the log only when the log grows.
            kinds.push(Kind::BulkLoad);
        }
        let wal = !rollback
            && (fault.is_some()
                || kind.needs_short_connections()
                || kinds.iter().any(|kind| kind.needs_wal())
                || random.random_bool(0.7));
        let journal_mode = if wal {
            "wal"
        } else {
            ["delete", "truncate", "persist"][random.random_range(0..3)]
        };
        let settings = Settings {
            journal_mode,
            threshold_ms: random.random_range(1500..=2500),
            interval_ms: [100, 200, 400][random.random_range(0..3)],
            check_interval_ms: [700, 2000, 5000][random.random_range(0..3)],
        };
        let time = Duration::from_millis(random.random_range(6000..=10_000));
        let stop_time = Duration::from_millis(random.random_range(2500..=5000));
        let interruption = match random.random_range(0..9) {
            _ if with_fault => Interruption::None,
            0 => Interruption::Stop,
            1 => Interruption::Suspend,
            2 => Interruption::Clock,
            _ => Interruption::None,
        };
        Self {
            seed,
            kinds,
            fault,
            quiet,
            settings,
            time,
            interruption,
            stop_time,
            soak: false,
            dbmedic_contained: kind == Kind::Containers,
        }
    }

    /// One long run of everything that two hours must not harm: a dashboard, a polling worker, a
    /// pool, readers in two containers and a bulk load, with thresholds of 20 s.
    pub(crate) fn soak(seed: u64, time: Duration) -> Self {
        Self {
            seed,
            kinds: vec![
                Kind::Dashboard,
                Kind::PollingWorker,
                Kind::Pool,
                Kind::ContainersSeen,
                Kind::BulkLoad,
            ],
            fault: None,
            quiet: false,
            settings: Settings {
                journal_mode: "wal",
                threshold_ms: 20_000,
                interval_ms: 1000,
                check_interval_ms: 60_000,
            },
            time,
            interruption: Interruption::None,
            stop_time: Duration::ZERO,
            soak: true,
            dbmedic_contained: false,
        }
    }

    /// How long it takes, stops included.
    pub(crate) fn whole_time(&self) -> Duration {
        match self.interruption {
            Interruption::Stop | Interruption::Suspend => self.time + self.stop_time,
            Interruption::None | Interruption::Clock => self.time,
        }
    }

    /// Its parts in one line.
    pub(crate) fn describe(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        let fault = match self.fault {
            None => "",
            Some(Fault::IdleHolder) => " + idle holder",
            Some(Fault::EndlessReader) => " + endless reader",
        };
        let quiet = if self.quiet { " in quiet times" } else { "" };
        let stop = self.stop_time.as_secs_f64();
        let interruption = match self.interruption {
            Interruption::None => String::new(),
            Interruption::Stop => format!(", dbmedic stopped for {stop:.1} s"),
            Interruption::Suspend => format!(", suspended for {stop:.1} s"),
            Interruption::Clock => ", clock set by an hour".into(),
        };
        format!(
            "seed {} {}{fault}{quiet} ({}, threshold {} ms, observed every {} ms{interruption})",
            self.seed,
            kinds.join(" + "),
            self.settings.journal_mode,
            self.settings.threshold_ms,
            self.settings.interval_ms,
        )
    }
}
