//! The bindings that the SDKs of C and Go carry are those that their generators make of the contract.
//!
//! After a change of the contract run this test with `UPDATE_BINDINGS=1`, which writes them anew.

use std::fs;
use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

use crate::common::{data, files, run};

/// Files that a generator makes and an SDK writes by hand.
const BY_HAND: &str = "export_dbmedic_policy_decision";

fn compare(folder: &str, mut generator: Box<dyn WorldGenerator>) {
    let mut resolve = Resolve::default();
    let wit = data(&run(&["policy", "wit"]));
    let package = resolve.push_str("policy.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("policy")).unwrap();
    let mut made = Files::default();
    generator.generate(&mut resolve, world, &mut made).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut count = 0;
    for (path, bytes) in made.iter().filter(|(path, _)| !path.starts_with(BY_HAND)) {
        let carried = folder.join(path);
        if std::env::var_os("UPDATE_BINDINGS").is_some() {
            fs::create_dir_all(carried.parent().unwrap()).unwrap();
            fs::write(&carried, bytes).unwrap();
        }
        let is_same = fs::read(&carried).is_ok_and(|it| it == bytes);
        assert!(
            is_same,
            "{} is not what the contract gives",
            carried.display()
        );
        count += 1;
    }
    let by_hand = |path: &Path| path.components().any(|part| part.as_os_str() == BY_HAND);
    let carried = files(&folder);
    let carried = carried.iter().filter(|path| !by_hand(path)).count();
    assert_eq!(carried, count, "{}", folder.display());
}

#[test]
fn those_of_c_are_what_the_contract_gives() {
    let options = wit_bindgen_c::Opts {
        // `policy component` puts the contract in.
        no_object_file: true,
        ..Default::default()
    };
    compare("../sdk/c/gen", options.build());
}

#[test]
fn those_of_go_are_what_the_contract_gives() {
    let options = wit_bindgen_go::Opts {
        pkg_name: Some("policy/gen".into()),
        generate_stubs: true,
        ..Default::default()
    };
    compare("../sdk/go/gen", options.build());
}

/// The kinds and facts of the typed views, as the SDK of Rust has them, stand in every other SDK.
#[test]
fn every_sdk_knows_the_same_problems() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
    let read = |path: &str| fs::read_to_string(sdk.join(path)).unwrap();
    let rust = read("rust/src/problems.rs");
    let (declared, _) = rust.split_once("#[cfg(test)]").unwrap();
    let (c, go) = (read("c/dbmedic_problems.def"), read("go/sdk/problems.go"));
    let mut facts = 0;
    for line in declared.lines().map(str::trim) {
        if let Some((kind, _)) = line.split_once("\" => ").filter(|_| line.starts_with('"')) {
            assert!(c.contains(&format!("PROBLEM({kind}\",")), "{line}");
            assert!(go.contains(&format!("return {kind}\" }}")), "{line}");
        }
        let typed = [
            ("u64", "COUNT"),
            ("f64", "NUMBER"),
            ("bool", "FLAG"),
            ("&'a str", "TEXT"),
        ];
        for (rust, in_c) in typed {
            if let Some(fact) = line.strip_suffix(&format!(": {rust},")) {
                assert!(c.contains(&format!("{in_c}({fact})")), "{line}");
                assert!(go.contains(&format!("`fact:\"{fact}\"`")), "{line}");
                facts += 1;
            }
        }
    }
    assert!(facts > 100, "{facts}");
}

/// The SDK of Rust is built in a project with what it is built with here.
#[test]
fn a_project_in_rust_has_the_dependencies_of_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| -> toml::Table {
        let text = fs::read_to_string(root.join(path)).unwrap();
        text.parse().unwrap()
    };
    let workspace = read("Cargo.toml");
    let workspace = &workspace["workspace"]["dependencies"];
    let (here, there) = (
        read("sdk/rust/Cargo.toml"),
        read("sdk/rust/vendored.Cargo.toml"),
    );
    let of = |manifest: &toml::Table| {
        let everywhere = manifest["dependencies"].as_table().unwrap().clone();
        let on_wasm = &manifest["target"]["cfg(target_arch = \"wasm32\")"]["dependencies"];
        everywhere
            .into_iter()
            .chain(on_wasm.as_table().unwrap().clone())
            .collect::<Vec<_>>()
    };
    let there = of(&there);
    assert_eq!(of(&here).len(), there.len());
    for (name, version) in there {
        assert_eq!(version, workspace[name.as_str()], "{name}");
    }
}
