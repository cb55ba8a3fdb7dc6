//! Policies.

use std::fs;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, replace};
use crate::execute::Ended;
use crate::mutate::{self, chance, one};

/// Where the small policy's answers lie as data: the verdict, the reason, and what is described.
const TEXTS: [&[u8]; 6] = [
    b"attack",
    b"0.1.0",
    b"Attacks.",
    b"attack.behaved",
    b"all is well",
    b"lock.end-holder",
];

/// A case that is carried along.
const CASES: &str = "version = 1\n[[cases]]\nname = \"x\"\n[[cases.events]]\ntick = true\n";

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    let mut bytes = seeds.policy.clone();
    match rng.random_range(0..100) {
        0..45 => {
            for _ in 0..rng.random_range(1..4) {
                data(rng, &mut bytes);
            }
        }
        45..60 => {
            let name = *one(rng, &["dbmedic:tests", "name", "producers", "x\u{1b}[2J"]);
            let mut content = CASES.as_bytes().to_vec();
            let changes = rng.random_range(0..4);
            mutate::bytes(rng, &mut content, changes);
            section(&mut bytes, name, &content);
        }
        60..95 => {
            let changes = rng.random_range(1..4);
            mutate::overwrite(rng, &mut bytes, changes);
        }
        _ => {
            let changes = rng.random_range(1..4);
            mutate::bytes(rng, &mut bytes, changes);
        }
    }
    let path = scene.join("policy.wasm");
    fs::write(&path, bytes)?;
    if chance(rng, 2) {
        replace(rng, &path)?;
    }
    Ok(match rng.random_range(0..10) {
        0..6 => Case::new(&["policy", "check", "policy.wasm", "--json"], compiled),
        6..8 => Case::new(&["policy", "check", "policy.wasm"], compiled),
        8 => {
            let cases = scene.join("policy.tests");
            fs::create_dir(&cases)?;
            fs::write(cases.join("fuzz.toml"), CASES)?;
            Case::new(&["policy", "test", "policy.wasm"], super::answers)
        }
        _ => {
            // As the gate would, by its configuration.
            let text = "version = 1\nstate_dir = \"state\"\n[policy]\nfile = \"policy.wasm\"\nrequire_signature = false\n";
            fs::write(scene.join("dbmedic.toml"), text)?;
            Case::new(&["config", "check"], super::ends_well)
        }
    })
}

/// Whether it was compiled: a valid component of the contract.
fn compiled(ended: &Ended) -> bool {
    let said = ended.out();
    said.contains("\"compile\"") || said.contains("ok     compile")
}

/// Changes what the policy answers: texts, numbers and flags in its data.
fn data(rng: &mut StdRng, bytes: &mut [u8]) {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    let verdict = find(bytes, TEXTS[5]).map(|at| at + TEXTS[5].len());
    match rng.random_range(0..3) {
        0 => {
            let what = *one(rng, &TEXTS);
            if let Some(at) = find(bytes, what) {
                mutate::overwrite(rng, &mut bytes[at..at + what.len()], 1);
            }
        }
        _ => {
            // Everything behind the last text: the reason, the description and the verdict.
            if let Some(at) = verdict {
                let end = (at + 160).min(bytes.len());
                let place = rng.random_range(at..end);
                let width = (*one(rng, &[1, 4])).min(end - place);
                bytes[place..place + width].reverse();
                mutate::put_number(rng, &mut bytes[place..place + width]);
                bytes[place..place + width].reverse();
            }
        }
    }
}

/// Adds a custom section.
fn section(bytes: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut body = leb(name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    bytes.push(0);
    bytes.extend(leb(body.len()));
    bytes.extend(body);
}

/// A number in LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
