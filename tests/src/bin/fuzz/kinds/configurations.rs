//! `dbmedic.toml`.

use std::fs;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, ends_well, replace};
use crate::mutate::{self, chance};
use crate::toml_text;

/// What `config init` writes: each option, commented out.
const TEMPLATE: &str = include_str!("../../../../../host/src/config/template.toml");

const SMALL: &str = r#"version = 1
mode = "enforce"
state_dir = "state"
signature_dir = "signatures"

[[targets]]
name = "orders"
sqlite = "orders.db"
may_end = ["report-worker", "cron"]
mode = "observe"

[[targets.constraints]]
name = "disk_space"
lower = 2_000_000_000
critical_threshold = 0.9

[[targets]]
name = "books"
sqlite = "books.db"

[[constraints]]
name = "queue"
metric = "queue_length"
upper = 100
warning_threshold = 0.5
critical_threshold = 0.75
auto_fix = true
description = "orders that wait"

[guard]
max_loss_commits = 100
max_loss_percent = 5.0
repairs_per_hour = 6
cool_down_ms = 60_000

[observation]
sample_interval_ms = 1_000
lock_hold_ms = 2_000
"#;

const POLICIES: &str = r#"version = 1
state_dir = "state"

[[targets]]
name = "orders"
sqlite = "orders.db"
policies = ["default", "careful"]

[policy]
file = "policy.wasm"
require_signature = false
isolation = "reused"
recycle_after = 100

[policy.limits]
deadline_ms = 20
memory_mib = 8
core_instances = 64
stack_kib = 256

[policy.shadow]
decisions = 20
promote = "manual"

[[policies]]
name = "careful"
file = "policy.wasm"
require_signature = false
[policies.limits]
fuel = 10_000_000
[policies.breaker]
failures_in_a_row = 5
rate_percent = 30.0

[[policy.trusted_keys]]
name = "release-2026"
key = "RWRAsSeIj/bflXZNv2UW6iGQomQWNtS80hQZJP0mR7TfsxYVPVySwZOV"
expires = "2027-06-30"
"#;

const PARAMETERS: &str = r#"version = 1
state_dir = "state"

[[targets]]
name = "orders"
sqlite = "orders.db"

[policy.parameters]
stale_lock_age_ms = 120_000
reader_age_ms = 300_000
"#;

/// What takes the place of the built-in policy, whose compiling takes the most time.
const POLICY: &str = "\n[policy]\nfile = \"policy.wasm\"\nrequire_signature = false\n";

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    seeds.policy_into(scene)?;
    let text = match rng.random_range(0..10) {
        0..3 => SMALL.to_owned() + POLICY,
        3..6 => POLICIES.to_owned(),
        6 => PARAMETERS.to_owned(),
        _ => template(rng),
    };
    let changes = rng.random_range(0..4);
    let bytes = toml_text::change(rng, &text, changes);
    let path = scene.join("dbmedic.toml");
    fs::write(&path, bytes)?;
    if chance(rng, 2) {
        replace(rng, &path)?;
    }
    if chance(rng, 2) {
        let mut policy = seeds.policy.clone();
        mutate::bytes(rng, &mut policy, 1);
        fs::write(scene.join("policy.wasm"), policy)?;
        if chance(rng, 50) {
            replace(rng, &scene.join("policy.wasm"))?;
        }
    }
    let case = Case::new(&["config", "check"], ends_well);
    Ok(if chance(rng, 20) {
        case.arg("--json")
    } else {
        case
    })
}

/// The template with some of its options taken in.
fn template(rng: &mut StdRng) -> String {
    let share = *mutate::one(rng, &[5, 30, 70]);
    let mut text = String::new();
    let mut section = true;
    for line in TEMPLATE.lines() {
        let option = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
        match option {
            // A section is taken with what stands in it, or not at all.
            Some(option) if option.starts_with('[') => {
                section = chance(rng, share);
                let name = option.trim_start_matches("[[").trim_end_matches("]]");
                section &= name != "policy.trusted_keys" || chance(rng, 50);
                text.push_str(if section { option } else { line });
            }
            Some(option) if section && (chance(rng, share) || is_needed(option)) => {
                text.push_str(option);
            }
            _ => {
                section |= line.starts_with('[');
                text.push_str(line);
            }
        }
        text.push('\n');
        if line == "[policy]" {
            text.push_str("file = \"policy.wasm\"\nrequire_signature = false\n");
        }
    }
    text.replace("#file = \"policy.wasm\"", "")
        .replace("\nfile = \"policy.wasm\"\n# `dir", "\n# `dir")
}

/// What a section cannot be without.
fn is_needed(option: &str) -> bool {
    ["name", "sqlite", "key", "directory", "metric"]
        .iter()
        .any(|name| option.split(' ').next() == Some(name))
}
