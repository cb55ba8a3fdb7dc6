//! Many seeded runs, several at a time.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::geteuid;

use crate::day::{self, Day};
use crate::kind::Kind;
use crate::plan::Plan;
use crate::program::Fault;
use crate::run::{Outcome, run};
use crate::tally::Tally;
use crate::{Arguments, litestream};
use dbmedic_tests::binary;

/// How long Litestream runs unless something else is asked for.
const LITESTREAM_TIME: Duration = Duration::from_mins(30);

/// Runs them all. False when one of them was not right.
pub(crate) fn run_all(arguments: &Arguments) -> anyhow::Result<bool> {
    let dbmedic = binary::find(arguments.dbmedic.as_deref())?;
    let kinds = kinds(arguments);
    let home = tempfile::Builder::new()
        .prefix("neighbours-")
        .tempdir_in(arguments.keep.clone().unwrap_or_else(std::env::temp_dir))
        .context("cannot create a directory for the runs")?;
    if let Some(program) = &arguments.litestream {
        let time = arguments.soak.unwrap_or(LITESTREAM_TIME);
        let dir = home.path().join("litestream");
        let right = litestream::run(program, &dbmedic, &dir, arguments.seed, time)?;
        if !right || arguments.keep_all {
            println!("\nkept: {}", home.keep().display());
        }
        return Ok(right);
    }
    if let Some(days) = arguments.days {
        let right = record_days(arguments, days, &dbmedic, home.path())?;
        if !right || arguments.keep_all {
            println!("\nkept: {}", home.keep().display());
        }
        return Ok(right);
    }
    let runs = if arguments.soak.is_some() {
        1
    } else {
        arguments.runs
    };
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let seed = arguments.seed + number;
                    let kind = kinds[usize::try_from(seed).unwrap_or(0) % kinds.len()];
                    let plan = plan(arguments, seed, kind, &kinds);
                    let dir = home.path().join(format!("seed-{seed}"));
                    let (outcome, wrong) = match run(&plan, &dbmedic, &dir) {
                        Ok(outcome) => {
                            let wrong = outcome.wrong(&plan);
                            (outcome, wrong)
                        }
                        Err(error) => (Outcome::default(), vec![format!("{error:#}")]),
                    };
                    let verdict = if wrong.is_empty() { "right" } else { "WRONG" };
                    println!("{verdict}  {} {}", plan.describe(), wrong.join("; "));
                    if wrong.is_empty() && !arguments.keep_all {
                        std::fs::remove_dir_all(&dir).ok();
                    }
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(&plan, &outcome, &wrong);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.print();
    if !tally.is_right() || arguments.keep_all {
        println!("\nkept: {}", home.keep().display());
    }
    Ok(tally.is_right())
}

/// Makes recordings of whole days, and lets dbmedic replay them.
fn record_days(
    arguments: &Arguments,
    days: u64,
    dbmedic: &Path,
    home: &Path,
) -> anyhow::Result<bool> {
    let mut right = true;
    for seed in arguments.seed..arguments.seed + days {
        let faults = if arguments.with_fault {
            vec![Some(Fault::IdleHolder), Some(Fault::EndlessReader)]
        } else {
            vec![None]
        };
        for fault in faults {
            let recording = home.join(format!("day-{seed}-{fault:?}.jsonl"));
            let ended = day::record(
                Day {
                    seed,
                    interval_ms: arguments.interval_ms,
                    threshold_ms: arguments.threshold_ms,
                    fault,
                },
                &recording,
            )?;
            let replayed = day::replay(dbmedic, &recording)?;
            let is_right = ended.is_right(fault);
            right &= is_right;
            let verdict = if is_right { "right" } else { "WRONG" };
            println!(
                "{verdict}  day {seed} {fault:?} {ended:?}; {}",
                replayed.trim()
            );
            if is_right && !arguments.keep_all {
                std::fs::remove_file(&recording)?;
            }
        }
    }
    Ok(right)
}

/// The run with this seed, as the command line wants it.
fn plan(arguments: &Arguments, seed: u64, kind: Kind, kinds: &[Kind]) -> Plan {
    let mut plan = match arguments.soak {
        Some(time) => Plan::soak(seed, time),
        None => Plan::of(seed, kind, kinds, arguments.with_fault, arguments.rollback),
    };
    if let Some(interruption) = arguments.interruption {
        plan.interruption = interruption;
    }
    if let Some(time) = arguments.stop_time {
        plan.stop_time = time;
    }
    plan
}

/// The kinds that take part. Containers need root.
fn kinds(arguments: &Arguments) -> Vec<Kind> {
    let wanted = if arguments.only.is_empty() {
        Kind::all()
    } else {
        &arguments.only
    };
    let can_contain = geteuid().is_root();
    let (kinds, left_out): (Vec<_>, Vec<_>) = wanted
        .iter()
        .copied()
        .partition(|kind| can_contain || !kind.is_contained());
    // The control needs a fault that dbmedic can see, and that leaves the others their database.
    let kinds = kinds
        .into_iter()
        .filter(|kind| !arguments.with_fault || kind.can_have_fault())
        .filter(|kind| !arguments.rollback || kind.works_in_rollback_mode())
        .collect();
    for kind in left_out {
        println!("left out: {} (needs root)", kind.name());
    }
    kinds
}
