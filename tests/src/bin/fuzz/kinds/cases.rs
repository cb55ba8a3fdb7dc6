//! Test cases of policies.

use std::fs;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, answers, replace};
use crate::mutate::{chance, one};
use crate::toml_text;

/// The built-in policy's own.
const FILES: [&str; 6] = [
    include_str!("../../../../../policies/default/cases/locks.toml"),
    include_str!("../../../../../policies/default/cases/wal.toml"),
    include_str!("../../../../../policies/default/cases/damage.toml"),
    include_str!("../../../../../policies/default/cases/constraints.toml"),
    include_str!("../../../../../policies/default/cases/repairs.toml"),
    include_str!("../../../../../policies/default/cases/files.toml"),
];
const HEAD: &str = "[[cases]]";

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    seeds.policy_into(scene)?;
    let folder = scene.join("policy.tests");
    fs::create_dir(&folder)?;
    let mut text = String::from("version = 1\n\n");
    for _ in 0..rng.random_range(1..4) {
        let cases: Vec<&str> = one(rng, &FILES).split(HEAD).skip(1).collect();
        // The small policy has no parameters.
        let case: Vec<&str> = one(rng, &cases)
            .lines()
            .filter(|line| !line.starts_with("parameters") && !line.starts_with('#'))
            .collect();
        text = text + HEAD + &case.join("\n") + "\n\n";
    }
    let changes = rng.random_range(1..4);
    let path = folder.join("fuzz.toml");
    fs::write(&path, toml_text::change(rng, &text, changes))?;
    if chance(rng, 2) {
        replace(rng, &path)?;
    }
    let case = Case::new(&["policy", "test", "policy.wasm"], answers);
    Ok(if chance(rng, 30) {
        case.arg("--json")
    } else {
        case
    })
}
