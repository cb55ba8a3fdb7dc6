//! The same table of series and conditions for `dbmedic policy test` and for `promtool test rules`, side by side in one
//! run: does either find what is wrong, and what processor time does each take?
//!
//! ```sh
//! cargo run --release -p dbmedic-tests --bin alerts -- --promtool /usr/bin/promtool
//! ```
//!
//! Ten series and twenty conditions, most of which must hold for a time, are made from the seed. When each condition
//! begins and ceases to fire is reckoned here, by counting, and asserted in both formats. Then one sample or one threshold
//! is changed, again and again, so that at least one of these moments is another one: both must fail. promtool is part of
//! Prometheus; in Debian it comes with the package `prometheus`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for a log"
)]

mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use clap::Parser;
use dbmedic_tests::binary;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use table::Table;

/// The same conditions for `dbmedic policy test` and for `promtool test rules`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Samples of each series, in the runs that are compared
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    samples: Vec<usize>,
    /// Changes of a sample or a threshold that both must notice
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// The seed of series, conditions and changes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// promtool; without it only dbmedic is run
    #[arg(long, value_name = "FILE")]
    promtool: Option<PathBuf>,
    /// The dbmedic under test; the one beside this program when left out
    #[arg(long, value_name = "FILE")]
    dbmedic: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Samples of each series where changes are tried.
const SAMPLES_CHANGED: usize = 1_000;

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let dbmedic = binary::find(arguments.dbmedic.as_deref())?;
    let home = tempfile::tempdir().context("cannot make a directory for the tables")?;
    let tools = Tools {
        dbmedic: &dbmedic,
        promtool: arguments.promtool.as_deref(),
        dir: home.path(),
    };
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let mut is_right = true;
    println!(
        "seed {}, {} series, {} conditions, one sample a second",
        arguments.seed,
        table::SERIES,
        table::CONDITIONS
    );
    println!(
        "| samples | asserted moments | dbmedic, processor s | promtool, processor s | ratio |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for &samples in &arguments.samples {
        let table = Table::made(&mut rng, samples);
        let firing = table.firing();
        // The first run compiles the policy; what it compiled stays in dbmedic's cache, and no verdict does.
        tools.write(&table, &firing)?;
        tools.dbmedic()?;
        let (own, other) = (tools.dbmedic()?, tools.promtool()?);
        is_right &= own.passes && other.as_ref().is_none_or(|other| other.passes);
        let shown = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{s:.2}"));
        println!(
            "| {samples} | {} | {} | {} | {} |",
            table::moments(&firing),
            shown(Some(own.seconds)),
            shown(other.as_ref().map(|other| other.seconds)),
            other.map_or("-".to_owned(), |other| format!(
                "1 : {:.1}",
                other.seconds / own.seconds
            )),
        );
        if !own.passes {
            println!("dbmedic fails where nothing is wrong:\n{}", own.told);
        }
    }
    let table = Table::made(&mut rng, SAMPLES_CHANGED);
    let firing = table.firing();
    let (mut own, mut other) = (0, 0);
    for _ in 0..arguments.changes {
        tools.write(&table.changed(&mut rng), &firing)?;
        own += u32::from(!tools.dbmedic()?.passes);
        other += u32::from(tools.promtool()?.is_some_and(|ran| !ran.passes));
    }
    let of = arguments.changes;
    println!("changes noticed: dbmedic {own} of {of}");
    is_right &= own == of;
    if tools.promtool.is_some() {
        println!("                 promtool {other} of {of}");
        is_right &= other == of;
    }
    Ok(is_right)
}

/// How one run of a tool ended.
struct Ran {
    passes: bool,
    /// Processor time, seconds.
    seconds: f64,
    told: String,
}

struct Tools<'a> {
    dbmedic: &'a Path,
    promtool: Option<&'a Path>,
    dir: &'a Path,
}

impl Tools<'_> {
    /// Writes a table in both formats, with these moments asserted.
    fn write(&self, table: &Table, firing: &[Vec<bool>]) -> anyhow::Result<()> {
        let write = |name: &str, text: String| {
            let path = self.dir.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write("alerts.rules.toml", table.rules())?;
        write("cases.toml", table.cases(firing))?;
        write("rules.yml", table.prometheus_rules())?;
        write("test.yml", table.prometheus_test(firing))
    }

    fn dbmedic(&self) -> anyhow::Result<Ran> {
        let args = [
            "policy",
            "test",
            "built-in:rules",
            "cases.toml",
            "--jobs",
            "1",
        ];
        self.ran(self.dbmedic, &args)
    }

    fn promtool(&self) -> anyhow::Result<Option<Ran>> {
        let run = |path| self.ran(path, &["test", "rules", "test.yml"]);
        self.promtool.map(run).transpose()
    }

    /// Runs a tool, and reads off how much processor time it took; the shell's `times` says so of its children.
    fn ran(&self, program: &Path, args: &[&str]) -> anyhow::Result<Ran> {
        let output = Command::new("sh")
            .args(["-c", "\"$@\" > told 2>&1; echo $?; times", "sh"])
            .arg(program)
            .args(args)
            .current_dir(self.dir)
            .env("GOMAXPROCS", "1")
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut lines = text.lines();
        let code = lines.next().context("the shell says nothing")?;
        let code: i32 = code.parse().with_context(|| format!("exit code {code}"))?;
        let children = lines
            .nth(1)
            .context("the shell does not say what time was taken")?;
        let told = fs::read_to_string(self.dir.join("told"))?;
        ensure!(code < 2, "{} {}: {told}", program.display(), args.join(" "));
        Ok(Ran {
            passes: code == 0,
            seconds: children
                .split_whitespace()
                .map(seconds)
                .sum::<anyhow::Result<f64>>()?,
            told,
        })
    }
}

/// A time as the shell writes it: `0m1.230000s`.
fn seconds(text: &str) -> anyhow::Result<f64> {
    let (minutes, rest) = text.split_once('m').context("a time has no `m`")?;
    let rest = rest.trim_end_matches('s').replace(',', ".");
    Ok(minutes.parse::<f64>()? * 60.0 + rest.parse::<f64>()?)
}
