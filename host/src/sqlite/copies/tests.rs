use std::fs;
use std::os::unix::fs::FileExt as _;

use super::*;

#[test]
fn a_copy_of_a_file_with_holes_is_the_same_and_takes_no_room_for_them() {
    const LENGTH: u64 = 16 << 20;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("app.db");
    let file = File::create(&path).unwrap();
    // Content at the beginning, on both sides of a chunk's border, and a hole at the end.
    for at in [0, 3 * CHUNK_BYTES as u64 - 2, 5 << 20] {
        file.write_all_at(b"content", at).unwrap();
    }
    file.set_len(LENGTH).unwrap();
    let into = home.path().join("copy");
    let manifest = copy(&path, &into, None).unwrap();
    let copied = into.join(DATABASE_NAME);
    assert_eq!(manifest.files[0].bytes, LENGTH);
    assert!(fs::read(&path).unwrap() == fs::read(&copied).unwrap());
    let room = fs::metadata(&copied).unwrap().blocks() * 512;
    assert!(room < 2 << 20, "{room} bytes are taken");
    // What is put back is read against its sum.
    restore(&path, &into, None).unwrap();
    assert!(fs::read(&path).unwrap() == fs::read(&copied).unwrap());
}
