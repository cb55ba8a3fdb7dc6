use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::policy::{Limits, Runtime};
use crate::signing::Verified;

const DEFAULT: &[u8] = include_bytes!("../../../../policies/prebuilt/default.wasm");

fn runtime(memory_mib: usize) -> Runtime {
    Runtime::new(Limits {
        memory_mib,
        max_instances: 2,
        start_deadline_ms: 30_000,
        ..Limits::default()
    })
    .unwrap()
}

fn cache(dir: &Path) -> CompiledCache {
    CompiledCache::open(dir, CacheLimits::default()).unwrap()
}

fn code_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == EXTENSION))
        .collect();
    files.sort();
    files
}

#[test]
fn a_known_component_comes_from_the_cache_for_the_same_engine_only() {
    let dir = tempfile::tempdir().unwrap();
    let (first, other) = (runtime(16), runtime(64));
    let component = Verified::built_in(DEFAULT);
    let compiled = |runtime: &Runtime| {
        let cache = cache(dir.path());
        runtime
            .compile(&component, Some(&cache))
            .unwrap()
            .from_cache()
    };
    assert!(!compiled(&first));
    assert!(compiled(&first), "with a cache that was opened anew");
    let key = fs::metadata(dir.path().join("key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let code = fs::metadata(&code_files(dir.path())[0]).unwrap();
    assert_eq!(code.permissions().mode() & 0o777, 0o600);
    // Other limits may be another engine: its code must not be mistaken for the first one's.
    let same = compatibility(&first.inner().engine) == compatibility(&other.inner().engine);
    assert_eq!(compiled(&other), same);
}

#[test]
fn code_that_was_touched_is_compiled_again_and_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime(16);
    let component = Verified::built_in(DEFAULT);
    let cache = cache(dir.path());
    let from_cache = |cache: &CompiledCache| {
        let compiled = runtime.compile(&component, Some(cache)).unwrap();
        compiled.configure(&[]).unwrap();
        compiled.from_cache()
    };
    assert!(!from_cache(&cache));
    let file = code_files(dir.path())[0].clone();
    let good = fs::read(&file).unwrap();
    let places = [0, MAGIC.len(), MAGIC.len() + TAG_BYTES, good.len() / 2];
    for at in places.into_iter().chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::write(&file, &bytes).unwrap();
        assert!(!from_cache(&cache), "byte {at}");
        assert!(from_cache(&cache), "what was compiled again is kept");
    }
    for cut in [0, 1, MAGIC.len() + 3, good.len() - 1] {
        fs::write(&file, &good[..cut]).unwrap();
        assert!(!from_cache(&cache), "cut at {cut}");
    }
    // Good code under the name of another component.
    let engine = &runtime.inner().engine;
    let other = cache
        .dir
        .path_of(name(&"ab".repeat(32), &compatibility(engine)));
    fs::copy(&file, &other).unwrap();
    assert!(cache.load(engine, &"ab".repeat(32)).is_none());
    assert!(!other.exists(), "what does not hold is removed");
}

#[test]
fn no_byte_can_be_flipped() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let path = dir.path().join("file");
    cache
        .write("file", "digest", &"c".repeat(64), b"not code, never loaded")
        .unwrap();
    let good = fs::read(&path).unwrap();
    let holds = |bytes: &[u8]| cache.authentic(bytes, "digest", &"c".repeat(64)).is_some();
    assert!(holds(&good));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(!holds(&bytes), "byte {at}, bit {bit}");
        }
    }
    assert!(cache.authentic(&good, "other", &"c".repeat(64)).is_none());
    assert!(cache.authentic(&good, "digest", &"d".repeat(64)).is_none());
}

#[test]
fn a_key_that_others_may_read_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let before = cache(dir.path()).key;
    assert_eq!(cache(dir.path()).key, before);
    let path = dir.path().join("key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let after = cache(dir.path()).key;
    assert_ne!(after, before);
    fs::write(&path, b"short").unwrap();
    assert_ne!(cache(dir.path()).key, after);
}

#[test]
fn a_key_that_another_user_may_have_planted_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    // While others may write there, who knows whose key it is.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = CompiledCache::open(dir.path(), CacheLimits::default()).unwrap_err();
    assert!(error.to_string().contains("go-w"), "{error}");
    assert!(!path.exists(), "nothing is written there");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let before = cache(dir.path()).key;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_ne!(cache(dir.path()).key, before);
    // A link to a file of this user's whose content somebody knows.
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(elsewhere.path(), [7; KEY_BYTES]).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
    assert_ne!(cache(dir.path()).key, [7; KEY_BYTES]);
    assert!(fs::symlink_metadata(&path).unwrap().is_file());

    assert!(is_own_key(1000, 1000, 0o100_600));
    assert!(!is_own_key(0, 1000, 0o100_600));
    assert!(!is_own_key(1000, 0, 0o100_600));
    assert!(!is_own_key(0, 0, 0o100_640));
}

#[test]
fn the_oldest_go_first_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let limits = CacheLimits {
        files: 3,
        bytes: 1 << 20,
    };
    let cache = CompiledCache::open(dir.path(), limits).unwrap();
    let write = |digest: &str, bytes: usize, age_s: u64| {
        let name = name(digest, &"c".repeat(64));
        let path = dir.path().join(&name);
        cache
            .write(&name, digest, &"c".repeat(64), &vec![0; bytes])
            .unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age_s);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        cache.make_room(&name).unwrap();
        path
    };
    let kept: Vec<_> = (0..4)
        .map(|n| write(&format!("a{n}"), 10, 100 - n))
        .collect();
    assert_eq!(code_files(dir.path()), kept[1..]);
    let large = write("large", 2 << 20, 1000);
    assert_eq!(
        code_files(dir.path()),
        [large],
        "it alone, though too large"
    );
}
