//! `policy check`: everything that the gate would ask of a policy before its shadow, whether it is the
//! pure function that the contract asks for, and whether it copes with a memory that is not its own.

mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::trusted_keys;
use crate::assemble::{self, merge_settings};
use crate::cli::{Ended, complain, say, say_json};
use crate::clock::now_ms;
use crate::config::{Config, Loaded};
use crate::gate::{Candidate, Held, Known, Refusal, Step, Tested, read_candidate};
use crate::pipeline::DEFAULT_POLICY;
use crate::policy::{Impurity, check_purity};
use crate::policy_tests::{self, CaseText};
use crate::signing::{Hashed, Provenance};

use memory::MemoryReport;

/// The least time that an uncached component gets to start on a busy machine, and that a decision
/// gets, milliseconds: here nothing waits for it.
const START_DEADLINE_MS: u64 = 60_000;
const DEADLINE_MS: u64 = 1_000;
/// Events that are told one by one; more are counted.
const TOLD: usize = 8;
/// Longest piece of an answer that is shown, characters.
const SHOWN: usize = 80;

/// Arguments of `policy check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The policy component, or `built-in` or `built-in:rules`; its signature is FILE.minisig, its test
    /// cases also lie in NAME.tests
    policy: PathBuf,
    /// The configuration that it is to come into service with: its keys, limits and parameters
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policy's name in the configuration
    #[arg(long, default_value = DEFAULT_POLICY, value_name = "NAME", requires = "config")]
    name: String,
    /// Ask for a signature by this key: a public key's file, or the key itself; may be given several
    /// times, and counts instead of the configuration's
    #[arg(short, long = "key", value_name = "FILE|KEY")]
    keys: Vec<String>,
    /// Do not ask for a signature
    #[arg(long, conflicts_with = "keys")]
    unsigned: bool,
    /// Set a parameter; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE|NAME=@FILE")]
    set: Vec<String>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    /// A component as it is, with the parameters' defaults, and no signature asked for.
    pub(super) fn unsigned(policy: PathBuf, json: bool) -> Self {
        Self {
            policy,
            config: None,
            name: DEFAULT_POLICY.into(),
            keys: Vec::new(),
            unsigned: true,
            set: Vec::new(),
            json,
        }
    }
}

/// What `policy check --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether it could come into service.
    passed: bool,
    /// The SHA-256 of the component.
    digest: String,
    /// Who it is, where it came that far.
    policy: Option<Known>,
    /// The steps that it passed, in their order.
    steps: Vec<Step>,
    /// Which step said no, and why.
    refusal: Option<Refusal>,
    /// Test cases that it passed.
    cases: usize,
    /// Whether its answers depend on anything else than the question; none where it did not come
    /// that far.
    purity: Option<Purity>,
    /// Whether it copes with a memory that is not its own; none where it did not come that far.
    memory: Option<MemoryReport>,
}

#[derive(Debug, Serialize)]
struct Purity {
    /// Events that were asked, each in five orders.
    events: usize,
    /// Events of which an answer depended on what was asked before.
    impure: Vec<Impure>,
    /// How it failed at typical events, by the failures' names: in the shadow it would be refused.
    /// What it refuses to judge is no failure.
    failures: BTreeMap<String, u64>,
    /// What its log said last when it failed, each line once.
    last_words: BTreeSet<String>,
}

/// An event whose answer depends on what was asked before.
#[derive(Debug, Serialize)]
struct Impure {
    /// Which event, in a few words.
    event: String,
    /// How many questions the instance had answered before; 0 in a new one.
    after: usize,
    /// Where the answers differ first, as a JSON pointer.
    at: String,
    /// What stands there in the answer of a new instance.
    fresh: serde_json::Value,
    /// What stands there in this one.
    again: serde_json::Value,
}

pub(super) fn run(args: &CheckArgs) -> Ended {
    let loaded = configuration(args)?;
    let plan = assemble::plan(&loaded, &args.name)?;
    let most_bytes = (plan.workshop.limits().component_mib as u64) << 20;
    let candidate = match super::built_in(&args.policy) {
        Some(bytes) => Candidate {
            component: Hashed::new(bytes),
            signature: None,
            cases: Arc::default(),
        },
        None => read_candidate(&args.policy, most_bytes)
            .with_context(|| format!("reading {}", args.policy.display()))?,
    };
    let mut report = Report {
        passed: false,
        digest: candidate.digest().to_owned(),
        policy: None,
        steps: Vec::new(),
        refusal: None,
        cases: 0,
        purity: None,
        memory: None,
    };
    let held = Held::Now(now_ms());
    let tested = plan
        .workshop
        .prepare(&candidate, &plan.settings, held, &mut |step| {
            report.steps.push(step);
        });
    match tested {
        Ok(tested) => {
            let (purity, memory) = behaviour(&tested, &candidate)?;
            report.passed =
                purity.impure.is_empty() && purity.failures.is_empty() && memory.faults.is_empty();
            report.memory = Some(memory);
            report.policy = Some(tested.known().clone());
            report.cases = tested.cases();
            report.purity = Some(purity);
        }
        Err(refusal) => report.refusal = Some(plan.placed(refusal)),
    }
    if args.json {
        say_json(&report)?;
    } else {
        tell(&args.policy, &report)?;
    }
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The configuration with what was typed laid over it.
fn configuration(args: &CheckArgs) -> anyhow::Result<Loaded> {
    let mut loaded = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::parse("version = 1", Path::new("dbmedic.toml"))?,
    };
    let config = &mut loaded.config;
    let named = config.policies.iter_mut();
    let policy = match named.into_iter().find(|named| named.name == args.name) {
        Some(named) => &mut named.policy,
        None => &mut config.policy,
    };
    if args.unsigned || (args.config.is_none() && args.keys.is_empty()) {
        policy.require_signature = false;
    }
    if !args.keys.is_empty() {
        policy.require_signature = true;
        policy.trusted_keys = trusted_keys(&args.keys)?;
    }
    let limits = &mut policy.limits;
    limits.start_deadline_ms = limits.start_deadline_ms.max(START_DEADLINE_MS);
    limits.deadline_ms = limits.deadline_ms.max(DEADLINE_MS);
    policy.parameters = merge_settings(std::mem::take(&mut policy.parameters), &args.set)?;
    Ok(loaded)
}

/// Asks every event of its cases, and typical ones of every kind.
fn behaviour(tested: &Tested, candidate: &Candidate) -> anyhow::Result<(Purity, MemoryReport)> {
    let policy = tested.policy();
    let mut files = policy_tests::carried(candidate.component.bytes())?;
    for text in candidate.cases.iter().map(CaseText::read) {
        files.push(text?);
    }
    let mut asked = policy_tests::questions(policy, &files);
    let typical = policy_tests::typical(policy)?;
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let mut last_words = BTreeSet::new();
    for asked in &typical {
        if let Some(failure) = asked.failure.as_ref().filter(|it| it.is_misbehaviour()) {
            *failures.entry(failure.rule().to_owned()).or_default() += 1;
            last_words.insert(asked.last_words.clone());
        }
    }
    last_words.remove("");
    asked.extend(typical);
    let (places, mut questions): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .map(|asked| (asked.place, asked.question))
        .unzip();
    // Of each event the first difference: the others say the same again.
    let mut first: BTreeMap<usize, Impure> = BTreeMap::new();
    for impurity in check_purity(policy, &mut questions) {
        let place = &places[impurity.question];
        first
            .entry(impurity.question)
            .or_insert_with(|| Impure::new(place, &impurity));
    }
    let purity = Purity {
        failures,
        last_words,
        events: questions.len(),
        impure: first.into_values().collect(),
    };
    Ok((purity, MemoryReport::of(policy, &places, &mut questions)))
}

impl Impure {
    fn new(event: &str, impurity: &Impurity) -> Self {
        let there = |decision| {
            let answer = serde_json::to_value(decision).unwrap_or_default();
            answer.pointer(&impurity.at).cloned().unwrap_or_default()
        };
        Self {
            event: event.to_owned(),
            after: impurity.after,
            at: impurity.at.clone(),
            fresh: there(&impurity.fresh),
            again: there(&impurity.again),
        }
    }
}

/// Each step in a line, and a last one that says what came of it.
fn tell(path: &Path, report: &Report) -> std::io::Result<()> {
    let provenance = report.policy.as_ref().map(|known| &known.provenance);
    for step in &report.steps {
        let detail = match (step, provenance) {
            (Step::Signature, Some(Provenance::Signed { key, key_id, .. })) => {
                format!("by {key} ({key_id})")
            }
            (Step::Signature, Some(Provenance::Unsigned)) => "NOT SIGNED, none asked for".into(),
            (Step::Tests, Some(_)) => match report.cases {
                0 => "it has none".into(),
                cases => format!("{cases} cases"),
            },
            _ => String::new(),
        };
        say(format!("ok     {:<11} {detail}", step.to_string()).trim_end())?;
    }
    if let Some(refusal) = &report.refusal {
        let step = refusal.step.to_string();
        say(&format!("FAILED {step:<11} {}", refusal.reason))?;
    }
    if let Some(purity) = &report.purity {
        tell_purity(purity)?;
    }
    if let Some(memory) = &report.memory {
        memory.tell()?;
    }
    let called = report.policy.as_ref().map_or_else(
        || path.display().to_string(),
        |known| format!("{} {}", known.identity.name, known.identity.version),
    );
    let word = if report.passed {
        "can come into service"
    } else {
        "must not come into service"
    };
    complain(&format!("{called} ({}) {word}", &report.digest[..12]));
    Ok(())
}

fn tell_purity(purity: &Purity) -> std::io::Result<()> {
    let Purity {
        events,
        impure,
        failures,
        last_words,
    } = purity;
    if !failures.is_empty() {
        let kinds = failures
            .iter()
            .map(|(rule, times)| format!("{rule} {times}"));
        say(&format!(
            "FAILED decide      it fails at typical events, and would in the shadow: {}",
            kinds.collect::<Vec<_>>().join(", ")
        ))?;
        for line in last_words.iter().take(TOLD) {
            say(&format!("       its log: {line}"))?;
        }
    }
    if impure.is_empty() {
        return say(&format!(
            "ok     purity      {events} events, each in new and in used instances, in several orders"
        ));
    }
    say(&format!(
        "FAILED purity      the answers to {} of {events} events depend on what was asked before, \
         outside of its `memory`",
        impure.len()
    ))?;
    for Impure {
        event,
        after,
        at,
        fresh,
        again,
    } in impure.iter().take(TOLD)
    {
        let (fresh, again) = (shown(fresh), shown(again));
        let when = match after {
            0 => "in another new instance".to_owned(),
            1 => "after 1 other event".to_owned(),
            after => format!("after {after} other events"),
        };
        say(&format!(
            "       {event}: {at} is {fresh} in a new instance, and {again} {when}"
        ))?;
    }
    let more = impure.len().saturating_sub(TOLD);
    if more > 0 {
        say(&format!("       and {more} more"))?;
    }
    Ok(())
}

fn shown(value: &serde_json::Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
