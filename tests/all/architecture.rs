//! The direction of imports: a stage knows the model and the stage before it, never its driver.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module of `host/core/src` or `host/src`, and the modules that it may use besides itself, each of them named
/// before it: so there is no circle.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("constraint", &["model"]),
    ("sqlite_state", &[]),
    ("source", &["sqlite_state"]),
    ("admission", &["constraint", "source"]),
    ("clock", &[]),
    ("calendar", &["model"]),
    ("baseline", &["model"]),
    ("escape", &[]),
    ("document", &["escape", "model"]),
    ("logging", &["clock", "escape", "model"]),
    ("digest", &[]),
    ("path_trust", &[]),
    ("own_dir", &["path_trust"]),
    ("detect", &["baseline", "constraint", "model", "source"]),
    ("signature", &[]),
    ("signature_dir", &["path_trust", "signature"]),
    (
        "diagnose",
        &["constraint", "model", "signature", "source", "sqlite_state"],
    ),
    ("guard", &["model"]),
    ("incident", &["diagnose", "model"]),
    ("pattern", &["detect", "model", "signature"]),
    ("signing", &["digest"]),
    ("policy", &["digest", "model", "own_dir", "signing"]),
    ("series", &["model", "policy"]),
    (
        "pipeline",
        &[
            "constraint",
            "detect",
            "diagnose",
            "guard",
            "incident",
            "model",
            "pattern",
            "policy",
            "series",
            "signature",
            "source",
        ],
    ),
    ("regular_file", &["path_trust"]),
    ("policy_project", &["document", "regular_file"]),
    ("policy_component", &["policy_project"]),
    (
        "recording",
        &["model", "pipeline", "policy", "regular_file"],
    ),
    (
        "policy_tests",
        &[
            "baseline",
            "document",
            "escape",
            "model",
            "pipeline",
            "policy",
            "recording",
            "regular_file",
        ],
    ),
    ("command", &["clock", "model", "pipeline"]),
    (
        "gate",
        &[
            "clock",
            "command",
            "digest",
            "model",
            "own_dir",
            "path_trust",
            "pipeline",
            "policy",
            "policy_tests",
            "regular_file",
            "signing",
        ],
    ),
    (
        "config",
        &[
            "baseline",
            "calendar",
            "constraint",
            "document",
            "gate",
            "guard",
            "logging",
            "model",
            "path_trust",
            "pipeline",
            "policy",
            "regular_file",
            "signing",
        ],
    ),
    (
        "decision_log",
        &[
            "clock",
            "digest",
            "gate",
            "model",
            "own_dir",
            "path_trust",
            "pipeline",
            "policy",
            "policy_tests",
            "regular_file",
            "signing",
        ],
    ),
    ("repair", &["model"]),
    ("health", &["constraint", "model"]),
    ("operations", &["baseline", "source"]),
    (
        "row_values",
        &["digest", "own_dir", "path_trust", "sqlite_state"],
    ),
    (
        "state_dir",
        &[
            "detect",
            "digest",
            "health",
            "model",
            "operations",
            "own_dir",
            "path_trust",
            "row_values",
        ],
    ),
    (
        "store",
        &[
            "clock",
            "command",
            "digest",
            "escape",
            "gate",
            "model",
            "own_dir",
            "path_trust",
            "pipeline",
            "repair",
        ],
    ),
    ("repair_run", &["guard", "model", "repair", "store"]),
    (
        "sqlite",
        &[
            "clock",
            "digest",
            "logging",
            "model",
            "own_dir",
            "path_trust",
            "repair",
            "row_values",
            "source",
            "sqlite_state",
        ],
    ),
    ("resources", &["constraint", "model", "source"]),
    (
        "watch",
        &[
            "clock",
            "health",
            "resources",
            "row_values",
            "source",
            "sqlite",
            "sqlite_state",
            "state_dir",
        ],
    ),
    (
        "live",
        &[
            "calendar",
            "clock",
            "command",
            "constraint",
            "decision_log",
            "detect",
            "gate",
            "guard",
            "health",
            "pipeline",
            "policy",
            "recording",
            "repair",
            "repair_run",
            "signature_dir",
            "sqlite",
            "state_dir",
            "store",
            "watch",
        ],
    ),
    (
        "assemble",
        &[
            "calendar",
            "clock",
            "config",
            "decision_log",
            "diagnose",
            "gate",
            "guard",
            "live",
            "model",
            "pipeline",
            "policy",
            "recording",
            "regular_file",
            "resources",
            "signature",
            "signature_dir",
            "state_dir",
            "store",
            "watch",
        ],
    ),
    ("report", &["escape", "live", "model", "pipeline", "policy"]),
    (
        "demo",
        &[
            "assemble",
            "clock",
            "command",
            "config",
            "digest",
            "escape",
            "guard",
            "live",
            "model",
            "pipeline",
            "repair_run",
            "report",
        ],
    ),
    ("replay", &["pipeline", "policy", "recording"]),
    ("table", &[]),
    (
        "cli",
        &[
            "assemble",
            "clock",
            "command",
            "config",
            "decision_log",
            "demo",
            "detect",
            "digest",
            "document",
            "escape",
            "gate",
            "guard",
            "health",
            "live",
            "logging",
            "model",
            "path_trust",
            "pattern",
            "pipeline",
            "policy",
            "policy_component",
            "policy_project",
            "policy_tests",
            "recording",
            "regular_file",
            "replay",
            "report",
            "row_values",
            "signature",
            "signature_dir",
            "signing",
            "source",
            "sqlite",
            "sqlite_state",
            "state_dir",
            "store",
            "table",
            "watch",
        ],
    ),
    (
        "embedded",
        &[
            "admission",
            "assemble",
            "clock",
            "config",
            "constraint",
            "health",
            "operations",
            "pipeline",
            "recording",
            "resources",
            "source",
            "state_dir",
        ],
    ),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host");
    let mut found = sources_below(&host.join("src"));
    found.extend(sources_below(&host.join("core/src")));
    found
}

/// Module, path and text of each source file of a crate.
fn sources_below(root: &Path) -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let first = path
                    .strip_prefix(root)
                    .unwrap()
                    .components()
                    .next()
                    .unwrap();
                let module = first
                    .as_os_str()
                    .to_str()
                    .unwrap()
                    .trim_end_matches(".rs")
                    .to_owned();
                found.push((module, path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.retain(|(module, ..)| module != "lib" && module != "main");
    found
}

#[test]
fn data_flows_one_way() {
    let may_use: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    for (module, path, text) in sources() {
        let allowed = may_use.get(module.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("{module} is not in the table"));
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let is_module = may_use.contains_key(used.as_str());
                assert!(
                    !is_module || used == module || allowed.contains(&used.as_str()),
                    "{}:{}: {module} may not use {used}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn there_is_no_circle() {
    let mut before = BTreeSet::new();
    for (module, uses) in MAY_USE {
        for used in *uses {
            assert!(before.contains(used), "{module} is named before {used}");
        }
        assert!(before.insert(module), "{module} is named twice");
    }
}

/// What reaches a clock, a file, a network or another process: not the core.
#[test]
fn the_core_is_without_input_and_output() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/core");
    let manifest: toml::Table = fs::read_to_string(core.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let pure = [
        "jiff",
        "postcard",
        "proptest",
        "rand",
        "serde",
        "serde_json",
        "statrs",
        "strsim",
        "thiserror",
        "toml",
    ];
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().unwrap().keys() {
            assert!(pure.contains(&name.as_str()), "{section}: {name}");
        }
    }
    let outside = [
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
    ];
    for (_, path, text) in sources_below(&core.join("src")) {
        for outside in outside {
            assert!(!text.contains(outside), "{}: {outside}", path.display());
        }
    }
}

#[test]
fn only_the_guard_makes_an_approved_repair() {
    for (module, path, text) in sources() {
        if module != "guard" {
            assert!(!text.contains("ApprovedRepair {"), "{}", path.display());
            continue;
        }
        let Some((before, _)) = text.split_once("pub struct ApprovedRepair") else {
            continue;
        };
        let derive = before
            .lines()
            .last()
            .filter(|line| line.starts_with("#[derive"))
            .unwrap();
        assert!(
            !derive.contains("Deserialize"),
            "an approved repair could be read from a file"
        );
    }
}

#[test]
fn the_pure_stages_read_no_clock() {
    let pure = [
        "model",
        "sqlite_state",
        "repair",
        "baseline",
        "constraint",
        "admission",
        "health",
        "series",
        "detect",
        "diagnose",
        "signature",
        "pattern",
        "incident",
        "guard",
        "pipeline",
        "recording",
        "replay",
        "report",
        "config",
        "table",
    ];
    for (module, path, text) in sources() {
        if pure.contains(&module.as_str()) {
            for clock in ["SystemTime", "Instant::now", "thread::sleep"] {
                assert!(!text.contains(clock), "{}: {clock}", path.display());
            }
        }
    }
}

/// The process that watches opens no database under care: workers do. The one that it opens itself is its state.
#[test]
fn only_the_store_opens_a_database_in_the_main_process() {
    for (module, path, text) in sources() {
        // The demo's own workload and its proofs run in processes of their own.
        let may = ["store", "sqlite", "demo"].contains(&module.as_str());
        assert!(may || !text.contains("rusqlite::"), "{}", path.display());
    }
}

#[test]
fn unsafe_code_stands_in_one_file_only() {
    for (_, path, text) in sources() {
        let code = text.lines().map(str::trim_start);
        let uses = code
            // A comment or a text may speak of it.
            .filter(|line| !line.starts_with("//") && !line.starts_with('"'))
            .filter(|line| line.contains("unsafe"))
            .count();
        if path.ends_with("policy/cache.rs") {
            assert_eq!(uses, 2, "the block and the lint that expects it");
        } else {
            assert_eq!(uses, 0, "{}", path.display());
        }
    }
}

#[test]
fn only_an_explicit_setting_lets_unsigned_policies_run() {
    for (module, path, text) in sources() {
        // Where a person names a file for something that decides about no live database, and where
        // the setting is read.
        let may = ["signing", "assemble", "gate"].contains(&module.as_str())
            || path.ends_with("tests.rs")
            || path.ends_with("cli/policy.rs")
            || path.parent().is_some_and(|dir| dir.ends_with("cli/policy"))
            || path.ends_with("cli/replay.rs")
            || path.ends_with("cli/recording/rework.rs");
        assert!(
            may || !text.contains("Verified::unsigned"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn each_kind_of_problem_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let known = fs::read_to_string(root.join("sdk/rust/src/problems.rs")).unwrap();
    let explained = fs::read_to_string(root.join("PROBLEMS.md")).unwrap();
    let kinds: Vec<&str> = known
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "))
        .map(|(kind, _)| kind)
        .collect();
    assert!(kinds.len() > 30, "{kinds:?}");
    for kind in kinds {
        assert!(explained.contains(&format!("`{kind}`")), "{kind}");
    }
}
