//! Recordings of runs and of tables.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, answers, databases, ends_well, tables};
use crate::execute::{self, Invocation};
use crate::mutate::{self, chance, one};

const FILES: [&str; 2] = ["run.jsonl", "table.rec"];

pub(super) fn prepare(program: &Path, seeds: &Seeds) -> anyhow::Result<()> {
    let dir = &seeds.dir;
    seeds.policy_into(dir)?;
    let mut rng = mutate::generator("recordings", 0, 0);
    let rows = tables::valid(&mut rng, 150);
    fs::write(dir.join("table.csv"), tables::text(&mut rng, &rows))?;
    let args = [
        "import",
        "table.csv",
        "-o",
        "table.rec",
        "--unsigned",
        "--policy",
        "policy.wasm",
    ];
    super::dbmedic(program, dir, &args)?;
    // A run that sees a problem.
    databases::damaged_index(&dir.join("orders.db"))?;
    fs::write(
        dir.join("dbmedic.toml"),
        "version = 1\nstate_dir = \"state\"\n[[targets]]\nname = \"orders\"\nsqlite = \"orders.db\"\n\
         [observation]\nsample_interval_ms = 50\ndecide_interval_ms = 100\ntick_interval_ms = 200\n\
         [policy]\nfile = \"policy.wasm\"\nrequire_signature = false\n",
    )?;
    fs::create_dir(dir.join("tmp"))?;
    let args = ["run", "--record", "run.jsonl"].map(str::to_owned).to_vec();
    let invocation = Invocation {
        args,
        stop_after: Some(Duration::from_millis(1500)),
    };
    let ended = execute::run(program, &invocation, dir, &dir.join("tmp"))?;
    ensure!(ended.code == Some(0), "run --record: {}", ended.err());
    Ok(())
}

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    seeds.policy_into(scene)?;
    let file = *one(rng, &FILES);
    let mut lines: Vec<String> = seeds.text(file)?.lines().map(str::to_owned).collect();
    if chance(rng, 30) {
        for _ in 0..rng.random_range(1..4) {
            mutate::json(rng, &mut lines[0]);
        }
    } else {
        mutate::json_lines(rng, &mut lines, 1);
    }
    let mut bytes = (lines.join("\n") + "\n").into_bytes();
    if chance(rng, 5) {
        mutate::bytes(rng, &mut bytes, 2);
    }
    fs::write(scene.join("input.rec"), bytes)?;
    let replay = ["replay", "input.rec", "--policy", "policy.wasm"];
    Ok(match rng.random_range(0..10) {
        0..5 => Case::new(&replay, answers),
        5..8 => Case::new(&replay, answers).arg("--json"),
        _ => {
            let args = [
                "learn",
                "storm",
                "--recording",
                "input.rec",
                "--incident",
                "INC-1",
            ];
            Case::new(&args, ends_well).writes(&["signatures"])
        }
    })
}
