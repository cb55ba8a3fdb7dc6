//! `dbmedic policy ...` as a person types it, against a dbmedic that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{data, dbmedic, edit_state, journal, resting_shop, run, talk, wait_for};
use crate::ward::component;

/// A home with a key pair, a healthy database and a configuration that trusts the key.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new(policy: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        resting_shop(&home.path("shop.db"));
        let made = run(&["policy", "keygen", &home.text("key"), "--no-password"]);
        assert!(made.status.success(), "{}", talk(&made));
        let config = format!(
            "version = 1\nstate_dir = \"state\"\n\
             [observation]\nsample_interval_ms = 100\ntick_interval_ms = 100\n\
             [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n\
             [policy]\n{policy}\n{}\
             [policy.shadow]\ndecisions = 3\n[policy.limits]\ndeadline_ms = 2_000\n\
             [policy.probation]\nslow_ms = 2_000\n",
            data(&made)
        );
        fs::write(home.path("dbmedic.toml"), config).unwrap();
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a version of the default policy and signs it.
    fn signed(&self, name: &str, version: &str) -> String {
        fs::write(self.path(name), component(version, 1)).unwrap();
        let signed = run(&["policy", "sign", &self.text(name), "-k", &self.text("key")]);
        assert!(signed.status.success(), "{}", talk(&signed));
        self.text(name)
    }

    pub(crate) fn policy(&self, arguments: &[&str]) -> Output {
        let state = self.text("state");
        run(&[&["policy"], arguments, &["--state-dir", &state]].concat())
    }

    pub(crate) fn status(&self) -> Value {
        let status = self.policy(&["status", "--json"]);
        let all: Value = serde_json::from_str(&data(&status)).unwrap();
        all[0].clone()
    }

    fn until_in_service(&self, version: &str) {
        wait_for(version, || {
            (self.status()["present"]["version"] == version).then_some(())
        });
    }
}

/// A dbmedic that runs until it is stopped or dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(home: &Home, more: &[&str]) -> Self {
        let child = Command::new(dbmedic())
            .args(["run", "-c", &home.text("dbmedic.toml")])
            .args(more)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the control socket", || {
            home.path("state/dbmedic.sock").exists().then_some(())
        });
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = wait_for("dbmedic to stop", || self.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_and_the_secret_one_is_kept_secret() {
    let home = Home::new("");
    assert_eq!(mode(&home.path("key")), 0o600);
    let secret = fs::read_to_string(home.path("key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    let again = run(&["policy", "keygen", &home.text("key"), "--no-password"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(talk(&again).contains("exists already"), "{}", talk(&again));
    let file = home.signed("new.wasm", "0.2.0");
    let signature = fs::read_to_string(home.path("new.wasm.minisig")).unwrap();
    assert!(
        signature.contains("policy:default version:0.2.0 sha256:"),
        "{signature}"
    );
    let verify = |file: &str, key: &str| run(&["policy", "verify", file, "-k", key]);
    let good = verify(&file, &home.text("key.pub"));
    assert!(good.status.success(), "{}", talk(&good));
    assert!(data(&good).contains("version:0.2.0"), "{}", data(&good));
    for output in [&again, &good] {
        let all = data(output) + &talk(output);
        assert!(!all.contains(secret), "the secret key was shown");
    }
    let other = "RWRAsSeIj/bflXZNv2UW6iGQomQWNtS80hQZJP0mR7TfsxYVPVySwZOV";
    let foreign = verify(&file, other);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(talk(&foreign).contains("not trusted"), "{}", talk(&foreign));
    let missing = verify(&file, "no-such.pub");
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        talk(&missing).contains("no such file"),
        "{}",
        talk(&missing)
    );
    fs::write(&file, component("0.3.0", 1)).unwrap();
    let changed = verify(&file, &home.text("key.pub"));
    assert_eq!(changed.status.code(), Some(1));
    assert!(
        talk(&changed).contains("they were changed"),
        "{}",
        talk(&changed)
    );
    fs::write(home.path("junk.wasm"), "junk").unwrap();
    let junk = run(&[
        "policy",
        "sign",
        &home.text("junk.wasm"),
        "-k",
        &home.text("key"),
    ]);
    assert_eq!(junk.status.code(), Some(2), "only policies are signed");
    assert!(!home.path("junk.wasm.minisig").exists());
}

#[test]
fn a_running_dbmedic_swaps_tells_and_comes_up_again_and_its_recording_replays() {
    let home = Home::new("");
    let recording = home.text("run.jsonl");
    let running = Running::start(&home, &["--record", &recording]);
    assert_eq!(home.status()["present"]["provenance"], "built_in");
    let new = home.signed("new.wasm", "0.2.0");
    let swap = home.policy(&["swap", &new]);
    assert!(swap.status.success(), "{}", talk(&swap));
    assert!(talk(&swap).contains("passed signature"), "{}", talk(&swap));
    home.until_in_service("0.2.0");
    let told = data(&home.policy(&["status"]));
    for expected in [
        "default 0.2.0",
        "in service",
        "last good",
        "decides for shop",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let old = home.signed("old.wasm", "0.1.5");
    let older = home.policy(&["swap", &old]);
    assert_eq!(older.status.code(), Some(1));
    let why = "older than 0.2.0";
    assert!(talk(&older).contains(why), "{}", talk(&older));
    let older = home.policy(&["swap", &old, "--json"]);
    assert_eq!((older.status.code(), talk(&older).as_str()), (Some(1), ""));
    let told: Value = serde_json::from_str(&data(&older)).unwrap();
    assert_eq!((&told["v"], &told["done"]), (&1.into(), &false.into()));
    assert!(told["text"].as_str().unwrap().contains(why), "{told}");
    let steps = told["steps"].as_array().unwrap();
    assert!(steps.iter().any(|it| it["step"] == "signature"), "{told}");
    running.stop();
    let at_rest = home.status();
    assert_eq!(at_rest["running"], false);
    assert_eq!(at_rest["present"]["version"], "0.2.0");
    let gone = home.policy(&["promote"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        talk(&gone).contains("no dbmedic is running"),
        "{}",
        talk(&gone)
    );

    // Each step stands in the journal.
    let journal = journal(&home.path("state"));
    for step in [
        "signature",
        "contract",
        "compile",
        "parameters",
        "shadow",
        "swap",
    ] {
        assert!(journal.contains(&format!("\"step\":\"{step}\"")), "{step}");
    }
    let blind = run(&["replay", &recording]);
    assert_eq!(blind.status.code(), Some(2));
    assert!(talk(&blind).contains("--state-dir"), "{}", talk(&blind));
    let state = home.text("state");
    let replay = run(&["replay", &recording, "--state-dir", &state]);
    assert!(talk(&replay).contains("byte for byte"), "{}", talk(&replay));

    let running = Running::start(&home, &[]);
    assert_eq!(home.status()["present"]["version"], "0.2.0");
    let back = home.policy(&["rollback", "--json"]);
    assert!(back.status.success(), "{}", talk(&back));
    assert!(data(&back).contains("\"done\":true"), "{}", data(&back));
    home.until_in_service("0.1.0");
    running.stop();
}

/// A dbmedic that took version 0.2.0 into service and was stopped while that was on probation.
fn swapped_and_stopped() -> Home {
    let home = Home::new("");
    let running = Running::start(&home, &[]);
    let swap = home.policy(&["swap", &home.signed("new.wasm", "0.2.0")]);
    assert!(swap.status.success(), "{}", talk(&swap));
    home.until_in_service("0.2.0");
    running.stop();
    home
}

#[test]
fn a_gate_that_was_killed_before_it_heard_of_a_proof_hears_of_it_at_the_next_start() {
    let home = swapped_and_stopped();
    assert_eq!(home.status()["on_probation"], true);
    // What is carried is on disk before the gate writes its own.
    edit_state(&home.path("state"), "carried", "", |carried| {
        let breakers = carried["breakers"]["default"].as_object_mut().unwrap();
        let record = breakers.values_mut().next().unwrap();
        let record = record.as_object_mut().unwrap();
        assert!(record.remove("probation").is_some());
    });
    let running = Running::start(&home, &[]);
    wait_for("the end of the probation", || {
        (home.status()["on_probation"] == false).then_some(())
    });
    running.stop();
}

#[test]
fn a_gate_that_was_killed_before_it_heard_of_a_failure_hears_of_it_at_the_next_start() {
    let home = swapped_and_stopped();
    let digest = home.status()["present"]["digest"].clone();
    let open = serde_json::json!({
        "state": { "open": { "until_ms": u64::MAX / 2 } },
        "latest": [], "in_a_row": 0, "good": 0, "trips": 1,
    });
    edit_state(&home.path("state"), "carried", "", |carried| {
        carried["breakers"]["default"][digest.as_str().unwrap()] = open;
    });
    let running = Running::start(&home, &[]);
    home.until_in_service("0.1.0");
    let status = home.status();
    assert_eq!(status["on_probation"], false, "{status}");
    assert_eq!(status["refused"][0]["digest"], digest, "{status}");
    running.stop();
}

#[test]
fn a_gate_that_was_killed_before_it_heard_that_a_policy_answers_again_hears_of_it() {
    let home = Home::new("");
    Running::start(&home, &[]).stop();
    let digest = home.status()["present"]["digest"].clone();
    let state = home.path("state");
    edit_state(&state, "services", "default", |service| {
        service["out_of_service"] = serde_json::json!({
            "policy": service["present"].clone(), "since_ms": 1, "until_ms": 2, "reason": "it failed",
        });
    });
    edit_state(&state, "carried", "", |value| {
        value["breakers"]["default"][digest.as_str().unwrap()] = serde_json::json!({
            "state": "closed", "latest": [], "in_a_row": 0, "good": 1, "trips": 1,
        });
    });
    assert_eq!(home.status()["out_of_service"]["reason"], "it failed");
    let running = Running::start(&home, &[]);
    wait_for("the policy to be in service", || {
        home.status()["out_of_service"].is_null().then_some(())
    });
    running.stop();
}

#[test]
fn a_file_is_watched_and_a_hangup_looks_anew() {
    let home = Home::new("file = \"policy.wasm\"");
    home.signed("policy.wasm", "0.2.0");
    let running = Running::start(&home, &[]);
    assert_eq!(home.status()["present"]["version"], "0.2.0");
    home.signed("policy.wasm", "0.3.0");
    home.until_in_service("0.3.0");
    running.signal(Signal::HUP);
    home.signed("policy.wasm", "0.4.0");
    home.until_in_service("0.4.0");
    running.stop();
}

#[test]
fn a_hangup_looks_where_nothing_is_watched() {
    let home = Home::new("file = \"policy.wasm\"\nwatch = false");
    home.signed("policy.wasm", "0.2.0");
    let running = Running::start(&home, &[]);
    home.signed("policy.wasm", "0.3.0");
    running.signal(Signal::HUP);
    home.until_in_service("0.3.0");
    running.stop();
}

#[test]
fn a_policy_out_of_service_is_told_by_status_journal_and_report() {
    let home = Home::new("require_signature = false\nfile = \"policy.wasm\"");
    let bytes = dbmedic_tests::attacks::component("trap-decide");
    fs::write(home.path("policy.wasm"), bytes).unwrap();
    let told = home.path("told");
    let mut running = Command::new(dbmedic())
        .args(["run", "-c", &home.text("dbmedic.toml")])
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .map(Running)
        .unwrap();
    let out = wait_for("the breaker to open", || {
        home.path("state/dbmedic.sock").exists().then_some(())?;
        let status = home.status();
        (!status["out_of_service"].is_null()).then(|| status["out_of_service"].clone())
    });
    let reason = out["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("3 decisions in a row failed: it broke off"),
        "{out}"
    );
    let status = home.status();
    assert_eq!(
        status["statistics"]["failures"]["policy.trap"], 3,
        "{status}"
    );
    for number in [
        "decide_p50_us",
        "decide_p99_us",
        "decide_max_us",
        "memory_max_bytes",
    ] {
        let value = status["statistics"][number].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{number}: {status}");
    }
    let text = data(&home.policy(&["status"]));
    for expected in [
        "OUT         attack 0.1.0 since ",
        ", the host decides meanwhile: 3 decisions in a row failed",
        "3, 3 failed: policy.trap 3",
        "99 of 100 within",
        "MiB of memory, fuel not counted",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    running.signal(Signal::TERM);
    wait_for("dbmedic to stop", || running.0.try_wait().unwrap());
    let told = fs::read_to_string(told).unwrap();
    let line = "default: attack 0.1.0 is out of service for 60.00 s: 3 decisions in a row failed";
    assert_eq!(told.matches(line).count(), 1, "{told}");
    let journal = journal(&home.path("state"));
    for once in ["\"policy_service\"", "\"out_of_service\""] {
        assert_eq!(journal.matches(once).count(), 1, "{journal}");
    }

    // After a restart it is still not asked.
    let running = Running::start(&home, &[]);
    let status = home.status();
    assert_eq!(status["out_of_service"], out);
    assert_eq!(status["statistics"]["decisions"], 0, "{status}");
    running.stop();
}

#[test]
fn without_a_key_a_policy_of_ones_own_is_refused_at_the_start() {
    let home = Home::new("");
    fs::write(home.path("own.wasm"), component("0.2.0", 1)).unwrap();
    let config = "version = 1\nstate_dir = \"state\"\n[policy]\nfile = \"own.wasm\"\n";
    fs::write(home.path("bare.toml"), config).unwrap();
    let refused = run(&["config", "check", &home.text("bare.toml")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        talk(&refused).contains("no key is trusted"),
        "{}",
        talk(&refused)
    );
    let config = config.replace("file", "require_signature = false\nfile");
    fs::write(home.path("bare.toml"), config).unwrap();
    let allowed = run(&["config", "check", &home.text("bare.toml")]);
    assert!(allowed.status.success(), "{}", talk(&allowed));
    assert!(
        talk(&allowed).contains("without anybody vouching"),
        "{}",
        talk(&allowed)
    );
}
