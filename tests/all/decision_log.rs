//! The decision log: kept by a real dbmedic, replayed, compared, and found out when it was tampered
//! with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use dbmedic::decision_log::{About, DecisionLog, Details, Replayed, Room, Sides, diff, replay};
use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::model::{DataLoss, Outcome, OutcomeResult, Setting, Value};
use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions, Policies, TargetOptions};
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, Sample, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{damage_index, data, dbmedic, resting_shop, run, talk, wait_for};

const HOSTILE: &[u8] = include_bytes!("../guests/hostile/hostile.wasm");
const DEFAULT: &[u8] = dbmedic::assemble::DEFAULT_POLICY;

static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    deadline_ms: 2000,
    start_deadline_ms: 10_000,
    max_instances: 32,
    ..Limits::default()
});
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new(LIMITS.clone()).unwrap());

fn setting(name: &str, value: Value) -> Setting {
    Setting {
        name: name.into(),
        value,
    }
}

fn hostile(how: &str) -> Policy {
    let settings = [setting("misbehave", Value::Text(how.into()))];
    let component = Verified::unsigned(HOSTILE);
    RUNTIME.load(&component, &settings).unwrap()
}

/// The policies of a simulated run: one with memory, two that show what they are handed.
fn policies() -> Policies {
    let default = RUNTIME.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    let named = [
        ("reader".to_owned(), hostile("read-telemetry")),
        ("counter".to_owned(), hostile("counter")),
    ];
    Policies::new(default, named.into())
}

/// A run of a shop that is out of reach now and then, with repairs that fail.
pub(crate) fn keep_a_log(directory: &Path, looks: u64, room: Room) -> u64 {
    keep_a_log_of(policies(), directory, looks, room)
}

fn keep_a_log_of(policies: Policies, directory: &Path, looks: u64, room: Room) -> u64 {
    let target = TargetOptions {
        kind: dbmedic::model::sqlite(),
        policies: ["default", "reader", "counter"].map(str::to_owned).into(),
        mode: Mode::Observe,
        diagnose: DiagnoseOptions {
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
            sample_interval_ms: 1000,
            snapshot_recent_ms: 86_400_000,
            may_end: Vec::new(),
        },
        constraints: dbmedic::constraint::Constraint::defaults(),
    };
    let options = PipelineOptions {
        decide_interval_ms: 0,
        baseline_window: 100,
        baseline_established_after: 10,
        guard: GuardLimits::default(),
        breaker: dbmedic::policy::BreakerOptions::default(),
        named_breakers: BTreeMap::new(),
        targets: BTreeMap::from([("shop".to_owned(), target)]),
        signatures: None,
    };
    let mut pipeline = Pipeline::new(options, policies, Carried::default());
    pipeline.listen(true);
    let about = About {
        named_limits: BTreeMap::new(),
        limits: LIMITS.clone(),
        parameters: BTreeMap::new(),
    };
    let mut log = DecisionLog::open(directory, room, &about).unwrap();
    let mut decisions = 0;
    for look in 1..=looks {
        let at_ms = look * 1000;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let samples = [
            ("commits_per_s", 100 + look % 7),
            ("wal_bytes", look * 1000),
        ]
        .map(|(series, value)| Sample {
            series: series.into(),
            value: value as f64,
        })
        .into();
        let event = match look % 10 {
            4 => Event::Tick { at_ms },
            7 => Event::RepairEnded {
                interrupted: false,
                begun: true,
                target: "shop".into(),
                at_ms,
                outcome: Outcome {
                    incident: "INC-1".into(),
                    kind: "index.corrupt".into(),
                    subject: "orders_by_item".into(),
                    repair: "index.rebuild".into(),
                    outcome_result: OutcomeResult::RolledBack,
                    reason: "it did not verify".into(),
                    duration_ms: 12,
                    loss: DataLoss::NONE,
                    notes: Vec::new(),
                },
            },
            _ => Event::Observed(Observation {
                target: "shop".into(),
                at_ms,
                samples,
                snapshot_at_ms: None,
                state: State::Unreachable {
                    reason: "the disk does not answer".into(),
                },
            }),
        };
        pipeline.step(&event);
        let (made, policies) = pipeline.made_mut();
        decisions += made.iter().map(|made| made.parts.len() as u64).sum::<u64>();
        log.note(made, policies).unwrap();
        if look % 100 == 0 {
            log.flush().unwrap();
        }
    }
    decisions
}

pub(crate) const LARGE: Room = Room {
    file_bytes: 64 << 20,
    total_bytes: 1 << 30,
};

fn replayed(log: &Path) -> Replayed {
    let all = [Verified::built_in(DEFAULT), Verified::unsigned(HOSTILE)];
    let component = |digest: &str| all.iter().find(|c| c.digest() == digest).cloned();
    replay(log, &component, &mut |_| {}).unwrap()
}

#[test]
fn a_run_with_memory_and_telemetry_is_made_again_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let room = Room {
        file_bytes: 100_000,
        total_bytes: 1 << 30,
    };
    let decisions = keep_a_log(dir.path(), 200, room);
    assert!(decisions > 500, "{decisions}");
    let result = replayed(dir.path());
    assert!(result.reproduced(), "{result:#?}");
    assert_eq!((result.decisions, result.same), (decisions, decisions));
    let text = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(text > 3, "more than one file was needed");
    // Telemetry that was read stands in the log, so that the reader's answers come out the same.
    let newest = newest(dir.path());
    let text = std::fs::read_to_string(newest).unwrap();
    assert!(text.contains("\"recent\":{\"series\":\"commits_per_s\""));
}

#[test]
fn decisions_of_the_host_while_a_policy_was_out_of_service_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let default = RUNTIME.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    let named = [
        ("reader".to_owned(), hostile("panic")),
        ("counter".to_owned(), hostile("counter")),
    ];
    let policies = Policies::new(default, named.into());
    let decisions = keep_a_log_of(policies, dir.path(), 40, LARGE);
    let path = newest(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"kind\":\"out_of_service\""));
    let result = replayed(dir.path());
    assert!(result.reproduced(), "{result:#?}");
    assert_eq!((result.decisions, result.same), (decisions, decisions));

    // The host's own answer is held against what stands there like any other.
    let word = "the policy failed too often and is not asked for a while";
    std::fs::write(&path, text.replacen(word, "it was never asked", 1)).unwrap();
    assert_eq!(replayed(dir.path()).different, 1);
}

#[test]
fn a_policy_that_does_not_accept_its_defaults_is_asked_with_the_settings_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 30, LARGE);
    let picky = Verified::unsigned(dbmedic_tests::attacks::component("trap-configure"));
    let built_in = Verified::built_in(DEFAULT);
    let component = |digest: &str| {
        Some(if digest == built_in.digest() {
            built_in.clone()
        } else {
            picky.clone()
        })
    };
    let result = replay(dir.path(), &component, &mut |_| {}).unwrap();
    assert!(result.absent.is_empty(), "{:?}", result.absent);
    assert_eq!(result.same + result.different, result.decisions);
}

#[test]
fn an_incident_that_stays_as_it_is_stands_as_a_crisis_once() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 300, LARGE);
    let text = std::fs::read_to_string(newest(dir.path())).unwrap();
    let (mut crises, mut repeated) = (0, 0);
    let mut before: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let decided = &line["decided"];
        let (finding, outcome) = (&decided["event"]["Finding"], &decided["event"]["Outcome"]);
        if decided["policy"] != "default" || (finding.is_null() && outcome.is_null()) {
            continue;
        }
        let verdict = &decided["answer"]["verdict"];
        let escalates = verdict["level"] == "Escalate";
        let is_crisis = line["crisis"] == true;
        assert!(escalates || !is_crisis, "{line}");
        let rules = verdict["reasons"].as_array().unwrap().iter();
        let mut word: Vec<_> = rules.map(|reason| reason["rule"].clone()).collect();
        word.extend(["classification", "level", "repair", "halt"].map(|n| verdict[n].clone()));
        let incident = [finding, outcome].map(|about| about["incident"].as_str());
        let incident = incident.into_iter().flatten().next().unwrap().to_owned();
        let same = before.insert(incident, word.clone()) == Some(word);
        if finding.is_null() {
            continue;
        }
        crises += u64::from(is_crisis);
        repeated += u64::from(escalates && same);
        assert_eq!(is_crisis, escalates && !same, "{line}");
    }
    assert!(crises > 0 && repeated > 100, "{crises} {repeated}");
}

#[test]
fn what_a_decision_cost_stands_in_its_entry() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        fuel: Some(100_000_000),
        ..LIMITS.clone()
    };
    let runtime = Runtime::new(limits).unwrap();
    let counted = runtime.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    keep_a_log_of(Policies::from(counted), dir.path(), 20, LARGE);
    let text = std::fs::read_to_string(newest(dir.path())).unwrap();
    let mut entries = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(decided) = line.get("decided") else {
            continue;
        };
        entries += 1;
        let cost = &decided["cost"];
        let number = |name: &str| cost[name].as_u64().unwrap_or_default();
        assert!(number("us") > 0, "{cost}");
        assert!(number("fuel") > 100, "{cost}");
        assert!(number("memory_bytes") >= 1 << 16, "{cost}");
        for name in ["digest", "settings", "event", "context", "answer"] {
            assert!(!decided[name].is_null(), "{name}");
        }
    }
    assert!(entries > 20, "{entries}");
}

#[test]
fn another_answer_is_shown_at_its_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 30, LARGE);
    let path = newest(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    // The chain is broken by this too, and that is told as well.
    let changed = text.replacen("nothing to hide", "nothing to hyde", 1);
    assert_ne!(text, changed);
    std::fs::write(&path, changed).unwrap();
    let result = replayed(dir.path());
    assert_eq!(result.different, 1);
    let difference = &result.differences[0];
    assert!(
        difference.recorded.contains("nothing to hyde"),
        "{difference:?}"
    );
    assert!(difference.now.contains("nothing to hide"), "{difference:?}");
    assert_eq!(result.chain.fault_count, 1);
    let fault = result.chain.faults[0].to_string();
    assert!(
        fault.contains(&format!("entry {} was changed", difference.entry)),
        "{fault}"
    );
}

#[test]
fn a_component_that_is_not_at_hand_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let decisions = keep_a_log(dir.path(), 30, LARGE);
    let built_in = Verified::built_in(DEFAULT);
    let component = |digest: &str| (digest == built_in.digest()).then(|| built_in.clone());
    let result = replay(dir.path(), &component, &mut |_| {}).unwrap();
    assert!(!result.reproduced());
    assert_eq!(result.same * 3, decisions);
    let (_, absent) = result.absent.first_key_value().unwrap();
    assert_eq!(absent.called.as_deref(), Some("hostile 0.1.0"));
    assert_eq!(absent.decisions, result.same * 2);
}

#[test]
fn two_parameter_sets_and_two_components_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 100, LARGE);
    let old = RUNTIME.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    let patient = setting("unreachable_person_ms", Value::Integer(5_000));
    let hasty = old.with_settings(&[patient]).unwrap();
    let compare = |new: &Policy, of| {
        let sides = Sides { old: &old, new, of };
        diff(dir.path(), &sides, &mut |_| {}).unwrap()
    };
    let same = compare(&old, None);
    assert_eq!(same.comparison.differences, 0);
    assert_eq!(same.details, Details::default());
    assert!(same.chain.holds());

    let parameters = compare(&hasty, Some("default"));
    assert_eq!(
        parameters.comparison.decisions * 3,
        same.comparison.decisions
    );
    assert!(parameters.comparison.differences > 0, "{parameters:#?}");
    assert!(parameters.comparison.differences < parameters.comparison.decisions);
    assert_eq!(
        parameters.comparison.examples.len(),
        parameters.entries.len()
    );

    let components = compare(&hostile("read-telemetry"), None);
    let matrix: u64 = components
        .comparison
        .matrix
        .iter()
        .map(|c| c.decisions)
        .sum();
    assert_eq!(matrix, components.comparison.decisions);
    assert!(components.comparison.differences > 0);
    assert!(components.entries.len() <= 16);
    // What the others did not ask for, the log cannot answer.
    assert!(components.unheard > 0);
}

#[test]
fn a_policy_that_is_too_slow_where_the_other_is_not_differs() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 3, LARGE);
    let old = RUNTIME.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    let hurried = Runtime::new(Limits {
        deadline_ms: 20,
        ..LIMITS.clone()
    });
    let settings = [setting("misbehave", Value::Text("endless-loop".into()))];
    let slow = hurried
        .unwrap()
        .load(&Verified::unsigned(HOSTILE), &settings);
    let sides = Sides {
        old: &old,
        new: &slow.unwrap(),
        of: Some("default"),
    };
    let result = diff(dir.path(), &sides, &mut |_| {}).unwrap();
    assert_eq!(result.comparison.decisions, 3, "{result:?}");
    assert_eq!(result.new_failures, 3);
    assert!(!result.agrees());
}

#[test]
fn nothing_compared_or_replayed_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 3, LARGE);
    let log = dir.path().to_str().unwrap();
    let typo = [
        "policy",
        "diff",
        "built-in",
        "built-in",
        "--log",
        log,
        "--set",
        "stale_lock_age_ms=1000",
        "--name",
        "defualt",
    ];
    let nothing = run(&typo);
    assert_eq!(nothing.status.code(), Some(2), "{}", talk(&nothing));
    assert!(
        talk(&nothing).contains("`defualt`; it has decisions by `counter`, `default`, `reader`"),
        "{}",
        talk(&nothing)
    );

    let dir = tempfile::tempdir().unwrap();
    keep_a_log(dir.path(), 0, LARGE);
    let nothing = run(&["policy", "replay", dir.path().to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2), "{}", talk(&nothing));
    assert!(
        talk(&nothing).contains("nothing was replayed"),
        "{}",
        talk(&nothing)
    );
}

#[test]
fn room_is_kept_and_crises_stay() {
    let dir = tempfile::tempdir().unwrap();
    let room = Room {
        file_bytes: 60_000,
        total_bytes: 120_000,
    };
    let decisions = keep_a_log(dir.path(), 600, room);
    let result = replayed(dir.path());
    assert!(result.reproduced(), "{result:#?}");
    assert!(result.chain.dropped > 0, "{:?}", result.chain);
    assert_eq!(result.decisions + result.chain.dropped, decisions);
}

fn newest(log: &Path) -> PathBuf {
    let mut plain: Vec<_> = std::fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    plain.sort();
    plain.pop().unwrap()
}

/// A dbmedic that watches a database with a corrupt index.
struct Watch {
    home: tempfile::TempDir,
    child: Child,
}

impl Watch {
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let database = home.path().join("shop.db");
        resting_shop(&database);
        damage_index(&database);
        let text = "version = 1\nmode = \"observe\"\nstate_dir = \"state\"\n\
             [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 300\n\
             decide_interval_ms = 100\ntick_interval_ms = 100\n\
             [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n";
        std::fs::write(home.path().join("dbmedic.toml"), text).unwrap();
        let child = start(home.path());
        Self { home, child }
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("state/decisions")
    }

    /// Waits until the log has grown to so many lines about the index.
    fn until(&self, findings: usize) {
        wait_for("decisions in the log", || {
            let read = std::fs::read_dir(self.log()).ok()?;
            let plain = read
                .filter_map(|entry| Some(entry.ok()?.path()))
                .find(|path| path.extension().is_some_and(|e| e == "jsonl"))?;
            let text = std::fs::read_to_string(plain).ok()?;
            (text.matches("\"event\":{\"Finding\"").count() >= findings).then_some(())
        });
    }

    fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap();
    }

    fn replay(&self, more: &[&str]) -> std::process::Output {
        let log = self.log();
        run(&[&["policy", "replay", log.to_str().unwrap()], more].concat())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(home: &Path) -> Child {
    Command::new(dbmedic())
        .args(["run", "-c", home.join("dbmedic.toml").to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_watch_keeps_a_log_through_a_kill_and_it_is_replayed_and_compared() {
    let mut watch = Watch::open();
    watch.until(3);
    watch.signal(Signal::KILL);
    let killed = watch.replay(&[]);
    assert_eq!(
        killed.status.code(),
        Some(0),
        "{}{}",
        data(&killed),
        talk(&killed)
    );
    watch.child = start(watch.home.path());
    watch.until(6);
    watch.signal(Signal::TERM);
    let stopped = watch.replay(&["--json"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", talk(&stopped));
    let result: serde_json::Value = serde_json::from_str(&data(&stopped)).unwrap();
    assert_eq!(result["same"], result["decisions"]);
    assert_eq!(result["chain"]["fault_count"], 0);
    assert!(
        talk(&stopped).contains("byte for byte"),
        "{}",
        talk(&stopped)
    );

    let log = watch.log();
    let log = log.to_str().unwrap();
    let compare = |more: &[&str]| {
        let args = ["policy", "diff", "built-in", "built-in", "--log", log];
        run(&[&args, more].concat())
    };
    let nothing = compare(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        talk(&nothing).contains("the same policy"),
        "{}",
        talk(&nothing)
    );
    let other = compare(&["--set", "corruption_escalate_severity=0.1"]);
    assert!(
        talk(&other).contains("decisions by default"),
        "{}",
        talk(&other)
    );
    assert!(data(&other).contains("the chain of"), "{}", data(&other));
    let slip = compare(&["--set", "corruption_escalate_sevrity=0.1"]);
    assert_eq!(slip.status.code(), Some(2));
    assert!(
        talk(&slip).contains("corruption_escalate_sev"),
        "{}",
        talk(&slip)
    );

    // Somebody tampers with it.
    let path = newest(&watch.log());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without: Vec<&str> = [&lines[..3], &lines[4..]].concat();
    std::fs::write(&path, without.join("\n") + "\n").unwrap();
    let tampered = watch.replay(&[]);
    assert_eq!(tampered.status.code(), Some(1));
    assert!(
        data(&tampered).contains("entry 4 is missing"),
        "{}",
        data(&tampered)
    );
}

#[test]
fn a_log_that_is_none_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let empty = run(&["policy", "replay", path]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(
        talk(&empty).contains("no entry of a decision log"),
        "{}",
        talk(&empty)
    );
    let absent = run(&["policy", "replay", "/nowhere/at/all"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(
        talk(&absent).contains("/nowhere/at/all"),
        "{}",
        talk(&absent)
    );
}
