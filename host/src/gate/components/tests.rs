use std::fs::{self, File};

use super::*;

fn candidate(component: &[u8], signature: Option<&[u8]>) -> Candidate {
    Candidate {
        component: Hashed::new(component),
        signature: signature.map(Arc::from),
        cases: Arc::default(),
    }
}

fn signature(components: &Components, policy: &str, digest: &str) -> Option<Vec<u8>> {
    let kept = components.read(policy, digest).unwrap().unwrap();
    kept.signature.map(|signature| signature.to_vec())
}

#[test]
fn each_policy_keeps_the_signature_that_it_took_a_component_with() {
    let dir = tempfile::tempdir().unwrap();
    let components = Components::open(dir.path()).unwrap();
    let signed = candidate(b"component", Some(b"by one key"));
    let digest = signed.digest().to_owned();
    components.keep("a", &signed).unwrap();
    components
        .keep("b", &candidate(b"component", None))
        .unwrap();
    // Even a policy that is called like the end of a file.
    let by_another = candidate(b"component", Some(b"by another"));
    components.keep("wasm", &by_another).unwrap();
    assert_eq!(signature(&components, "a", &digest).unwrap(), b"by one key");
    assert_eq!(signature(&components, "b", &digest), None);
    assert_eq!(
        signature(&components, "wasm", &digest).unwrap(),
        b"by another"
    );
    assert!(components.read("a", &"0".repeat(64)).unwrap().is_none());
}

#[test]
fn a_signature_that_all_policies_shared_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let components = Components::open(dir.path()).unwrap();
    let unsigned = candidate(b"component", None);
    let digest = unsigned.digest().to_owned();
    fs::write(components.path_of(&component(&digest)), b"component").unwrap();
    fs::write(
        components.path_of(&format!("{digest}.wasm.minisig")),
        b"shared",
    )
    .unwrap();
    assert_eq!(signature(&components, "a", &digest).unwrap(), b"shared");
    components.keep("b", &unsigned).unwrap();
    assert_eq!(signature(&components, "b", &digest), None);
    assert_eq!(signature(&components, "a", &digest).unwrap(), b"shared");
}

#[test]
fn what_is_not_needed_goes_with_its_signatures_and_what_is_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let components = Components::open(dir.path()).unwrap();
    let mut digests = Vec::new();
    for number in 0..=KEPT {
        let bytes = u32::try_from(number).unwrap().to_le_bytes();
        let candidate = candidate(&bytes, Some(b"signature"));
        digests.push(candidate.digest().to_owned());
        components.keep("a", &candidate).unwrap();
        components.keep("b", &candidate).unwrap();
    }
    let (needed, oldest) = (&digests[0], &digests[1]);
    let file = File::open(components.path_of(&component(oldest))).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    components.keep("a", &candidate(b"one more", None)).unwrap();
    components.prune(&BTreeSet::from([needed.clone()])).unwrap();
    assert_eq!(signature(&components, "a", needed).unwrap(), b"signature");
    assert_eq!(
        signature(&components, "b", &digests[2]).unwrap(),
        b"signature"
    );
    let left = fs::read_dir(components.dir.join(COMPONENTS)).unwrap();
    let of_oldest = |entry: io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with(oldest)
    };
    assert_eq!(
        left.filter_map(|entry| of_oldest(entry).then_some(()))
            .count(),
        0
    );
}
