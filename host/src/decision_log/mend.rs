//! The start of a log that is there already: what a kill cut short is finished, and its end found.

use std::fs::{self, File};
use std::io::{self, BufRead as _, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::files::{self, KEPT, LogFile, is_damage};
use super::line::{Begin, Dropped, Head, Kind, LONGEST_LINE, Sum};
use super::making_way::compress;

/// Where a log ends.
pub(super) struct End {
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) next: u64,
    pub(super) prev: Sum,
    pub(super) dropped: Dropped,
}

/// Finishes what a kill cut short, and finds the end of the log.
pub(super) fn mend(dir: &Path, notes: &mut Vec<String>) -> io::Result<End> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        // What is kept may be needed yet: the chain says.
        if name.ends_with(".gz.new") && !name.starts_with(KEPT) {
            fs::remove_file(&path)?;
        }
    }
    let files = files::list(dir)?;
    let last = files.last().map_or(1, |file| file.number);
    for file in &files {
        if file.compressed {
            let plain = LogFile::plain(dir, file.number);
            if plain.path.exists() {
                fs::remove_file(&plain.path)?;
            }
        } else if file.number != last {
            compress(file, dir)?;
        }
    }
    let files = files::list(dir)?;
    let mut end = Ended::default();
    let mut of_last = None;
    // The last file may hold no whole line yet.
    let kept = Some(dir.join(KEPT)).filter(|kept| kept.exists());
    let backwards = files.iter().rev().map(|file| file.path.clone());
    for path in backwards.chain(kept) {
        end.follow(&path)?;
        of_last.get_or_insert((end.whole_bytes, end.damaged));
        if end.next > 0 {
            break;
        }
    }
    let (whole_bytes, damaged) = of_last.unwrap_or_default();
    let (number, keep) = match files.last() {
        None => (1, false),
        Some(file) if file.compressed => (file.number + 1, false),
        Some(file) if damaged => {
            notes.push(format!(
                "{} is damaged; the log goes on in a new file",
                file.path.display()
            ));
            compress(file, dir)?;
            (file.number + 1, false)
        }
        Some(file) => (file.number, true),
    };
    let path = LogFile::plain(dir, number).path;
    let mut bytes = 0;
    if keep {
        bytes = whole_bytes;
        let cut = files::size(&path).saturating_sub(bytes);
        if cut > 0 {
            notes.push(format!(
                "{}: the last line was half written and is cut off",
                path.display()
            ));
        }
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    file.set_len(bytes)?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    files::sync_dir(dir)?;
    Ok(End {
        file,
        number,
        bytes,
        next: end.next.max(1),
        prev: end.prev,
        dropped: end.dropped,
    })
}

/// The end of a file, as far as it can be followed.
#[derive(Default)]
struct Ended {
    next: u64,
    prev: Sum,
    dropped: Dropped,
    whole_bytes: u64,
    damaged: bool,
}

impl Ended {
    fn follow(&mut self, path: &Path) -> io::Result<()> {
        let mut input = files::open(path)?;
        let mut text = Vec::new();
        let mut last = Vec::new();
        self.whole_bytes = 0;
        loop {
            text.clear();
            match input
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut text)
            {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_damage(&error) => {
                    self.damaged = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            let Some(line) = text.strip_suffix(b"\n") else {
                break;
            };
            self.whole_bytes += text.len() as u64;
            let Some(head) = Head::read(line) else {
                self.damaged = true;
                continue;
            };
            if head.kind == Kind::Begin {
                match serde_json::from_slice::<Begin>(head.value(line)) {
                    Ok(begin) => self.dropped = begin.dropped,
                    Err(_) => self.damaged = true,
                }
            }
            self.next = self.next.max(head.n + 1);
            std::mem::swap(&mut text, &mut last);
        }
        if let Some(line) = last.strip_suffix(b"\n") {
            self.prev = Sum::of(line);
        }
        Ok(())
    }
}
