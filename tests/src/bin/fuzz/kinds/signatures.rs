//! Learned signatures.

use std::fs;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, dbmedic, replace, tables};
use crate::execute::Ended;
use crate::mutate::{self, chance};
use crate::toml_text;

pub(super) fn prepare(program: &Path, dir: &Path) -> anyhow::Result<()> {
    let mut rng = mutate::generator("signatures", 0, 0);
    let rows = tables::valid(&mut rng, 400);
    fs::write(dir.join("table.csv"), tables::text(&mut rng, &rows))?;
    let last = rows.len() - 2;
    let rows = format!("{}..{last}", last * 8 / 10);
    for _ in 0..3 {
        dbmedic(
            program,
            dir,
            &[
                "learn",
                "lock-storm",
                "--from",
                "table.csv",
                "--rows",
                &rows,
            ],
        )?;
    }
    Ok(())
}

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    let known = scene.join("signatures");
    fs::create_dir(&known)?;
    fs::write(scene.join("table.csv"), seeds.read("table.csv")?)?;
    let changes = rng.random_range(1..5);
    let text = seeds.text("signatures/lock-storm.toml")?;
    let path = known.join("lock-storm.toml");
    fs::write(&path, toml_text::change(rng, &text, changes))?;
    if chance(rng, 2) {
        replace(rng, &path)?;
    }
    let count = fs::read_to_string(scene.join("table.csv"))?.lines().count();
    let rows = format!("{}..{}", count * 8 / 10, count - 2);
    Ok(match rng.random_range(0..10) {
        0..5 => Case::new(&["diagnose", "table.csv", "--rows", &rows], accepted),
        5..7 => Case::new(
            &["diagnose", "table.csv", "--json", "--rows", &rows],
            accepted,
        )
        .arg("--no-built-in"),
        7..9 => Case::new(&["detect", "table.csv"], accepted),
        // Learns on from it.
        _ => Case::new(
            &[
                "learn",
                "lock-storm",
                "--from",
                "table.csv",
                "--rows",
                &rows,
            ],
            accepted,
        )
        .writes(&["signatures"]),
    })
}

fn accepted(ended: &Ended) -> bool {
    ended.code == Some(0) && !ended.err().contains("is left out")
}
