//! The start of a log that is there already: what a kill cut short is finished, and its end found.

use std::fs::{self, File};
use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use super::files::{self, KEPT, LogFile, SyncedTo, is_damage};
use super::line::{Begin, Dropped, Head, Kind, LONGEST_LINE, Losses, Lost, Sum};
use super::making_way::compress;
use crate::own_dir;

/// Where a log ends.
pub(super) struct End {
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) next: u64,
    pub(super) prev: Sum,
    pub(super) dropped: Dropped,
    /// What was on disk once and is gone.
    pub(super) lost: Lost,
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
            compress_or_note(file, dir, notes);
        }
    }
    let files = files::list(dir)?;
    let mut end = Ended::default();
    let (mut of_last, mut dropped) = (None, None);
    // The last file may hold no whole line yet, and one whose beginning failed no word on what made
    // way.
    let kept = Some(dir.join(KEPT)).filter(|kept| kept.exists());
    let backwards = files.iter().rev().map(|file| file.path.clone());
    for path in backwards.chain(kept) {
        let mut file = Ended::of(&path)?;
        of_last.get_or_insert((file.whole_bytes, file.damaged));
        dropped = dropped.or(file.dropped.take());
        if end.next == 0 {
            end = file;
        }
        if end.next > 0 && dropped.is_some() {
            break;
        }
    }
    let lost = end.hold_against_head(dir, notes);
    let (whole_bytes, damaged) = of_last.unwrap_or_default();
    let (number, keep) = match files.last() {
        None => (1, false),
        Some(file) if file.compressed => (file.number + 1, false),
        Some(file) if damaged => {
            notes.push(format!(
                "{} is damaged; the log goes on in a new file",
                file.path.display()
            ));
            compress_or_note(file, dir, notes);
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
    let file = own_dir::open_or_create(&path)?;
    file.set_len(bytes)?;
    files::sync_dir(dir)?;
    Ok(End {
        file,
        number,
        bytes,
        next: end.next.max(1),
        prev: end.prev,
        dropped: dropped.unwrap_or_default(),
        lost,
    })
}

/// A disk that is full must not keep a log from being opened.
fn compress_or_note(file: &LogFile, dir: &Path, notes: &mut Vec<String>) {
    if let Err(error) = compress(file, dir) {
        let path = file.path.display();
        notes.push(format!("{path} is not compressed yet: {error}"));
    }
}

/// The end of a file, as far as it can be followed.
#[derive(Default)]
struct Ended {
    next: u64,
    prev: Sum,
    /// The newest word on what made way, if there is one.
    dropped: Option<Dropped>,
    whole_bytes: u64,
    damaged: bool,
}

impl Ended {
    fn of(path: &Path) -> io::Result<Self> {
        let mut end = Self::default();
        let mut input = files::open(path)?;
        let mut text = Vec::new();
        let mut last = Vec::new();
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
                    end.damaged = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            let Some(line) = text.strip_suffix(b"\n") else {
                break;
            };
            end.whole_bytes += text.len() as u64;
            let Some(head) = Head::read(line) else {
                end.damaged = true;
                continue;
            };
            if head.kind == Kind::Begin {
                match serde_json::from_slice::<Begin>(head.value(line)) {
                    Ok(begin) => end.dropped = Some(begin.dropped),
                    Err(_) => end.damaged = true,
                }
            }
            end.next = end.next.max(head.n + 1);
            std::mem::swap(&mut text, &mut last);
        }
        if let Some(line) = last.strip_suffix(b"\n") {
            end.prev = Sum::of(line);
        }
        Ok(end)
    }

    /// Holds the end that was found against how far the log was on disk for certain. Where it does
    /// not reach that far, the numbers go on after what is gone, so that the gap shows for good.
    fn hold_against_head(&mut self, dir: &Path, notes: &mut Vec<String>) -> Lost {
        let last = self.next.saturating_sub(1);
        let head = SyncedTo::load(dir).filter(|head| head.n >= last.max(1));
        let Some((n, sum)) = head.and_then(|head| {
            let after = head.n.checked_add(1)?;
            Some((after - 1, Sum::parse(head.sum.as_bytes())?))
        }) else {
            return Lost::default();
        };
        let changed = n == last && sum != self.prev;
        self.next = n + 1;
        self.prev = sum;
        if changed {
            notes.push(format!("entry {n} was changed since it was written"));
        }
        if n == last {
            return Lost::default();
        }
        let why = format!(
            "the entries {} to {n} were on disk and are gone: the end of the log was cut off, or the \
             disk lost it",
            last + 1
        );
        notes.push(why.clone());
        Lost {
            losses: Losses {
                gone: n - last,
                ..Losses::default()
            },
            why,
        }
    }
}
