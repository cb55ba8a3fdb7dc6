use std::os::unix::fs::symlink;

use super::*;

const MOST: u64 = 1000;

fn bytes_of(look: &Look) -> Vec<Vec<u8>> {
    look.found
        .iter()
        .map(|found| found.candidate.component.bytes().to_vec())
        .collect()
}

/// A lookout on a file in a directory, and the times at which it looks.
struct Watch {
    dir: tempfile::TempDir,
    lookout: Lookout,
    at_ms: u64,
}

impl Watch {
    fn on_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::File(dir.path().join("policy.wasm"));
        Self {
            lookout: Lookout::new(source, MOST),
            dir,
            at_ms: 1_000_000,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A look before anything had time to settle.
    fn at_once(&mut self) -> Look {
        self.at_ms += 1;
        self.lookout.look(self.at_ms)
    }

    /// Looks until everything is settled.
    fn settled(&mut self) -> Vec<Vec<u8>> {
        let first = self.at_once();
        assert!(first.found.is_empty(), "read before it settled");
        self.at_ms += SETTLE_MS;
        bytes_of(&self.lookout.look(self.at_ms))
    }
}

#[test]
fn a_file_is_read_once_when_it_is_there_and_settled() {
    let mut watch = Watch::on_file();
    assert!(watch.settled().is_empty(), "it is not there yet");
    fs::write(watch.path("policy.wasm"), b"one").unwrap();
    assert_eq!(watch.settled(), [b"one"]);
    assert!(watch.settled().is_empty(), "nothing is new");
    fs::write(watch.path("policy.wasm"), b"two").unwrap();
    assert_eq!(watch.settled(), [b"two"]);
    watch.lookout.forget();
    assert_eq!(watch.settled(), [b"two"], "asked to look again");
}

#[test]
fn a_file_that_is_being_written_is_not_read() {
    let mut watch = Watch::on_file();
    let path = watch.path("policy.wasm");
    for length in 1..20 {
        // It grows a little before each look: never the same for long enough.
        fs::write(&path, vec![7; length]).unwrap();
        let look = watch.at_once();
        assert!(look.found.is_empty() && look.unsettled);
        watch.at_ms += SETTLE_MS / 2;
    }
    assert_eq!(watch.settled(), [vec![7; 19]]);
}

#[test]
fn renames_and_links_are_followed() {
    let mut watch = Watch::on_file();
    let path = watch.path("policy.wasm");
    fs::write(watch.path("new"), b"renamed").unwrap();
    fs::rename(watch.path("new"), &path).unwrap();
    assert_eq!(watch.settled(), [b"renamed"]);
    // The way Kubernetes and others do: a link to a directory that is turned.
    for (name, content) in [("a", b"link a"), ("b", b"link b")] {
        fs::create_dir(watch.path(name)).unwrap();
        fs::write(watch.path(name).join("policy.wasm"), content).unwrap();
    }
    symlink("a", watch.path("data")).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("data/policy.wasm", &path).unwrap();
    assert_eq!(watch.settled(), [b"link a"]);
    symlink("b", watch.path("flip")).unwrap();
    fs::rename(watch.path("flip"), watch.path("data")).unwrap();
    assert_eq!(watch.settled(), [b"link b"]);
    fs::remove_file(&path).unwrap();
    assert!(watch.settled().is_empty(), "a link to nothing");
}

#[test]
fn a_signature_comes_along_and_a_later_one_counts() {
    let mut watch = Watch::on_file();
    fs::write(watch.path("policy.wasm"), b"policy").unwrap();
    assert_eq!(watch.settled(), [b"policy"]);
    fs::write(watch.path("policy.wasm.minisig"), b"signature").unwrap();
    watch.at_once();
    watch.at_ms += SETTLE_MS;
    let look = watch.lookout.look(watch.at_ms);
    assert_eq!(
        look.found[0].candidate.signature.as_deref(),
        Some(&b"signature"[..])
    );
}

#[test]
fn what_cannot_be_read_is_told_once() {
    let mut watch = Watch::on_file();
    fs::write(watch.path("policy.wasm"), vec![0; 2000]).unwrap();
    watch.at_once();
    watch.at_ms += SETTLE_MS;
    let look = watch.lookout.look(watch.at_ms);
    assert!(
        look.unreadable[0].1.contains("2000 bytes"),
        "{:?}",
        look.unreadable
    );
    assert!(watch.lookout.look(watch.at_ms).unreadable.is_empty());
    fs::remove_file(watch.path("policy.wasm")).unwrap();
    fs::create_dir(watch.path("policy.wasm")).unwrap();
    watch.at_once();
    watch.at_ms += SETTLE_MS;
    let look = watch.lookout.look(watch.at_ms);
    assert!(
        look.unreadable[0].1.contains("regular file"),
        "{:?}",
        look.unreadable
    );
}

#[test]
fn what_cannot_be_looked_at_is_told_and_not_taken_for_gone() {
    let mut watch = Watch::on_file();
    fs::write(watch.path("policy.wasm"), b"policy").unwrap();
    assert_eq!(watch.settled(), [b"policy"]);
    let folder = watch.path("policy.tests");
    fs::create_dir(&folder).unwrap();
    for number in 0..=FILES {
        fs::write(folder.join(format!("{number}.toml")), b"").unwrap();
    }
    let look = watch.at_once();
    let [(path, why)] = &look.unreadable[..] else {
        panic!("{:?}", look.unreadable)
    };
    assert!(path.ends_with("policy.wasm"), "{path:?}");
    assert!(why.contains("more than 256 files of test cases"), "{why}");
    assert!(watch.at_once().unreadable.is_empty(), "told once");
    fs::remove_file(folder.join("0.toml")).unwrap();
    assert_eq!(watch.settled(), [b"policy"]);
    // A link that leads to itself is no absence.
    fs::remove_file(watch.path("policy.wasm")).unwrap();
    symlink("policy.wasm", watch.path("policy.wasm")).unwrap();
    assert_eq!(watch.at_once().unreadable.len(), 1);
}

#[test]
fn at_a_start_what_cannot_be_read_of_a_directory_is_told_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut lookout = Lookout::new(Source::Directory(dir.path().into()), MOST);
    fs::write(dir.path().join("good.wasm"), "good").unwrap();
    symlink("nowhere", dir.path().join("dangling.wasm")).unwrap();
    let look = lookout.look_now().unwrap();
    assert_eq!(bytes_of(&look), [b"good".to_vec()]);
    let [(path, _)] = &look.unreadable[..] else {
        panic!("{:?}", look.unreadable)
    };
    assert!(path.ends_with("dangling.wasm"), "{path:?}");
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(lookout.look_now().is_err());
    assert_eq!(lookout.look(0).unreadable.len(), 1);
    assert!(lookout.look(1).unreadable.is_empty(), "told once");
}

#[test]
fn of_a_directory_every_component_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let mut lookout = Lookout::new(Source::Directory(dir.path().into()), MOST);
    for name in ["b.wasm", "a.wasm", "notes.txt"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    assert!(lookout.look(0).found.is_empty());
    let look = lookout.look(SETTLE_MS);
    assert_eq!(bytes_of(&look), [b"a.wasm".to_vec(), b"b.wasm".to_vec()]);
    fs::write(dir.path().join("c.wasm"), "c").unwrap();
    lookout.look(1000);
    assert_eq!(bytes_of(&lookout.look(2000)), [b"c".to_vec()]);
}

#[test]
fn what_lies_in_a_directory_no_more_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut lookout = Lookout::new(Source::Directory(dir.path().into()), MOST);
    let path = |name: &str| dir.path().join(name);
    for name in ["a.wasm", "b.wasm", "same.wasm"] {
        fs::write(path(name), &name[..1]).unwrap();
    }
    fs::write(path("same.wasm"), "b").unwrap();
    let mut at_ms = 0;
    let mut settled = || {
        lookout.look(at_ms);
        at_ms += SETTLE_MS;
        let look = lookout.look(at_ms);
        at_ms += 1;
        look.gone
    };
    assert!(settled().is_empty());
    // Written anew with the same, and with something else.
    fs::write(path("a.wasm"), "a").unwrap();
    assert!(settled().is_empty());
    fs::write(path("a.wasm"), "c").unwrap();
    assert_eq!(settled(), [crate::signing::sha256(b"a")]);
    fs::remove_file(path("b.wasm")).unwrap();
    assert!(settled().is_empty(), "it lies there twice");
    fs::remove_file(path("same.wasm")).unwrap();
    assert_eq!(lookout.look(10_000).gone, [crate::signing::sha256(b"b")]);
    assert!(lookout.look(10_001).gone.is_empty());
}

#[test]
fn cases_beside_a_component_are_part_of_it() {
    let mut watch = Watch::on_file();
    fs::write(watch.path("policy.wasm"), b"one").unwrap();
    let folder = watch.path("policy.tests");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), b"first").unwrap();
    fs::write(folder.join("a.jsonl"), b"a recording").unwrap();
    watch.at_once();
    // Half a folder is not read: it has to settle with the component.
    fs::write(folder.join("b.toml"), b"second").unwrap();
    watch.at_ms += SETTLE_MS;
    assert!(watch.lookout.look(watch.at_ms).found.is_empty());
    watch.at_ms += SETTLE_MS;
    let look = watch.lookout.look(watch.at_ms);
    let cases = &look.found[0].candidate.cases;
    let texts: Vec<&[u8]> = cases.iter().map(|case| &*case.bytes).collect();
    assert_eq!(texts, [&b"first"[..], b"second"]);
    assert!(watch.settled().is_empty(), "nothing is new");
    // What a case speaks of is part of it too.
    fs::write(folder.join("a.jsonl"), b"another recording").unwrap();
    assert_eq!(watch.settled(), [b"one"]);
    fs::write(
        folder.join("a.toml"),
        vec![b'x'; policy_tests::FILE_BYTES + 1],
    )
    .unwrap();
    watch.at_once();
    watch.at_ms += SETTLE_MS;
    let [(_, why)] = &watch.lookout.look(watch.at_ms).unreadable[..] else {
        panic!("it was read");
    };
    assert!(why.contains("a.toml: it is 1048577 bytes long"), "{why}");
}
