//! All inputs: made, given to dbmedic, judged and counted.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum as _;

use crate::execute::{self, Ended};
use crate::kind::Kind;
use crate::kinds::{self, Case, Seeds};
use crate::{Arguments, mutate, rules};
use dbmedic_tests::binary;

/// Of a kind's inputs, so many in a hundred must come past the parser.
const LEAST_ACCEPTED: u64 = 30;
/// Failures of one kind that are shown one by one.
const SHOWN: u64 = 10;

/// What became of the inputs of a kind.
#[derive(Debug, Default)]
struct Count {
    inputs: u64,
    accepted: u64,
    failures: u64,
    slowest: Duration,
    peak_kib: u64,
}

/// Where one kind is tried.
struct Place<'a> {
    arguments: &'a Arguments,
    program: &'a Path,
    seeds: &'a Seeds,
    kind: Kind,
}

/// Runs everything; whether all is right.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let program = binary::find(arguments.dbmedic.as_deref())?;
    let home = tempfile::Builder::new()
        .prefix("fuzz-")
        .tempdir()
        .context("cannot make a directory for the inputs")?;
    let kinds = if arguments.kind.is_empty() {
        Kind::value_variants()
    } else {
        &arguments.kind
    };
    println!(
        "{:<15} {:>7} {:>10} {:>11} {:>9} {:>9} {:>7}",
        "kind", "inputs", "accepted", "slowest ms", "peak MiB", "failures", "s"
    );
    let mut right = true;
    for &kind in kinds {
        let began = Instant::now();
        let seeds = home.path().join(format!("{kind}-seeds"));
        fs::create_dir(&seeds)?;
        let seeds = kinds::prepare(kind, &program, &seeds)
            .with_context(|| format!("making valid {kind}"))?;
        let place = Place {
            arguments,
            program: &program,
            seeds: &seeds,
            kind,
        };
        if let Some(number) = arguments.input {
            right &= once(&place, home.path(), number)?;
            continue;
        }
        let count = all_of(&place, home.path())?;
        let share = 100 * count.accepted / count.inputs.max(1);
        println!(
            "{kind:<15} {:>7} {share:>8} % {:>11} {:>9} {:>9} {:>7}",
            count.inputs,
            count.slowest.as_millis(),
            count.peak_kib >> 10,
            count.failures,
            began.elapsed().as_secs(),
        );
        if share < LEAST_ACCEPTED {
            println!("  WRONG: fewer than {LEAST_ACCEPTED} % of the {kind} were accepted");
        }
        if count.failures > 0 {
            println!("  kept in {}", arguments.keep.display());
        }
        right &= share >= LEAST_ACCEPTED && count.failures == 0;
    }
    Ok(right)
}

/// All inputs of a kind, several at a time.
fn all_of(place: &Place<'_>, home: &Path) -> anyhow::Result<Count> {
    let jobs = place
        .arguments
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(2, usize::from))
        .max(1);
    let next = AtomicU64::new(0);
    let gave_up = AtomicBool::new(false);
    let count = Mutex::new(Count::default());
    thread::scope(|scope| {
        let worker = |job: usize| {
            let dir = home.join(format!("job-{job}"));
            while !gave_up.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= place.arguments.inputs {
                    break;
                }
                let tried = try_input(place, &dir, number)
                    .with_context(|| format!("{} {number}", place.kind))
                    .inspect_err(|_| gave_up.store(true, Ordering::Relaxed))?;
                let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
                count.add(place, &tried, number)?;
            }
            anyhow::Ok(())
        };
        let workers: Vec<_> = (0..jobs)
            .map(|job| scope.spawn(move || worker(job)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    clear_progress();
    Ok(count.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Count {
    fn add(&mut self, place: &Place<'_>, tried: &Tried, number: u64) -> anyhow::Result<()> {
        self.inputs += 1;
        self.accepted += u64::from(tried.accepted);
        self.slowest = self.slowest.max(tried.ended.took);
        self.peak_kib = self.peak_kib.max(tried.ended.peak_kib());
        if !tried.broken.is_empty() {
            self.failures += 1;
            let kept = keep(place, tried, number)?;
            if self.failures <= SHOWN {
                clear_progress();
                println!(
                    "  {} {number}: {}; kept in {}",
                    place.kind,
                    tried.broken.join("; "),
                    kept.display()
                );
            }
        }
        if std::io::stderr().is_terminal() {
            let (kind, of) = (place.kind, place.arguments.inputs);
            eprint!("\r{kind}: {} of {of}\x1b[K", self.inputs);
        }
        Ok(())
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// An input with what came of it.
struct Tried {
    case: Case,
    ended: Ended,
    accepted: bool,
    broken: Vec<String>,
}

fn try_input(place: &Place<'_>, dir: &Path, number: u64) -> anyhow::Result<Tried> {
    let (scene, outputs) = (dir.join("scene"), dir.join("outputs"));
    let mut again = false;
    loop {
        let case = make(place, &scene, number)?;
        remove(&outputs)?;
        fs::create_dir_all(&outputs)?;
        let before = rules::tree(&scene, &case.own)?;
        let ended = execute::run(place.program, &case.invocation, &scene, &outputs)?;
        let too_much = ended.timed_out || rules::takes_too_much_memory(&ended);
        if too_much && !again {
            // The machine may have been busy: what takes too long or too much, does so again.
            again = true;
            clear_progress();
            println!(
                "  {} {number}: {} ms and {:?} KiB in one run, tried again",
                place.kind,
                ended.took.as_millis(),
                ended.peaks_kib
            );
            continue;
        }
        let after = rules::tree(&scene, &case.own)?;
        return Ok(Tried {
            broken: rules::broken(&ended, &before, &after),
            accepted: (case.accepted)(&ended),
            case,
            ended,
        });
    }
}

/// Makes an input in an empty scene.
fn make(place: &Place<'_>, scene: &Path, number: u64) -> anyhow::Result<Case> {
    remove(scene)?;
    fs::create_dir_all(scene.join("tmp"))?;
    let mut rng = mutate::generator(&place.kind.to_string(), place.arguments.seed, number);
    kinds::make(place.kind, &mut rng, place.seeds, scene)
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// Tries one input and shows what dbmedic wrote.
fn once(place: &Place<'_>, home: &Path, number: u64) -> anyhow::Result<bool> {
    let tried = try_input(place, &home.join("once"), number)?;
    println!("{}", describe(&tried));
    if tried.broken.is_empty() {
        return Ok(true);
    }
    println!("kept in {}", keep(place, &tried, number)?.display());
    Ok(false)
}

fn describe(tried: &Tried) -> String {
    let shown = |text: &str| -> String {
        text.lines()
            .map(|line| format!("  {}", line.escape_debug()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    format!(
        "dbmedic {:?}\nexit code {:?}, {} ms, {} MiB, accepted: {}\nwrong: {:?}\noutput:\n{}\nerror:\n{}",
        tried.case.invocation.args,
        tried.ended.code,
        tried.ended.took.as_millis(),
        tried.ended.peak_kib() >> 10,
        tried.accepted,
        tried.broken,
        shown(&tried.ended.out()),
        shown(&tried.ended.err()),
    )
}

/// Keeps an input as dbmedic was given it, with what was run and what it wrote.
fn keep(place: &Place<'_>, tried: &Tried, number: u64) -> anyhow::Result<PathBuf> {
    let (kind, seed) = (place.kind, place.arguments.seed);
    let kept = place.arguments.keep.join(format!("{kind}-{seed}-{number}"));
    remove(&kept)?;
    fs::create_dir_all(&kept)?;
    make(place, &kept.join("scene"), number)?;
    let text = format!(
        "cargo run -p dbmedic-tests --bin fuzz -- --kind {kind} --seed {seed} --input {number}\n{}",
        describe(tried)
    );
    fs::write(kept.join("result.txt"), text)?;
    Ok(kept)
}
