use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::TempDir;

use super::files::{KEPT, LogFile, list};
use super::keeper::UNWRITTEN;
use super::line::Kind;
use super::reader::{self, Line};
use super::writer::{Item, Writer};
use super::*;
use crate::policy::Limits;

const LARGE: Room = Room {
    file_bytes: 1 << 20,
    total_bytes: 1 << 30,
};
/// A handful of decisions fill a file.
const SMALL: Room = Room {
    file_bytes: 2000,
    total_bytes: 1 << 30,
};

fn begin() -> Begin {
    Begin {
        dbmedic_decisions: VERSION,
        dbmedic: "0.0.0".into(),
        at_ms: 1,
        limits: Limits::default(),
        named_limits: std::collections::BTreeMap::new(),
        parameters: std::collections::BTreeMap::new(),
        dropped: Dropped::default(),
    }
}

/// A process that another test starts at this moment has the descriptor of a lock that was let go until
/// it runs its program: the lock is then waited for.
fn writer(dir: &Path, room: Room) -> Writer {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let opened = Writer::open(dir, room, begin(), &mut Vec::new());
        let is_in_use = matches!(opened, Err(DecisionLogError::InUse { .. }));
        if !is_in_use || std::time::Instant::now() > deadline {
            return opened.unwrap();
        }
        std::thread::yield_now();
    }
}

/// A decision whose text does not shrink much when it is packed.
pub(super) fn item(number: u64, crisis: bool) -> Item {
    let noise: Vec<String> = (0..20_u64)
        .map(|i| {
            (number * 31 + i)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_string()
        })
        .collect();
    let noise = noise.concat();
    Item {
        crisis,
        policy: PolicyLine {
            called: None,
            digest: "d".into(),
            settings: "s".into(),
            packed: String::new(),
        },
        decided: format!("{{\"number\":{number},\"noise\":\"{noise}\"}}").into_bytes(),
        at_ms: number,
    }
}

/// A log of this many decisions, each tenth a crisis.
fn log_of(decisions: u64, room: Room) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut writer = writer(dir.path(), room);
    for number in 1..=decisions {
        writer.append(&item(number, number % 10 == 0)).unwrap();
    }
    writer.close().unwrap();
    dir
}

/// What reading comes to, and the decisions that are there: number, and whether a crisis.
fn read(log: &Path) -> (Chain, Vec<(u64, bool)>) {
    let mut found = Vec::new();
    let chain = reader::read::<DecisionLogError>(log, &Arc::default(), &mut |line: &Line<'_>| {
        if line.head.kind == Kind::Decided {
            let value: serde_json::Value =
                serde_json::from_slice(line.head.value(line.text)).unwrap_or_default();
            let number = value["number"].as_u64().unwrap_or_default();
            found.push((number, line.head.crisis));
        }
        Ok(())
    })
    .unwrap();
    (chain, found)
}

fn faults(log: &Path) -> Vec<FaultKind> {
    read(log)
        .0
        .faults
        .into_iter()
        .map(|fault| fault.what)
        .collect()
}

fn numbers(from: u64, to: u64) -> Vec<(u64, bool)> {
    (from..=to)
        .map(|number| (number, number % 10 == 0))
        .collect()
}

fn unpack(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(fs::File::open(path).unwrap())
        .read_to_end(&mut text)
        .unwrap();
    text
}

fn pack(path: &Path, text: &[u8]) {
    let file = fs::File::create(path).unwrap();
    let mut out = GzEncoder::new(file, flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap();
}

fn growing(dir: &Path) -> PathBuf {
    list(dir).unwrap().pop().unwrap().path
}

/// Where an entry stands among the lines of the first file.
fn at(entry: u64) -> usize {
    usize::try_from(entry).unwrap() - 1
}

/// The number of the line that holds a decision.
fn entry_of(path: &Path, decision: u64) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains(&format!("\"number\":{decision},")))
        .unwrap();
    super::line::Head::read(line.as_bytes()).unwrap().n
}

/// Rewrites the lines of a plain file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

#[test]
fn one_chain_goes_through_files_and_restarts() {
    let dir = TempDir::new().unwrap();
    for start in 0..4 {
        let mut writer = writer(dir.path(), SMALL);
        for number in 1..=25 {
            let number = start * 25 + number;
            writer.append(&item(number, number % 10 == 0)).unwrap();
        }
        writer.close().unwrap();
    }
    let files = list(dir.path()).unwrap();
    assert!(files.len() > 5, "{files:?}");
    let (last, closed) = files.split_last().unwrap();
    assert!(closed.iter().all(|file| file.compressed));
    assert!(!last.compressed);
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    assert!(chain.holds() && !chain.torn_end);
    assert_eq!(found, numbers(1, 100));
}

#[test]
fn a_single_file_is_read_on_its_own() {
    let dir = log_of(60, SMALL);
    for file in list(dir.path()).unwrap() {
        let (chain, found) = read(&file.path);
        assert_eq!(chain.faults, [], "{}", file.path.display());
        assert!(!found.is_empty());
    }
}

#[test]
fn only_one_writes() {
    let dir = TempDir::new().unwrap();
    let _first = writer(dir.path(), LARGE);
    let second = Writer::open(dir.path(), LARGE, begin(), &mut Vec::new());
    assert!(matches!(second, Err(DecisionLogError::InUse { .. })));
}

#[test]
fn a_changed_entry_is_named_wherever_it_stands() {
    for decision in [1, 7, 19, 20] {
        let dir = log_of(20, LARGE);
        let path = growing(dir.path());
        let entry = entry_of(&path, decision);
        let text = fs::read_to_string(&path).unwrap();
        let from = format!("\"number\":{decision},");
        fs::write(&path, text.replace(&from, "\"number\":99,")).unwrap();
        assert_eq!(
            faults(dir.path()),
            [FaultKind::Changed { entry }],
            "{decision}"
        );
    }
}

#[test]
fn a_changed_link_is_named() {
    let dir = log_of(20, LARGE);
    let path = growing(dir.path());
    let entry = entry_of(&path, 9);
    edit(&path, |lines| {
        let place = lines[at(entry)].find("\"prev\":\"").unwrap() + 8;
        let other = if lines[at(entry)].as_bytes()[place] == b'0' {
            "1"
        } else {
            "0"
        };
        lines[at(entry)].replace_range(place..=place, other);
    });
    assert_eq!(faults(dir.path()), [FaultKind::Changed { entry }]);
}

#[test]
fn a_removed_entry_is_named() {
    let dir = log_of(20, LARGE);
    let path = growing(dir.path());
    let entry = entry_of(&path, 9);
    edit(&path, |lines| {
        drop(lines.drain(at(entry)..=at(entry) + 1));
    });
    let missing = FaultKind::Missing {
        first: entry,
        last: entry + 1,
    };
    assert_eq!(faults(dir.path()), [missing]);
}

#[test]
fn entries_that_changed_places_are_named() {
    let dir = log_of(20, LARGE);
    let path = growing(dir.path());
    let entry = entry_of(&path, 9);
    edit(&path, |lines| {
        lines.swap(at(entry), at(entry) + 1);
    });
    let found = faults(dir.path());
    let swapped = FaultKind::OutOfOrder {
        entry,
        after: entry + 1,
    };
    assert!(found.contains(&swapped), "{found:?}");
}

#[test]
fn a_log_without_its_end_is_found_out() {
    let dir = log_of(20, LARGE);
    let path = growing(dir.path());
    let (first, last) = (entry_of(&path, 18), entry_of(&path, 20));
    edit(&path, |lines| lines.truncate(at(first)));
    assert_eq!(faults(dir.path()), [FaultKind::Missing { first, last }]);
}

#[test]
fn a_closed_file_that_is_cut_off_or_gone_is_named() {
    let cut = log_of(60, SMALL);
    let files = list(cut.path()).unwrap();
    let bytes = fs::read(&files[1].path).unwrap();
    fs::write(&files[1].path, &bytes[..bytes.len() / 2]).unwrap();
    let (chain, _) = read(cut.path());
    assert_eq!(chain.faults[0].what, FaultKind::CutOff);
    assert_eq!(chain.faults[0].file, files[1].path);
    assert!(matches!(chain.faults[1].what, FaultKind::Missing { .. }));

    let gone = log_of(60, SMALL);
    fs::remove_file(&list(gone.path()).unwrap()[1].path).unwrap();
    assert!(matches!(
        faults(gone.path())[..],
        [FaultKind::Missing { .. }]
    ));

    let headless = log_of(60, SMALL);
    fs::remove_file(&list(headless.path()).unwrap()[0].path).unwrap();
    assert!(matches!(
        faults(headless.path())[..],
        [FaultKind::Missing { first: 1, .. }]
    ));
}

#[test]
fn what_makes_way_is_counted_and_crises_stay() {
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = log_of(500, room);
    let total: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let kept = fs::metadata(dir.path().join(KEPT)).unwrap().len();
    assert!(
        total - kept < room.total_bytes + room.file_bytes,
        "{total}, kept {kept}"
    );
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    let crises: Vec<u64> = found
        .iter()
        .filter(|(_, crisis)| *crisis)
        .map(|(n, _)| *n)
        .collect();
    assert_eq!(crises, (1..=50).map(|n| n * 10).collect::<Vec<_>>());
    assert!(chain.dropped > 100, "{chain:?}");
    assert_eq!(found.len() as u64 + chain.dropped, 500);

    // The same after a restart, which drops nothing twice.
    let mut again = writer(dir.path(), room);
    again.append(&item(501, false)).unwrap();
    again.close().unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    assert_eq!(found.len() as u64 + chain.dropped, 501);
}

#[test]
fn a_crisis_that_somebody_took_out_of_what_was_kept_is_missed() {
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = log_of(300, room);
    let path = dir.path().join(KEPT);
    let text = String::from_utf8(unpack(&path)).unwrap();
    let without: Vec<&str> = text.split_inclusive('\n').skip(2).collect();
    let without = without.concat();
    pack(&path, without.as_bytes());
    assert!(matches!(faults(dir.path())[0], FaultKind::Kept { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        faults(dir.path())[0],
        FaultKind::Kept { found: 0, .. }
    ));
}

#[test]
fn a_half_written_end_is_cut_off_and_the_log_goes_on() {
    let whole = log_of(12, LARGE);
    let path = growing(whole.path());
    let bytes = fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for end in [last + 1, last + 30, bytes.len() - 1] {
        let dir = log_of(12, LARGE);
        fs::remove_file(dir.path().join("head.json")).unwrap();
        let path = growing(dir.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..end]).unwrap();
        assert!(read(dir.path()).0.torn_end);
        let mut notes = Vec::new();
        let mut again = Writer::open(dir.path(), LARGE, begin(), &mut notes).unwrap();
        assert!(notes[0].contains("half written"), "{notes:?}");
        again.append(&item(12, false)).unwrap();
        again.close().unwrap();
        let (chain, found) = read(dir.path());
        assert_eq!(chain.faults, []);
        assert!(!chain.torn_end);
        assert_eq!(found.len(), 12);
    }
}

#[test]
fn a_kill_between_any_two_steps_of_a_rotation_loses_nothing() {
    // As a kill leaves it: the plain file beside the whole packed one, a packed one half made,
    // closed files that nobody packed, and a next file without a line.
    let dir = log_of(60, SMALL);
    let files = list(dir.path()).unwrap();
    let text = unpack(&files[1].path);
    fs::write(LogFile::plain(dir.path(), files[1].number).path, &text).unwrap();
    let third = unpack(&files[2].path);
    fs::write(LogFile::plain(dir.path(), files[2].number).path, third).unwrap();
    fs::remove_file(&files[2].path).unwrap();
    fs::write(dir.path().join("decisions-000003.jsonl.gz.new"), b"half").unwrap();
    let next = files.last().unwrap().number + 1;
    fs::write(LogFile::plain(dir.path(), next).path, b"").unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!((chain.faults, found), (vec![], numbers(1, 60)));
    let mut again = writer(dir.path(), SMALL);
    again.append(&item(61, false)).unwrap();
    again.close().unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!((chain.faults, found), (vec![], numbers(1, 61)));
    assert!(!dir.path().join("decisions-000003.jsonl.gz.new").exists());
}

#[test]
fn a_kill_while_files_make_way_loses_no_crisis() {
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = log_of(300, room);
    let kept = dir.path().join(KEPT);
    let before = fs::read(&kept).unwrap();
    // Announced, and killed before what is kept got its name: the files are still there then. Here
    // they are gone, so that the log must not go on to forget more.
    fs::write(dir.path().join(format!("{KEPT}.new")), b"half made").unwrap();
    let again = writer(dir.path(), room);
    drop(again);
    assert_eq!(fs::read(&kept).unwrap(), before);
    assert!(!dir.path().join(format!("{KEPT}.new")).exists());
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    assert_eq!(found.len() as u64 + chain.dropped, 300);
}

#[test]
fn lost_decisions_are_told_in_the_chain() {
    let dir = TempDir::new().unwrap();
    let mut writer = writer(dir.path(), LARGE);
    writer.append(&item(1, false)).unwrap();
    writer.count_lost(7, 1, "the disk was full".into());
    writer.append(&item(9, false)).unwrap();
    writer.count_lost(2, 0, "the disk was full".into());
    writer.close().unwrap();
    let (chain, found) = read(dir.path());
    assert!(chain.holds());
    assert_eq!(chain.lost, 9);
    assert_eq!(found.len(), 2);
}

#[test]
fn a_damaged_file_is_left_behind_and_the_log_goes_on() {
    let dir = log_of(10, LARGE);
    let path = growing(dir.path());
    edit(&path, |lines| lines[5] = "nonsense\n".into());
    let mut notes = Vec::new();
    let mut again = Writer::open(dir.path(), LARGE, begin(), &mut notes).unwrap();
    assert!(notes[0].contains("is damaged"), "{notes:?}");
    again.append(&item(11, false)).unwrap();
    again.close().unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults[0].what, FaultKind::NotALine);
    assert_eq!(chain.faults[0].line, 6);
    assert!(matches!(
        chain.faults[1].what,
        FaultKind::Missing { first: 6, last: 6 }
    ));
    assert_eq!(chain.fault_count, 2);
    assert_eq!(found.last(), Some(&(11, false)));
}

#[test]
fn nothing_to_read_is_said() {
    let dir = TempDir::new().unwrap();
    let empty = reader::read::<DecisionLogError>(dir.path(), &Arc::default(), &mut |_| Ok(()));
    assert!(matches!(empty, Err(DecisionLogError::Empty { .. })));
    let path = dir.path().join("other.jsonl");
    fs::write(&path, "{}\n").unwrap();
    let other = reader::read::<DecisionLogError>(&path, &Arc::default(), &mut |_| Ok(()));
    assert!(matches!(other, Err(DecisionLogError::Empty { .. })));
}

#[test]
fn what_was_lost_is_still_known_when_the_lines_that_told_it_made_way() {
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = TempDir::new().unwrap();
    let mut writer = writer(dir.path(), room);
    writer.append(&item(1, false)).unwrap();
    writer.count_lost(7, 2, "the disk was full".into());
    for number in 2..=300 {
        writer.append(&item(number, number % 10 == 0)).unwrap();
    }
    writer.close().unwrap();
    let mut told = 0;
    let chain = reader::read::<DecisionLogError>(dir.path(), &Arc::default(), &mut |line| {
        told += u64::from(line.head.kind == Kind::Lost);
        Ok(())
    });
    let chain = chain.unwrap();
    assert_eq!(chain.faults, []);
    assert_eq!((told, chain.lost, chain.lost_crises), (0, 7, 2));
}

#[test]
fn an_end_that_was_cut_off_is_not_forgotten_by_a_restart() {
    let dir = log_of(200, LARGE);
    let path = growing(dir.path());
    let (first, last) = (entry_of(&path, 101), entry_of(&path, 200));
    edit(&path, |lines| lines.truncate(at(first)));
    let missing = [FaultKind::Missing { first, last }];
    assert_eq!(faults(dir.path()), missing);
    let mut notes = Vec::new();
    let mut again = Writer::open(dir.path(), LARGE, begin(), &mut notes).unwrap();
    let gap = format!("the entries {first} to {last} were on disk and are gone");
    assert!(notes[0].starts_with(&gap), "{notes:?}");
    again.append(&item(201, false)).unwrap();
    again.close().unwrap();
    let (chain, found) = read(dir.path());
    let faults: Vec<_> = chain.faults.into_iter().map(|fault| fault.what).collect();
    assert_eq!(faults, missing);
    assert_eq!(chain.gone, last - first + 1);
    assert_eq!(found.len(), 101);

    // The same where nothing is left but the word on how far it went.
    let dir = log_of(20, LARGE);
    fs::remove_file(growing(dir.path())).unwrap();
    drop(writer(dir.path(), LARGE));
    assert!(matches!(
        self::faults(dir.path())[..],
        [FaultKind::Missing { first: 1, .. }]
    ));
}

#[test]
fn a_last_entry_that_was_changed_is_not_forgotten_by_a_restart() {
    let dir = log_of(20, LARGE);
    let path = growing(dir.path());
    let entry = entry_of(&path, 20);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"number\":20,", "\"number\":99,")).unwrap();
    let mut notes = Vec::new();
    let mut again = Writer::open(dir.path(), LARGE, begin(), &mut notes).unwrap();
    assert_eq!(
        notes,
        [format!("entry {entry} was changed since it was written")]
    );
    again.append(&item(21, false)).unwrap();
    again.close().unwrap();
    assert_eq!(faults(dir.path()), [FaultKind::Changed { entry }]);
}

/// Runs a test once more in a process of its own, where writes that make a file too large fail as on
/// a full disk. Whether this is that process.
fn is_own_process(test: &str) -> bool {
    const OWN: &str = "DBMEDIC_TEST_OWN_PROCESS";
    if std::env::var_os(OWN).is_some() {
        return true;
    }
    // A process that ignores the signal gets an error instead.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("decision_log::tests::{test}"), "--exact"])
        .env(OWN, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

fn about() -> About {
    About {
        limits: Limits::default(),
        named_limits: std::collections::BTreeMap::new(),
        parameters: std::collections::BTreeMap::new(),
    }
}

/// How large the file is that grows; 0 before there is one.
fn growing_size(dir: &Path) -> u64 {
    let last = list(dir).unwrap().pop();
    last.map_or(0, |file| fs::metadata(file.path).unwrap().len())
}

/// No file grows beyond this any more; none lifts the limit.
fn limit_files(bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[test]
fn a_disk_that_is_full_when_a_file_begins_leaves_the_bound_as_it_is() {
    if !is_own_process("a_disk_that_is_full_when_a_file_begins_leaves_the_bound_as_it_is") {
        return;
    }
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = TempDir::new().unwrap();
    let mut log = writer(dir.path(), room);
    let (mut number, mut lost) = (0, 0);
    for _ in 0..3 {
        // There is room until a file is full, and for all of this long enough that some made way.
        for _ in 0..60 {
            number += 1;
            log.append(&item(number, number % 10 == 0)).unwrap();
        }
        while fs::metadata(growing(dir.path())).unwrap().len() < room.file_bytes {
            number += 1;
            log.append(&item(number, number % 10 == 0)).unwrap();
        }
        // Room for the small word on how far it is synced, and for no beginning of a file.
        limit_files(Some(200));
        for _ in 0..3 {
            assert!(log.append(&item(0, false)).is_err());
            log.count_lost(1, 0, "the disk was full".into());
            lost += 1;
        }
        assert_eq!(fs::metadata(growing(dir.path())).unwrap().len(), 0);
        limit_files(None);
        number += 1;
        log.append(&item(number, number % 10 == 0)).unwrap();
        // Killed and started again.
        drop(log);
        log = writer(dir.path(), room);
    }
    for _ in 0..200 {
        number += 1;
        log.append(&item(number, number % 10 == 0)).unwrap();
    }
    log.close().unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    assert_eq!(found.len() as u64 + chain.dropped, number);
    assert_eq!(chain.lost, lost);
    let crises = found.iter().filter(|(_, crisis)| *crisis).count() as u64;
    assert_eq!(crises, number / 10);
    let total: u64 = list(dir.path())
        .unwrap()
        .iter()
        .map(|file| fs::metadata(&file.path).unwrap().len())
        .sum();
    assert!(total < room.total_bytes + room.file_bytes, "{total}");
}

#[test]
fn a_file_without_its_beginning_does_not_hide_what_made_way() {
    let room = Room {
        file_bytes: 4000,
        total_bytes: 12_000,
    };
    let dir = log_of(300, room);
    // As a full disk left it: the chain goes on in a file that says nothing of what made way.
    let path = growing(dir.path());
    let (last, dropped) = {
        let lines = fs::read_to_string(&path).unwrap();
        let last = lines.lines().last().unwrap().to_owned();
        (last, read(dir.path()).0.dropped)
    };
    let head = super::line::Head::read(last.as_bytes()).unwrap();
    let next = list(dir.path()).unwrap().last().unwrap().number + 1;
    let sum = super::line::Sum::of(last.as_bytes());
    let decided = item(301, false).decided;
    let line = super::line::write(head.n + 1, sum, false, Kind::Decided, &decided);
    fs::write(LogFile::plain(dir.path(), next).path, line).unwrap();
    let mut again = writer(dir.path(), room);
    for number in 302..=400 {
        again.append(&item(number, number % 10 == 0)).unwrap();
    }
    again.close().unwrap();
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    assert!(chain.dropped > dropped);
    assert_eq!(found.len() as u64 + chain.dropped, 400);
}

#[test]
fn crises_that_a_full_disk_refuses_are_written_when_there_is_room_again() {
    if !is_own_process("crises_that_a_full_disk_refuses_are_written_when_there_is_room_again") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let log = DecisionLog::open(dir.path(), LARGE, &about()).unwrap();
    log.hand_over(vec![item(1, true)]).unwrap();
    limit_files(Some(growing_size(dir.path())));
    let many = u64::try_from(UNWRITTEN).unwrap();
    for number in 2..2 + many {
        let refused = log.hand_over(vec![item(number, true)]).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("as soon as that works"), "{refused}");
    }
    // No room for these any more, and none for what is no crisis.
    let refused = log.hand_over(vec![item(900, true), item(901, false)]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("only counted"), "{refused}");
    log.hand_over(vec![item(902, false)]).unwrap();
    assert!(log.flush().is_err());
    limit_files(None);
    log.hand_over(vec![item(2 + many, true)]).unwrap();
    drop(log);
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    let all: Vec<_> = (1..=2 + many).map(|number| (number, true)).collect();
    assert_eq!(found, all);
    assert_eq!((chain.lost, chain.lost_crises), (3, 1));
}

#[test]
fn a_log_that_is_opened_on_a_full_disk_begins_when_there_is_room() {
    if !is_own_process("a_log_that_is_opened_on_a_full_disk_begins_when_there_is_room") {
        return;
    }
    let dir = TempDir::new().unwrap();
    for (run, from) in [(0, 1), (1, 4)] {
        limit_files(Some(growing_size(dir.path())));
        let mut log = DecisionLog::open(dir.path(), LARGE, &about()).unwrap();
        let notes = log.take_notes();
        assert!(
            matches!(&notes[..], [note] if note.contains("cannot be written yet")),
            "run {run}: {notes:?}"
        );
        log.hand_over(vec![item(from, true)]).unwrap_err();
        log.hand_over(vec![item(900, false)]).unwrap();
        assert!(log.flush().is_err());
        limit_files(None);
        log.hand_over(vec![item(from + 1, false)]).unwrap();
        log.hand_over(vec![item(from + 2, true)]).unwrap();
    }
    let (chain, found) = read(dir.path());
    assert_eq!(chain.faults, []);
    let all: Vec<_> = (1..=6).map(|n| (n, n != 2 && n != 5)).collect();
    assert_eq!(found, all);
    assert_eq!((chain.lost, chain.lost_crises), (2, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever byte is changed, the log does not pass for whole.
    #[test]
    fn no_changed_byte_passes(place in 0.0..1.0_f64, bit in 0..8_u32) {
        let dir = log_of(25, SMALL);
        let files = list(dir.path()).unwrap();
        let texts: Vec<(PathBuf, Vec<u8>)> = files
            .iter()
            .map(|file| {
                let text = if file.compressed { unpack(&file.path) } else { fs::read(&file.path).unwrap() };
                (file.path.clone(), text)
            })
            .collect();
        let all: usize = texts.iter().map(|(_, text)| text.len()).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let mut at = (place * all as f64) as usize;
        for (path, mut text) in texts {
            if at >= text.len() {
                at -= text.len();
                continue;
            }
            text[at] ^= 1 << bit;
            if path.extension().is_some_and(|e| e == "gz") {
                pack(&path, &text);
            } else {
                fs::write(&path, &text).unwrap();
            }
            break;
        }
        let (chain, _) = read(dir.path());
        prop_assert!(!chain.holds());
    }
}
