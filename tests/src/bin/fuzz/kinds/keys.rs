//! Public and secret keys, and signatures of policies.

use std::fs;
use std::path::Path;

use dbmedic::signing::{self, Comment, Password};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Case, Seeds, ends_well, replace};
use crate::execute::Ended;
use crate::mutate::{self, chance, one};

pub(super) fn prepare(seeds: &Seeds) -> anyhow::Result<()> {
    for name in ["first", "second"] {
        let keys = signing::generate(&Password::None)?;
        fs::write(seeds.dir.join(format!("{name}.key")), keys.secret)?;
        fs::write(seeds.dir.join(format!("{name}.pub")), keys.public)?;
    }
    Ok(())
}

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    seeds.policy_into(scene)?;
    let secret = seeds.text("first.key")?;
    let (public, signature, key) = (
        scene.join("policy.pub"),
        scene.join("policy.wasm.minisig"),
        scene.join("policy.key"),
    );
    let signed = signing::sign(&seeds.policy, &comment(rng, seeds), &secret)?;
    fs::write(&signature, signed)?;
    let trusted = if chance(rng, 10) {
        "second.pub"
    } else {
        "first.pub"
    };
    fs::write(&public, seeds.read(trusted)?)?;
    fs::write(&key, secret)?;
    // Secret keys are tried where a policy is signed; there the signature is written.
    let signs = chance(rng, 20);
    let changed = match rng.random_range(0..10) {
        _ if signs => &key,
        0..4 => &public,
        _ => &signature,
    };
    if chance(rng, 85) {
        fs::write(changed, change(rng, &fs::read_to_string(changed)?))?;
    }
    if chance(rng, 3) {
        replace(rng, changed)?;
    }
    if chance(rng, 5) {
        let mut policy = seeds.policy.clone();
        mutate::bytes(rng, &mut policy, 1);
        fs::write(scene.join("policy.wasm"), policy)?;
    }
    Ok(if signs {
        Case::new(
            &["policy", "sign", "-k", "policy.key", "policy.wasm"],
            ends_well,
        )
        .writes(&["policy.wasm.minisig"])
    } else if chance(rng, 15) {
        // The key itself, as an argument.
        let text = fs::read(&public).unwrap_or_default();
        let line = String::from_utf8_lossy(&text)
            .lines()
            .nth(1)
            .unwrap_or("")
            .replace('\0', "");
        Case::new(&["policy", "verify", "policy.wasm"], verified).arg(&format!("--key={line}"))
    } else {
        let args = ["policy", "verify", "-k", "policy.pub", "policy.wasm"];
        let case = Case::new(&args, verified);
        if chance(rng, 30) {
            case.arg("--json")
        } else {
            case
        }
    })
}

/// Whether key and signature were understood: whether the one made the other is another question.
fn verified(ended: &Ended) -> bool {
    let said = ended.out() + &ended.err();
    let not_read = [
        "cannot be read",
        "old kind",
        "trusted comment",
        "no minisign",
        "has no signature",
    ];
    matches!(ended.code, Some(0 | 1)) && !not_read.iter().any(|text| said.contains(text))
}

/// What a signature may say of a policy: often true.
fn comment(rng: &mut StdRng, seeds: &Seeds) -> Comment {
    let true_or = |rng: &mut StdRng, right: &str| {
        Some(if chance(rng, 70) {
            right.to_owned()
        } else {
            mutate::text(rng)
        })
    };
    Comment {
        policy: true_or(rng, "attack"),
        version: true_or(rng, "0.1.0"),
        sha256: Some(if chance(rng, 95) {
            signing::sha256(&seeds.policy)
        } else {
            mutate::text(rng)
        }),
        signed_ms: Some(*one(
            rng,
            &[0, 1_700_000_000_000, 4_000_000_000_000, 253_402_300_799_000],
        )),
        expires_ms: *one(rng, &[None, None, Some(1), Some(4_000_000_000_000)]),
    }
}

/// Changes one of the lines: the comments are free, the rest is base64.
fn change(rng: &mut StdRng, text: &str) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = if chance(rng, 60) {
        0
    } else {
        rng.random_range(0..lines.len())
    };
    let is_comment = at % 2 == 0;
    match rng.random_range(0..20) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines[at] = mutate::text(rng),
        3 => drop(lines[at].pop()),
        _ if is_comment => {
            let added = mutate::text(rng).replace('\n', " ");
            lines[at].push_str(&added);
        }
        _ => {
            // Another digit of base64.
            let place = rng.random_range(0..lines[at].len().max(1));
            if lines[at].is_char_boundary(place) && place < lines[at].len() {
                let digit = *one(rng, &["A", "z", "0", "+", "/", "="]);
                lines[at].replace_range(place..=place, digit);
            }
        }
    }
    let end = *one(rng, &["\n", "\n", "\n", "\r\n"]);
    let mut bytes = (lines.join(end) + end).into_bytes();
    if chance(rng, 5) {
        mutate::bytes(rng, &mut bytes, 1);
    }
    bytes
}
