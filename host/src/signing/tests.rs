use std::path::Path;
use std::process::Command;

use super::*;

const NOW_MS: u64 = 1_764_000_000_000;
const COMPONENT: &[u8] = include_bytes!("fixture/empty.wasm");
/// Made by minisign 0.11 of Debian 12, prehashed, and of the old kind.
const BY_TOOL: &[u8] = include_bytes!("fixture/empty.wasm.minisig");
const BY_TOOL_LEGACY: &[u8] = include_bytes!("fixture/empty.wasm.legacy.minisig");
const TOOL_KEY: &str = include_str!("fixture/minisign.pub");

fn trusted(name: &str, key: &str) -> TrustedKey {
    TrustedKey {
        name: name.into(),
        key: key.into(),
        expires_ms: None,
    }
}

fn comment() -> Comment {
    Comment {
        policy: Some("default".into()),
        version: Some("1.2.3".into()),
        sha256: Some(sha256(COMPONENT)),
        signed_ms: Some(NOW_MS),
        expires_ms: Some(NOW_MS + 1000),
    }
}

fn signed(keys: &NewKeys, comment: &Comment) -> String {
    sign(COMPONENT, comment, &keys.secret).unwrap()
}

fn check(signature: &str, keys: &[TrustedKey]) -> Result<Verified, SignatureError> {
    Verified::signed(COMPONENT, Some(signature.as_bytes()), keys, NOW_MS)
}

#[test]
fn what_is_signed_is_believed_and_says_by_whom() {
    let keys = generate(&Password::None).unwrap();
    let verified = check(&signed(&keys, &comment()), &[trusted("ours", &keys.key)]).unwrap();
    assert_eq!(
        verified.provenance(),
        &Provenance::Signed {
            key: "ours".into(),
            key_id: keys.id.clone(),
            comment: comment(),
        }
    );
    assert_eq!(verified.digest(), sha256(COMPONENT));
    assert!(keys.public.contains(&keys.id), "{}", keys.public);
    assert_eq!(read_public_key(&keys.public).unwrap(), keys.key);
    assert_eq!(read_public_key(&keys.key).unwrap(), keys.key);
}

#[test]
fn two_keys_are_valid_while_they_are_rotated() {
    let (old, new) = (
        generate(&Password::None).unwrap(),
        generate(&Password::None).unwrap(),
    );
    let both = [trusted("old", &old.key), trusted("new", &new.key)];
    for keys in [&old, &new] {
        check(&signed(keys, &comment()), &both).unwrap();
    }
    let after = [trusted("new", &new.key)];
    assert_eq!(
        check(&signed(&old, &comment()), &after).unwrap_err(),
        SignatureError::UnknownKey {
            id: old.id.clone(),
            trusted: vec![new.id.clone()]
        }
    );
}

#[test]
fn every_kind_of_bad_signature_is_refused_by_name() {
    let keys = generate(&Password::None).unwrap();
    let ours = [trusted("ours", &keys.key)];
    let good = signed(&keys, &comment());
    assert_eq!(
        Verified::signed(COMPONENT, None, &ours, NOW_MS).unwrap_err(),
        SignatureError::Missing
    );
    assert_eq!(check(&good, &[]).unwrap_err(), SignatureError::NoKeys);
    // Another component.
    assert_eq!(
        Verified::signed(&b"\0asm other"[..], Some(good.as_bytes()), &ours, NOW_MS).unwrap_err(),
        SignatureError::Wrong {
            id: keys.id.clone()
        }
    );
    // Another key that takes on the id of ours.
    let other = generate(&Password::None).unwrap();
    let foreign = signed(&other, &comment());
    let mut lines: Vec<String> = foreign.lines().map(str::to_owned).collect();
    lines[1].replace_range(..14, &good.lines().nth(1).unwrap()[..14]);
    let refused = check(&lines.join("\n"), &ours).unwrap_err();
    assert!(
        matches!(
            refused,
            SignatureError::Wrong { .. } | SignatureError::UnknownKey { .. }
        ),
        "{refused:?}"
    );
    // A comment that speaks of another component.
    let wrong = Comment {
        sha256: Some("ab".repeat(32)),
        ..comment()
    };
    assert_eq!(
        check(&signed(&keys, &wrong), &ours).unwrap_err(),
        SignatureError::OtherDigest {
            signed: "ab".repeat(32)
        }
    );
    let bad_key = [trusted("ours", "RWQabc")];
    assert!(matches!(
        check(&good, &bad_key).unwrap_err(),
        SignatureError::BadKey { .. }
    ));
}

#[test]
fn no_cut_and_no_flipped_byte_of_a_signature_is_believed() {
    let keys = generate(&Password::None).unwrap();
    let ours = [trusted("ours", &keys.key)];
    let good = signed(&keys, &comment());
    // The last line feed is no part of the signature.
    for end in 0..good.trim_end().len() {
        let cut = Verified::signed(COMPONENT, Some(&good.as_bytes()[..end]), &ours, NOW_MS);
        assert!(cut.is_err(), "cut at {end}");
    }
    let untrusted = good.lines().next().unwrap().len();
    for at in untrusted + 1..good.trim_end().len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1;
        let flipped = Verified::signed(COMPONENT, Some(&bytes), &ours, NOW_MS);
        // Base64 ignores nothing, and neither line feed nor prefix may change.
        assert!(flipped.is_err(), "flipped at {at}");
    }
}

#[test]
fn keys_and_signatures_expire_for_newcomers_only() {
    let keys = generate(&Password::None).unwrap();
    let signature = signed(&keys, &comment());
    let ours = [trusted("ours", &keys.key)];
    let at = |keys: &[TrustedKey], now_ms| {
        Verified::signed(COMPONENT, Some(signature.as_bytes()), keys, now_ms)
    };
    assert!(at(&ours, NOW_MS + 999).is_ok());
    assert!(matches!(
        at(&ours, NOW_MS + 1000).unwrap_err(),
        SignatureError::Expired { .. }
    ));
    let ending = [TrustedKey {
        expires_ms: Some(NOW_MS + 10),
        ..ours[0].clone()
    }];
    assert!(at(&ending, NOW_MS + 9).is_ok());
    assert_eq!(
        at(&ending, NOW_MS + 10).unwrap_err(),
        SignatureError::KeyExpired {
            name: "ours".into(),
            when: comment::show_time(NOW_MS + 10)
        }
    );
    let signature: Arc<[u8]> = signature.as_bytes().into();
    let check = |keys: &[TrustedKey], now_ms| {
        Believed::new(keys.to_vec()).check(Hashed::new(COMPONENT), Some(&signature), now_ms)
    };
    let earlier = check(&ending, None);
    assert!(earlier.is_ok());
    assert!(check(&[], None).is_err());
}

#[test]
fn what_was_found_good_is_so_for_these_bytes_and_as_long_as_it_holds() {
    let keys = generate(&Password::None).unwrap();
    let ending = TrustedKey {
        expires_ms: Some(NOW_MS + 10),
        ..trusted("ours", &keys.key)
    };
    let believed = Believed::new(vec![ending]);
    let signature = sign(COMPONENT, &Comment::default(), &keys.secret).unwrap();
    let signature: Arc<[u8]> = signature.into_bytes().into();
    let check = |bytes: &[u8], signature: &Arc<[u8]>, now_ms| {
        believed.check(Hashed::new(bytes), Some(signature), Some(now_ms))
    };
    let first = check(COMPONENT, &signature, NOW_MS).unwrap();
    let again = check(COMPONENT, &signature, NOW_MS + 9).unwrap();
    assert_eq!(first.provenance(), again.provenance());
    assert!(matches!(
        check(COMPONENT, &signature, NOW_MS + 10).unwrap_err(),
        SignatureError::KeyExpired { .. }
    ));
    assert!(matches!(
        check(b"\0asm other", &signature, NOW_MS).unwrap_err(),
        SignatureError::Wrong { .. }
    ));
    // In the last line, the signature of the trusted comment.
    let mut other = signature.to_vec();
    let at = other.len() - 30;
    other[at] = if other[at] == b'A' { b'B' } else { b'A' };
    assert!(check(COMPONENT, &other.into(), NOW_MS).is_err());
    assert_eq!(
        believed
            .check(Hashed::new(COMPONENT), None, None)
            .unwrap_err(),
        SignatureError::Missing
    );
}

#[test]
fn a_comment_is_read_back_and_a_wrong_expiry_is_an_error() {
    let comment = comment();
    assert_eq!(Comment::parse(&comment.to_string()).unwrap(), comment);
    let foreign = Comment::parse("timestamp:1700000000\tfile:a b.wasm\thashed").unwrap();
    assert_eq!(foreign, Comment::default());
    assert!(Comment::parse("expires:tomorrow").is_err());
    assert!(Comment::parse("expires:2027-01-01 expires:2037-01-01").is_err());
    assert_eq!(
        parse_time("2027-06-30"),
        parse_time("2027-07-01T00:00:00Z"),
        "a day counts to its end"
    );
}

#[test]
fn minisign_s_own_signature_is_believed() {
    let key = read_public_key(TOOL_KEY).unwrap();
    let keys = [trusted("tool", &key)];
    let verified = Verified::signed(COMPONENT, Some(BY_TOOL), &keys, NOW_MS).unwrap();
    let Provenance::Signed { comment, .. } = verified.provenance() else {
        panic!("{verified:?}");
    };
    assert_eq!(comment.version.as_deref(), Some("0.1.0"));
    assert_eq!(comment.expires_ms, parse_time("2099-12-31"));
    assert_eq!(
        Verified::signed(COMPONENT, Some(BY_TOOL_LEGACY), &keys, NOW_MS).unwrap_err(),
        SignatureError::Legacy
    );
}

/// Both ways with the tool itself, where it is installed; [`minisign_s_own_signature_is_believed`]
/// holds one way where it is not.
#[test]
fn minisign_and_dbmedic_believe_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let tool = |arguments: &[&str], names: &[&Path]| {
        Command::new("minisign")
            .args(arguments)
            .args(names)
            .output()
    };
    if tool(&["-v"], &[]).is_err() {
        return;
    }
    let keys = generate(&Password::None).unwrap();
    std::fs::write(path("c.wasm"), COMPONENT).unwrap();
    std::fs::write(path("key.pub"), &keys.public).unwrap();
    std::fs::write(path("key.sec"), &keys.secret).unwrap();
    std::fs::write(path("c.wasm.minisig"), signed(&keys, &comment())).unwrap();
    let key = path("key.pub");
    let component = path("c.wasm");
    let read = tool(
        &["-V", "-p", key.to_str().unwrap(), "-m"],
        &[component.as_path()],
    )
    .unwrap();
    assert!(read.status.success(), "{read:?}");
    assert!(String::from_utf8_lossy(&read.stdout).contains("version:1.2.3"));

    let secret = path("key.sec");
    let wrote = tool(
        &["-S", "-s", secret.to_str().unwrap(), "-m"],
        &[component.as_path()],
    )
    .unwrap();
    assert!(wrote.status.success(), "{wrote:?}");
    let signature = std::fs::read_to_string(path("c.wasm.minisig")).unwrap();
    check(&signature, &[trusted("ours", &keys.key)]).unwrap();
}
