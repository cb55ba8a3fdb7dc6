//! What must hold of each run, whatever the input.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::execute::{Ended, TIME_LIMIT};

/// The most memory that a command may take, KiB.
const MEMORY_KIB: u64 = 256 << 10;

/// What lies in a directory.
pub(crate) type Tree = BTreeMap<PathBuf, Entry>;

/// An entry of a directory: what a change to it would change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: u32,
    owner: u32,
    changed_ns: (i64, i64),
    content: Vec<u8>,
}

/// Everything below a directory, but for what stands under these names in it. The directory itself
/// has an empty name.
pub(crate) fn tree(dir: &Path, own: &[&str]) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(path) = ahead.pop() {
        let name = path.strip_prefix(dir)?.to_owned();
        if own.iter().any(|own| name == Path::new(own)) {
            continue;
        }
        let about = fs::symlink_metadata(&path)?;
        let mut content = Vec::new();
        let mut changed_ns = (about.mtime(), about.mtime_nsec());
        if about.is_file() && about.blocks() > 0 {
            content = fs::read(&path)?;
        } else if about.is_dir() {
            for entry in fs::read_dir(&path)? {
                ahead.push(entry?.path());
            }
            // Making and removing what is dbmedic's own changes the time of the directory around it.
            if name == Path::new("tmp") || (name == Path::new("") && !own.is_empty()) {
                changed_ns = (0, 0);
            }
        }
        let entry = Entry {
            mode: about.mode(),
            owner: about.uid(),
            changed_ns,
            content,
        };
        tree.insert(name, entry);
    }
    Ok(tree)
}

/// Which rules a run broke; none when all is right.
pub(crate) fn broken(ended: &Ended, before: &Tree, after: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    if ended.timed_out {
        broken.push(format!("not over after {} s", TIME_LIMIT.as_secs()));
    } else if let Some(signal) = ended.signal {
        broken.push(format!("ended by signal {signal}"));
    } else if ended.code.is_none_or(|code| !(0..=2).contains(&code)) {
        broken.push(format!("exit code {:?}", ended.code));
    }
    if ended.err().contains("panicked at") {
        broken.push("a panic".to_owned());
    }
    if takes_too_much_memory(ended) {
        let of_each: Vec<_> = ended.peaks_kib.iter().map(|kib| kib >> 10).collect();
        let all = ended.peak_kib() >> 10;
        broken.push(format!("{all} MiB of memory, of each process: {of_each:?}"));
    }
    for (name, bytes) in [("output", &ended.stdout), ("error", &ended.stderr)] {
        let Ok(text) = std::str::from_utf8(bytes) else {
            broken.push(format!("its standard {name} is not UTF-8"));
            continue;
        };
        if let Some(c) = text.chars().find(|&c| is_control(c)) {
            let shown = c.escape_unicode();
            broken.push(format!("{shown} in its standard {name}"));
        }
    }
    // A killed process leaves its temporary files.
    if !ended.timed_out && before != after {
        let changed: Vec<String> = before
            .keys()
            .chain(after.keys().filter(|name| !before.contains_key(*name)))
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| match (before.get(name), after.get(name)) {
                (None, _) => format!("{} is new", name.display()),
                (_, None) => format!("{} is gone", name.display()),
                _ => format!("{} is changed", Path::new(".").join(name).display()),
            })
            .collect();
        broken.push(format!(
            "files that are not its own: {}",
            changed.join(", ")
        ));
    }
    broken
}

pub(crate) fn takes_too_much_memory(ended: &Ended) -> bool {
    ended.peak_kib() > MEMORY_KIB
}

/// Control characters but for line feed and tab, and what changes the direction or the lines of text.
fn is_control(c: char) -> bool {
    let is_mark = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    is_mark || (c.is_control() && c != '\n' && c != '\t')
}
