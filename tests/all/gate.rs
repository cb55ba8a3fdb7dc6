//! The gate with real components, real files and a real socket: every refusal, watching, restart.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dbmedic::gate::{
    CandidateState, GateSettings, ProbationSettings, ShadowSettings, Source, Trust,
};
use dbmedic::model::{Setting, Value};
use dbmedic::signing::{self, Comment, NewKeys, Password, TrustedKey};
use dbmedic::store::Reader;

use crate::common::wait_for;
use crate::ward::{Ward, WardOptions, component, hostile, signed, trusted};

fn options() -> WardOptions {
    WardOptions {
        gate: GateSettings {
            allow_downgrade: false,
            shadow: ShadowSettings {
                decisions: 3,
                ..ShadowSettings::default()
            },
            probation: ProbationSettings {
                slow_ms: 10_000,
                ..ProbationSettings::default()
            },
        },
        ..WardOptions::default()
    }
}

fn keys() -> NewKeys {
    signing::generate(&Password::None).unwrap()
}

#[test]
fn a_signed_policy_goes_through_the_gate_and_comes_up_after_a_restart() {
    let keys = keys();
    let mut options = options();
    options.trust.keys = vec![trusted("ours", &keys)];
    let home = tempfile::tempdir().unwrap();
    let ward = Ward::start(home.path(), options.clone());
    let before = ward.present("default");
    let new = component("0.2.0", 1);
    let file = signed(home.path(), "new.wasm", &new, &keys);
    let digest = signing::sha256(&new);
    ward.swap("default", &file).unwrap();
    ward.until_in_service("default", &digest);
    let report = ward.report("default");
    assert_eq!(report.present.identity.version, "0.2.0");
    assert_eq!(report.last_good.unwrap().identity.digest, before);
    assert!(report.on_probation);
    ward.stop();

    let ward = Ward::start(home.path(), options.clone());
    assert_eq!(ward.present("default"), digest, "not the built-in one");
    let back = ward.roll_back("default").unwrap();
    assert!(back.contains("a person said"), "{back}");
    ward.until_in_service("default", &before);
    ward.stop();

    // Its key is trusted no more: nothing else was in service before, so there is no start.
    let ward = Ward::start(home.path(), options.clone());
    ward.swap("default", &file).unwrap();
    ward.until_in_service("default", &digest);
    ward.stop();
    options.trust.keys.clear();
    let ward = Ward::start(home.path(), options);
    assert_eq!(ward.present("default"), before, "the last good one is back");
    ward.stop();
}

#[test]
fn every_bad_signature_is_refused_and_nothing_changes() {
    let (ours, theirs) = (keys(), keys());
    let mut options = options();
    options.trust.keys = vec![trusted("ours", &ours)];
    let home = tempfile::tempdir().unwrap();
    let ward = Ward::start(home.path(), options);
    let before = ward.present("default");
    let dir = home.path();
    let bytes = component("0.2.0", 1);
    let path = |name: &str| dir.join(name);
    let unsigned = path("unsigned.wasm");
    fs::write(&unsigned, &bytes).unwrap();
    let other = signed(dir, "other.wasm", &component("0.2.0", 2), &ours);
    fs::write(&other, &bytes).unwrap();
    let cut = signed(dir, "cut.wasm", &component("0.2.0", 3), &ours);
    let signature = path("cut.wasm.minisig");
    let whole = fs::read(&signature).unwrap();
    fs::write(&signature, &whole[..whole.len() / 2]).unwrap();
    let half = signed(dir, "half.wasm", &component("0.2.0", 4), &ours);
    fs::write(&half, &component("0.2.0", 4)[..5000]).unwrap();
    let late = path("late.wasm");
    fs::write(&late, component("0.2.0", 5)).unwrap();
    let expired = Comment {
        expires_ms: Some(1),
        ..Comment::default()
    };
    let signature = signing::sign(&component("0.2.0", 5), &expired, &ours.secret).unwrap();
    fs::write(path("late.wasm.minisig"), signature).unwrap();
    let renamed = path("renamed.wasm");
    fs::write(&renamed, component("0.2.0", 6)).unwrap();
    let claims = Comment {
        version: Some("7.0.0".into()),
        ..Comment::default()
    };
    let signature = signing::sign(&component("0.2.0", 6), &claims, &ours.secret).unwrap();
    fs::write(path("renamed.wasm.minisig"), signature).unwrap();

    for (file, expected) in [
        (unsigned, "signature: it has no signature"),
        (
            signed(dir, "theirs.wasm", &bytes, &theirs),
            "which is not trusted",
        ),
        (other, "they were changed"),
        (cut, "it is not the four whole lines"),
        (half, "they were changed"),
        (late, "expired on 1970-01-01"),
        (renamed, "was signed as 7.0.0"),
        (
            signed(dir, "older.wasm", &component("0.0.9", 1), &ours),
            "older than 0.1.0, which is in service",
        ),
        (dir.join("missing.wasm"), "No such file"),
    ] {
        let said = ward.swap("default", &file).unwrap_err();
        assert!(said.contains(expected), "{}: {said}", file.display());
        assert_eq!(ward.present("default"), before);
    }
    let said = ward.swap("nobody", &path("unsigned.wasm")).unwrap_err();
    assert!(said.contains("no policy is called `nobody`"), "{said}");
    ward.stop();
}

#[test]
fn unsigned_policies_need_an_explicit_setting_that_shows() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust = Trust {
        require_signature: false,
        keys: Vec::new(),
    };
    let ward = Ward::start(home.path(), options);
    let new = component("0.2.0", 1);
    fs::write(home.path().join("new.wasm"), &new).unwrap();
    ward.swap("default", &home.path().join("new.wasm")).unwrap();
    ward.until_in_service("default", &signing::sha256(&new));
    let report = ward.report("default");
    assert_eq!(report.require_signature, Some(false));
    assert_eq!(report.present.provenance, signing::Provenance::Unsigned);
    ward.stop();
}

/// A component that carries these test cases.
fn with_cases(cases: &str) -> Vec<u8> {
    const NAME: &str = "dbmedic:tests";
    let mut bytes = component("0.2.0", 1);
    let length = 1 + NAME.len() + cases.len();
    assert!(length < 16_384);
    bytes.push(0);
    // The section's length as LEB128, one byte or two.
    if length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 0x80);
        bytes.push(u8::try_from(length / 128).unwrap());
    } else {
        bytes.push(u8::try_from(length).unwrap());
    }
    bytes.push(u8::try_from(NAME.len()).unwrap());
    bytes.extend_from_slice(NAME.as_bytes());
    bytes.extend_from_slice(cases.as_bytes());
    bytes
}

#[test]
fn what_is_no_policy_is_refused_at_its_step() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    let ward = Ward::start(home.path(), options);
    let before = ward.present("default");
    for (name, bytes, expected) in [
        ("empty", Vec::new(), "contract: the policy file is empty"),
        (
            "junk",
            b"this is no WebAssembly".to_vec(),
            "contract: this is no",
        ),
        (
            "core",
            b"\0asm\x01\0\0\0".to_vec(),
            "contract: this is a core",
        ),
        ("half", component("0.2.0", 9)[..9000].to_vec(), "compile: "),
        ("trap", hostile("describe=trap"), "contract: "),
        ("loop", hostile("describe=endless-loop"), "contract: "),
        ("nameless", hostile("describe=nameless"), "contract: "),
        (
            "unproven",
            with_cases(
                "version = 1\n[[cases]]\nname = \"stops\"\nexpect = { level = \"escalate\" }\n[[cases.events]]\ntick = true\n",
            ),
            "tests: stops: ",
        ),
        ("scribbled", with_cases("version = 9\n"), "tests: "),
    ] {
        let file = home.path().join(format!("{name}.wasm"));
        fs::write(&file, bytes).unwrap();
        let said = ward.swap("default", &file).unwrap_err();
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(ward.present("default"), before, "{name}");
    }
    ward.stop();
}

/// A case that the default policy passes, or fails.
fn case(passes: bool) -> String {
    let level = if passes { "normal" } else { "escalate" };
    format!(
        "version = 1\n[[cases]]\nname = \"quiet\"\nexpect = {{ level = \"{level}\" }}\n\
         [[cases.events]]\ntick = true\n"
    )
}

#[test]
fn cases_in_the_folder_beside_a_candidate_are_run_and_may_be_put_right() {
    let home = tempfile::tempdir().unwrap();
    let (ward, file) = watching(home.path());
    let before = ward.present("default");
    let folder = home.path().join("policy.tests");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("good.toml"), case(true)).unwrap();
    fs::write(folder.join("bad.toml"), case(false)).unwrap();
    let new = component("0.2.0", 1);
    fs::write(&file, &new).unwrap();
    let digest = signing::sha256(&new);
    let refusal = ward.until_refused("default", &digest);
    assert!(refusal.starts_with("tests: quiet: "), "{refusal}");
    assert_eq!(ward.present("default"), before);
    // The same component, by hand: the same answer.
    let said = ward.swap("default", &file).unwrap_err();
    assert!(said.contains("refused at tests: quiet: "), "{said}");
    // A mistake in a file is told by file and line.
    fs::write(folder.join("bad.toml"), "version = 1\nfrobnicate = 2\n").unwrap();
    let said = ward.swap("default", &file).unwrap_err();
    assert!(said.contains("bad.toml:2:1"), "{said}");
    // Put right, it comes into service without a change of the component.
    fs::write(folder.join("bad.toml"), case(true)).unwrap();
    ward.until_in_service("default", &digest);
    ward.stop();
}

#[test]
fn parameters_that_the_candidate_refuses_are_told_where_they_stand() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.settings = vec![Setting {
        name: "stale_lock_age_ms".into(),
        value: Value::Integer(5000),
    }];
    let ward = Ward::start(home.path(), options);
    let file = home.path().join("hostile.wasm");
    fs::write(&file, hostile("describe=well-behaved")).unwrap();
    let said = ward.swap("default", &file).unwrap_err();
    assert!(said.contains("refused at parameters"), "{said}");
    assert!(said.contains("here: stale_lock_age_ms"), "{said}");
    ward.stop();
}

#[test]
fn a_candidate_that_fails_in_the_shadow_never_decides() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    let ward = Ward::start(home.path(), options);
    let before = ward.present("default");
    let bad = crate::ward::fails_to_decide(1);
    let file = home.path().join("bad.wasm");
    fs::write(&file, &bad).unwrap();
    let said = ward.swap("default", &file).unwrap();
    assert!(said.contains("is in shadow"), "{said}");
    let digest = signing::sha256(&bad);
    let refusal = ward.until_refused("default", &digest);
    assert!(refusal.contains("shadow: it failed"), "{refusal}");
    assert_eq!(ward.present("default"), before);
    let decided = ward.stop();
    assert!(decided.iter().all(|part| part.digest != digest));
}

#[test]
fn on_probation_the_last_good_policy_returns_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.gate.shadow.decisions = 0;
    let ward = Ward::start(home.path(), options);
    let before = ward.present("default");
    let bad = crate::ward::fails_to_decide(2);
    let digest = signing::sha256(&bad);
    fs::write(home.path().join("bad.wasm"), &bad).unwrap();
    ward.swap("default", &home.path().join("bad.wasm")).unwrap();
    let refusal = ward.until_refused("default", &digest);
    assert!(refusal.contains("probation: "), "{refusal}");
    ward.until_in_service("default", &before);
    let decided = ward.stop();
    let of_bad: Vec<_> = decided
        .iter()
        .filter(|part| part.digest == digest)
        .collect();
    assert!(!of_bad.is_empty());
    assert!(of_bad.iter().all(|part| part.failed), "none was believed");
}

#[test]
fn a_person_promotes_what_differs_too_much() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.gate.shadow.promote_by_itself = false;
    let ward = Ward::start(home.path(), options);
    let new = component("0.2.0", 1);
    let digest = signing::sha256(&new);
    fs::write(home.path().join("new.wasm"), &new).unwrap();
    ward.swap("default", &home.path().join("new.wasm")).unwrap();
    let comparison = wait_for("the candidate to wait", || {
        match ward.report("default").candidate {
            Some(CandidateState::Waiting { comparison, .. }) => Some(comparison),
            _ => None,
        }
    });
    assert!(comparison.decisions >= 3, "{comparison:?}");
    assert_eq!(comparison.differences, 0, "the same code");
    ward.promote("default").unwrap();
    ward.until_in_service("default", &digest);
    let again = ward.promote("default").unwrap_err();
    assert!(again.contains("no candidate"), "{again}");
    ward.stop();
}

/// A ward that watches a file which holds version 0.1.0 to begin with.
fn watching(home: &Path) -> (Ward, PathBuf) {
    let file = home.join("policy.wasm");
    fs::write(&file, component("0.1.0", 0)).unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.source = Source::File(file.clone());
    (Ward::start(home, options), file)
}

#[test]
fn a_file_is_watched_through_renames_half_written_files_and_links() {
    let home = tempfile::tempdir().unwrap();
    let (ward, file) = watching(home.path());
    assert_eq!(
        ward.present("default"),
        signing::sha256(&component("0.1.0", 0)),
        "the first start takes what the file holds"
    );
    // In place, with a pause in the middle that is longer than a file settles.
    let second = component("0.2.0", 0);
    fs::write(&file, &second[..second.len() / 2]).unwrap();
    ward.until_refused("default", &signing::sha256(&second[..second.len() / 2]));
    fs::write(&file, &second).unwrap();
    ward.until_in_service("default", &signing::sha256(&second));
    // An atomic rename.
    let third = component("0.3.0", 0);
    fs::write(home.path().join("new"), &third).unwrap();
    fs::rename(home.path().join("new"), &file).unwrap();
    ward.until_in_service("default", &signing::sha256(&third));
    // A link that is turned.
    let fourth = component("0.4.0", 0);
    fs::write(home.path().join("v4.wasm"), &fourth).unwrap();
    symlink("v4.wasm", home.path().join("link")).unwrap();
    fs::rename(home.path().join("link"), &file).unwrap();
    ward.until_in_service("default", &signing::sha256(&fourth));
    ward.stop();
}

#[test]
fn a_restart_does_not_undo_what_a_person_put_in_service() {
    let home = tempfile::tempdir().unwrap();
    let (ward, _) = watching(home.path());
    let new = component("0.2.0", 7);
    let digest = signing::sha256(&new);
    fs::write(home.path().join("by-hand.wasm"), &new).unwrap();
    ward.swap("default", &home.path().join("by-hand.wasm"))
        .unwrap();
    ward.until_in_service("default", &digest);
    let options = ward.options().clone();
    ward.stop();
    let ward = Ward::start(home.path(), options);
    // As long as it takes to find, settle and refuse the file that is still there.
    ward.decide_some(500);
    assert_eq!(ward.present("default"), digest);
    assert!(ward.report("default").refused.is_empty());
    ward.stop();
}

#[test]
fn of_a_directory_the_newest_that_is_good_counts() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("policies");
    fs::create_dir(&dir).unwrap();
    let newest = component("0.9.9", 0);
    fs::write(dir.join("a.wasm"), component("0.8.9", 0)).unwrap();
    fs::write(dir.join("b.wasm"), &newest).unwrap();
    fs::write(dir.join("c.wasm"), b"junk").unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.source = Source::Directory(dir.clone());
    let ward = Ward::start(home.path(), options);
    assert_eq!(ward.present("default"), signing::sha256(&newest));
    // Several at once, the newest not the last of them by name.
    let newer = component("1.0.0", 0);
    fs::write(dir.join("d.wasm"), &newer).unwrap();
    fs::write(dir.join("e.wasm"), component("0.9.9", 1)).unwrap();
    fs::write(dir.join("f.wasm"), component("0.1.1", 0)).unwrap();
    ward.until_in_service("default", &signing::sha256(&newer));
    ward.stop();
}

#[test]
fn the_socket_is_for_its_owner_and_speaks_versions() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    let home = tempfile::tempdir().unwrap();
    let ward = Ward::start(home.path(), options());
    let socket = home.path().join("state/dbmedic.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (line, expected) in [
        ("{\"v\":9,\"do\":\"status\"}\n", "protocol version 9"),
        ("{\"v\":1,\"do\":\"dance\"}\n", "not understood"),
        ("junk\n", "not understood"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(&stream).read_line(&mut said).unwrap();
        assert!(said.contains(expected), "{line}: {said}");
    }
    ward.stop();
    assert!(!socket.exists(), "it goes with dbmedic");
    let kept = Reader::open(&home.path().join("state")).unwrap().unwrap();
    let at_rest = dbmedic::gate::at_rest(&kept.services().unwrap());
    assert_eq!(at_rest.len(), 1);
    assert!(!at_rest[0].running);
}

#[test]
fn two_keys_sign_while_they_are_rotated() {
    let (old, new) = (keys(), keys());
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.keys = vec![
        TrustedKey {
            expires_ms: Some(1),
            ..trusted("old", &old)
        },
        trusted("new", &new),
    ];
    let ward = Ward::start(home.path(), options);
    let late = signed(home.path(), "late.wasm", &component("0.2.0", 1), &old);
    let said = ward.swap("default", &late).unwrap_err();
    assert!(said.contains("key `old` expired"), "{said}");
    let good = component("0.2.0", 2);
    let file = signed(home.path(), "good.wasm", &good, &new);
    ward.swap("default", &file).unwrap();
    ward.until_in_service("default", &signing::sha256(&good));
    ward.stop();
}

#[test]
fn a_policy_in_service_takes_a_new_signature_before_its_key_goes() {
    let (old, new) = (keys(), keys());
    let home = tempfile::tempdir().unwrap();
    let bytes = component("0.2.0", 1);
    let digest = signing::sha256(&bytes);
    let file = signed(home.path(), "policy.wasm", &bytes, &old);
    let mut options = options();
    options.source = Source::File(file.clone());
    options.trust.keys = vec![trusted("old", &old), trusted("new", &new)];
    let signer = |ward: &Ward| match ward.report("default").present.provenance {
        signing::Provenance::Signed { key, .. } => key,
        other => panic!("{other:?}"),
    };
    let ward = Ward::start(home.path(), options.clone());
    assert_eq!(signer(&ward), "old");
    // Told by hand, of a file that is not watched.
    let elsewhere = tempfile::tempdir().unwrap();
    let again = signed(elsewhere.path(), "again.wasm", &bytes, &new);
    let said = ward.swap("default", &again).unwrap();
    assert!(said.contains("has a new signature, by new"), "{said}");
    assert_eq!(signer(&ward), "new");
    let said = ward.swap("default", &again).unwrap_err();
    assert!(said.contains("in service already"), "{said}");
    let foreign = signed(elsewhere.path(), "foreign.wasm", &bytes, &keys());
    let said = ward.swap("default", &foreign).unwrap_err();
    assert!(said.contains("its new signature is not taken"), "{said}");
    // And found where it is watched.
    signed(home.path(), "policy.wasm", &bytes, &old);
    wait_for("the old key's signature", || {
        (signer(&ward) == "old").then_some(())
    });
    signed(home.path(), "policy.wasm", &bytes, &new);
    wait_for("the new key's signature", || {
        (signer(&ward) == "new").then_some(())
    });
    ward.stop();
    options.trust.keys.remove(0);
    let ward = Ward::start(home.path(), options.clone());
    assert_eq!(ward.present("default"), digest);
    assert_eq!(signer(&ward), "new");
    ward.stop();

    // Signed anew while no dbmedic was running.
    signed(home.path(), "policy.wasm", &bytes, &old);
    options.trust.keys = vec![trusted("old", &old)];
    let ward = Ward::start(home.path(), options);
    assert_eq!(ward.present("default"), digest);
    assert_eq!(signer(&ward), "old");
    ward.stop();
}

#[test]
fn a_candidate_that_its_source_takes_back_never_decides() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policy.wasm");
    let first = component("0.1.0", 0);
    fs::write(&file, &first).unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.gate.shadow.promote_by_itself = false;
    options.source = Source::File(file.clone());
    let ward = Ward::start(home.path(), options);
    fs::write(&file, component("0.2.0", 0)).unwrap();
    wait_for("the candidate to wait", || {
        let candidate = ward.report("default").candidate;
        matches!(candidate, Some(CandidateState::Waiting { .. })).then_some(())
    });
    fs::write(&file, &first).unwrap();
    wait_for("the candidate to go", || {
        ward.report("default").candidate.is_none().then_some(())
    });
    let said = ward.promote("default").unwrap_err();
    assert!(said.contains("no candidate"), "{said}");
    ward.stop();
}

#[test]
fn a_candidate_that_leaves_its_directory_never_decides() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("policies");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.wasm"), component("0.1.0", 0)).unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.gate.shadow.promote_by_itself = false;
    options.source = Source::Directory(dir.clone());
    let ward = Ward::start(home.path(), options);
    fs::write(dir.join("b.wasm"), component("0.2.0", 0)).unwrap();
    wait_for("the candidate to wait", || {
        let candidate = ward.report("default").candidate;
        matches!(candidate, Some(CandidateState::Waiting { .. })).then_some(())
    });
    fs::remove_file(dir.join("b.wasm")).unwrap();
    wait_for("the candidate to go", || {
        ward.report("default").candidate.is_none().then_some(())
    });
    let present = signing::sha256(&component("0.1.0", 0));
    assert_eq!(ward.present("default"), present);
    ward.stop();
}

#[test]
fn another_source_in_the_configuration_is_offered_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let (ward, file) = watching(home.path());
    let mut options = ward.options().clone();
    let first = ward.present("default");
    ward.stop();
    // Another file, and back to the built-in policy.
    let second = component("0.1.0", 2);
    let other = home.path().join("other.wasm");
    fs::write(&other, &second).unwrap();
    options.source = Source::File(other);
    let ward = Ward::start(home.path(), options.clone());
    ward.until_in_service("default", &signing::sha256(&second));
    ward.stop();
    options.source = Source::BuiltIn;
    options.gate.shadow.promote_by_itself = false;
    let ward = Ward::start(home.path(), options.clone());
    let waits = |ward: &Ward| {
        wait_for("the built-in policy to wait", || {
            match ward.report("default").candidate {
                Some(CandidateState::Waiting { candidate, .. }) => Some(candidate),
                _ => None,
            }
        })
    };
    let built_in = waits(&ward);
    assert_eq!(built_in.provenance, signing::Provenance::BuiltIn);
    ward.stop();
    // A restart in between loses nothing.
    let ward = Ward::start(home.path(), options.clone());
    assert_eq!(waits(&ward), built_in);
    ward.promote("default").unwrap();
    ward.until_in_service("default", &built_in.identity.digest);
    ward.stop();
    options.source = Source::File(file);
    options.gate.shadow.promote_by_itself = true;
    let ward = Ward::start(home.path(), options);
    ward.until_in_service("default", &first);
    ward.stop();
}

#[test]
fn who_waits_for_a_candidate_hears_that_another_overtook_it() {
    let home = tempfile::tempdir().unwrap();
    let (ward, file) = watching(home.path());
    // It takes as long as a start may, and would be refused then.
    let slow = home.path().join("slow.wasm");
    fs::write(&slow, hostile("describe=endless-loop")).unwrap();
    let newer = component("0.2.0", 1);
    std::thread::scope(|scope| {
        let swap = scope.spawn(|| ward.swap("default", &slow).unwrap_err());
        wait_for("the candidate to be prepared", || {
            let candidate = ward.report("default").candidate;
            matches!(candidate, Some(CandidateState::Preparing { .. })).then_some(())
        });
        fs::write(&file, &newer).unwrap();
        let said = swap.join().unwrap();
        let by = &signing::sha256(&newer)[..12];
        assert!(said.contains(&format!("overtaken by {by}")), "{said}");
    });
    ward.until_in_service("default", &signing::sha256(&newer));
    ward.stop();
}

#[test]
fn of_one_component_each_policy_has_its_own_signature() {
    let keys = keys();
    let home = tempfile::tempdir().unwrap();
    let bytes = component("0.2.0", 1);
    let digest = signing::sha256(&bytes);
    let file = signed(home.path(), "signed.wasm", &bytes, &keys);
    let mut options = options();
    options.source = Source::File(file);
    let unsigned = home.path().join("unsigned.wasm");
    fs::write(&unsigned, &bytes).unwrap();
    options.named = BTreeMap::from([("second".to_owned(), Source::File(unsigned))]);
    options.lines = vec![vec!["default".to_owned(), "second".to_owned()]];
    options.trust.keys = vec![trusted("ours", &keys)];
    options.named_trust = Some(Trust {
        require_signature: false,
        keys: Vec::new(),
    });
    for _ in 0..2 {
        let ward = Ward::start(home.path(), options.clone());
        for name in ["default", "second"] {
            assert_eq!(ward.present(name), digest);
        }
        ward.stop();
    }
}

#[test]
fn a_component_is_what_its_signature_calls_it() {
    let keys = keys();
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.keys = vec![trusted("ours", &keys)];
    let ward = Ward::start(home.path(), options);
    let bytes = component("0.2.0", 1);
    let file = home.path().join("new.wasm");
    fs::write(&file, &bytes).unwrap();
    let comment = Comment {
        policy: Some("another".into()),
        version: Some("0.2.0".into()),
        ..Comment::default()
    };
    let signature = signing::sign(&bytes, &comment, &keys.secret).unwrap();
    fs::write(home.path().join("new.wasm.minisig"), signature).unwrap();
    let said = ward.swap("default", &file).unwrap_err();
    assert!(said.contains("was signed as `another`"), "{said}");
    ward.stop();
}

#[test]
fn each_target_has_its_own_line_and_each_policy_its_own_memory() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.trust.require_signature = false;
    options.named = BTreeMap::from([("second".to_owned(), Source::BuiltIn)]);
    options.lines = vec![
        vec!["default".to_owned()],
        vec!["default".to_owned(), "second".to_owned()],
    ];
    let ward = Ward::start(home.path(), options);
    let new = component("0.2.0", 1);
    let digest = signing::sha256(&new);
    let before = ward.present("second");
    fs::write(home.path().join("new.wasm"), &new).unwrap();
    ward.swap("second", &home.path().join("new.wasm")).unwrap();
    ward.until_in_service("second", &digest);
    assert_eq!(ward.present("default"), before);
    assert_eq!(ward.report("second").targets, ["t1"]);
    assert_eq!(ward.report("default").targets, ["t0", "t1"]);
    ward.decide_some(20);
    let decided = ward.stop();
    let of_new: Vec<_> = decided
        .iter()
        .filter(|part| part.digest == digest)
        .collect();
    assert!(of_new.iter().all(|part| part.target == "t1"));
    assert!(!of_new.is_empty());
}
