//! Writes the log: one chain of lines through files that are closed when they are full, compressed,
//! and make way for newer ones when together they are too large.
//!
//! What makes way is announced in the chain first. Crises never make way: they move into a file of
//! their own. Every step can be cut short by a kill; the next start goes on from there.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::DecisionLogError;
use super::files::{self, KEPT, Lines, LogFile, SyncedTo, is_damage};
use super::line::{self, Begin, Dropped, Head, Kind, LONGEST_LINE, Lost, PolicyLine, Sum};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A file is closed when it has grown to this, bytes before compression.
    pub file_bytes: u64,
    /// All files together, bytes as they are on disk. Crises are kept even beyond.
    pub total_bytes: u64,
}

/// A decision as text, ready to be written.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) crisis: bool,
    pub(super) policy: PolicyLine,
    /// [`line::Decided`] as JSON.
    pub(super) decided: Vec<u8>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
}

/// The writer of a log, alone with it.
pub(super) struct Writer {
    dir: PathBuf,
    room: Room,
    begin: Begin,
    file: File,
    number: u64,
    bytes: u64,
    /// The number of the next line.
    next: u64,
    prev: Sum,
    /// Component and settings that were told in this file.
    told: BTreeSet<(String, String)>,
    lost: Lost,
    _lock: File,
}

impl Writer {
    /// Opens the log of a directory and makes it if there is none. `begin` tells of the run; what
    /// was dropped is filled in. `notes` hears what was mended.
    pub(super) fn open(
        dir: &Path,
        room: Room,
        mut begin: Begin,
        notes: &mut Vec<String>,
    ) -> Result<Self, DecisionLogError> {
        let failed = |source| DecisionLogError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let lock = files::create(&dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DecisionLogError::InUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let end = mend(dir, notes).map_err(failed)?;
        begin.dropped = end.dropped.clone();
        let mut writer = Self {
            dir: dir.to_owned(),
            room,
            begin,
            file: end.file,
            number: end.number,
            bytes: end.bytes,
            next: end.next,
            prev: end.prev,
            told: BTreeSet::new(),
            lost: nothing_lost(),
            _lock: lock,
        };
        writer.finish_dropping(&end.dropped).map_err(failed)?;
        writer.write_begin().map_err(failed)?;
        writer.sync().map_err(failed)?;
        Ok(writer)
    }

    /// Writes a decision. A crisis is on disk when this returns.
    pub(super) fn append(&mut self, item: &Item) -> io::Result<()> {
        if self.bytes >= self.room.file_bytes {
            self.rotate(item.at_ms)?;
        }
        if self.lost.decisions > 0 {
            let lost = serde_json::to_vec(&self.lost)?;
            self.line(false, Kind::Lost, &lost)?;
            self.lost = nothing_lost();
        }
        let policy = (item.policy.digest.clone(), item.policy.settings.clone());
        if !self.told.contains(&policy) {
            let told = serde_json::to_vec(&item.policy)?;
            self.line(false, Kind::Policy, &told)?;
            self.told.insert(policy);
        }
        self.line(item.crisis, Kind::Decided, &item.decided)?;
        if item.crisis {
            self.sync()?;
        }
        Ok(())
    }

    /// Counts decisions that could not be written; the log tells of them as soon as it can.
    pub(super) fn count_lost(&mut self, decisions: u64, crises: u64, why: String) {
        self.lost.decisions += decisions;
        self.lost.crises += crises;
        self.lost.why = why;
    }

    /// Brings everything to disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.next > 1 {
            SyncedTo {
                v: line::VERSION,
                n: self.next - 1,
                sum: self.prev.hex(),
            }
            .save(&self.dir)?;
        }
        Ok(())
    }

    /// The last word: what was lost, and all of it on disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.lost.decisions > 0 {
            let lost = serde_json::to_vec(&self.lost)?;
            self.line(false, Kind::Lost, &lost)?;
            self.lost = nothing_lost();
        }
        self.sync()
    }

    fn write_begin(&mut self) -> io::Result<()> {
        let begin = serde_json::to_vec(&self.begin)?;
        self.line(false, Kind::Begin, &begin)
    }

    /// A line; when it cannot be written whole, nothing of it stays.
    fn line(&mut self, crisis: bool, kind: Kind, value: &[u8]) -> io::Result<()> {
        let text = line::write(self.next, self.prev, crisis, kind, value);
        if let Err(error) = self.file.write_all(&text) {
            self.file.set_len(self.bytes)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.next += 1;
        self.prev = Sum::of(&text[..text.len() - 1]);
        Ok(())
    }

    /// Closes the file, makes room, and begins the next one.
    fn rotate(&mut self, at_ms: u64) -> io::Result<()> {
        self.sync()?;
        let next = LogFile::plain(&self.dir, self.number + 1);
        self.file = files::create(&next.path)?;
        // From here on the chain goes on in the new file, whatever fails.
        self.number += 1;
        self.bytes = 0;
        self.told.clear();
        self.begin.at_ms = at_ms;
        let dropped = self.compress_closed().and_then(|()| self.plan());
        match dropped {
            Ok(dropped) => self.begin.dropped = dropped.unwrap_or(self.begin.dropped.clone()),
            Err(error) => tracing::warn!("no room can be made in the decision log: {error}"),
        }
        self.write_begin()?;
        self.sync()?;
        files::sync_dir(&self.dir)?;
        if let Err(error) = self.finish_dropping(&self.begin.dropped) {
            tracing::warn!("what made way in the decision log is still there: {error}");
        }
        Ok(())
    }

    /// Compresses every file but the one that grows.
    fn compress_closed(&self) -> io::Result<()> {
        for file in files::list(&self.dir)? {
            if !file.compressed && file.number < self.number {
                compress(&file, &self.dir)?;
            }
        }
        Ok(())
    }

    /// What has to make way so that all files together find room; none when nothing has to. What is
    /// kept of it is ready in an unfinished file then.
    fn plan(&self) -> io::Result<Option<Dropped>> {
        let kept = self.dir.join(KEPT);
        let closed = files::list(&self.dir)?;
        let closed: Vec<_> = closed.into_iter().filter(|f| f.compressed).collect();
        let sizes: u64 = closed.iter().map(|file| files::size(&file.path)).sum();
        // The next file takes its room before it is compressed.
        let mut total = sizes + files::size(&kept) + self.room.file_bytes;
        if total <= self.room.total_bytes {
            return Ok(None);
        }
        let new = files::unfinished(&kept);
        let mut out = files::create(&new)?;
        if kept.exists() {
            io::copy(&mut File::open(&kept)?, &mut out)?;
        }
        let mut dropped = self.begin.dropped.clone();
        for file in closed {
            if total <= self.room.total_bytes {
                break;
            }
            total = total.saturating_sub(files::size(&file.path));
            total += keep_crises(&file, &mut out, &mut dropped)?;
        }
        out.sync_all()?;
        files::sync_dir(&self.dir)?;
        if total > self.room.total_bytes {
            tracing::warn!(
                "the decision log's crises take more room than it may have; they are kept"
            );
        }
        Ok(Some(dropped))
    }

    /// Removes what the chain says has made way. Can be cut short and done again.
    fn finish_dropping(&self, dropped: &Dropped) -> io::Result<()> {
        let kept = self.dir.join(KEPT);
        let new = files::unfinished(&kept);
        let announced = (dropped.kept, dropped.kept_sum.clone());
        if new.exists() {
            // It counts only if it is what the chain speaks of.
            if dropped.kept > 0 && sum_of(&new)? == announced {
                fs::rename(&new, &kept)?;
                files::sync_dir(&self.dir)?;
            } else {
                fs::remove_file(&new)?;
            }
        }
        let mut made_way = Vec::new();
        for file in files::list(&self.dir)? {
            let gone = file.number < self.number
                && first_number(&file)?.is_some_and(|n| n <= dropped.up_to);
            made_way.extend(gone.then_some(file));
        }
        // No crisis goes before it stands elsewhere.
        if made_way.is_empty() || sum_of(&kept)? != announced {
            return Ok(());
        }
        for file in made_way {
            fs::remove_file(&file.path)?;
        }
        Ok(())
    }
}

fn nothing_lost() -> Lost {
    Lost {
        decisions: 0,
        crises: 0,
        why: String::new(),
    }
}

/// Where a log ends.
struct End {
    file: File,
    number: u64,
    bytes: u64,
    next: u64,
    prev: Sum,
    dropped: Dropped,
}

/// Finishes what a kill cut short, and finds the end of the log.
fn mend(dir: &Path, notes: &mut Vec<String>) -> io::Result<End> {
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

/// Compresses a closed file and removes the plain one.
fn compress(plain: &LogFile, dir: &Path) -> io::Result<()> {
    let packed = LogFile::gzip(dir, plain.number).path;
    let new = files::unfinished(&packed);
    let mut out = GzEncoder::new(BufWriter::new(files::create(&new)?), Compression::default());
    io::copy(&mut File::open(&plain.path)?, &mut out)?;
    let out = out.finish()?.into_inner().map_err(io::Error::from)?;
    out.sync_all()?;
    fs::rename(&new, &packed)?;
    files::sync_dir(dir)?;
    fs::remove_file(&plain.path)
}

/// Adds what stays of a file to `out`, and what does not to `dropped`. The bytes that it took.
fn keep_crises(file: &LogFile, out: &mut File, dropped: &mut Dropped) -> io::Result<u64> {
    let before = out.metadata()?.len();
    let mut any = false;
    each_line(&file.path, &mut |head, _| any |= head.crisis)?;
    let mut packed = GzEncoder::new(&mut *out, Compression::default());
    let mut written = Ok(());
    let mut sum = Sum::parse(dropped.kept_sum.as_bytes()).unwrap_or_default();
    each_line(&file.path, &mut |head, line| {
        dropped.up_to = dropped.up_to.max(head.n);
        if any && head.stays() {
            sum = sum.then(line);
            dropped.kept += 1;
            if written.is_ok() {
                written = packed
                    .write_all(line)
                    .and_then(|()| packed.write_all(b"\n"));
            }
        } else if head.kind == Kind::Decided {
            dropped.decisions += 1;
        }
    })?;
    written?;
    if dropped.kept > 0 {
        dropped.kept_sum = sum.hex();
    }
    if any {
        packed.finish()?;
    } else {
        drop(packed);
        out.set_len(before)?;
        io::Seek::seek(out, io::SeekFrom::End(0))?;
    }
    Ok(out.metadata()?.len() - before)
}

/// How many lines a file holds, and their running sum.
pub(super) fn sum_of(path: &Path) -> io::Result<(u64, String)> {
    if files::size(path) == 0 {
        return Ok((0, String::new()));
    }
    // Packed whatever its name: it may not have its own yet.
    let packed = MultiGzDecoder::new(BufReader::new(File::open(path)?));
    let mut input = Lines::new(BufReader::new(packed));
    let (mut lines, mut sum) = (0, Sum::default());
    while let Ok(Some(line)) = input.next_line() {
        lines += 1;
        sum = sum.then(line);
    }
    let sum = if lines == 0 { String::new() } else { sum.hex() };
    Ok((lines, sum))
}

/// The number of a file's first line; none when it has none.
pub(super) fn first_number(file: &LogFile) -> io::Result<Option<u64>> {
    let mut input = Lines::new(files::open(&file.path)?);
    let line = whole(input.next_line())?;
    Ok(line.and_then(Head::read).map(|head| head.n))
}

/// Every line of ours in a file, as far as it can be read; what is none is left out.
fn each_line(path: &Path, each: &mut dyn FnMut(Head, &[u8])) -> io::Result<()> {
    let mut input = Lines::new(files::open(path)?);
    while let Some(line) = whole(input.next_line())? {
        if let Some(head) = Head::read(line) {
            each(head, line);
        }
    }
    Ok(())
}

/// Damage is an end; a disk that does not answer is an error.
fn whole<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if is_damage(&error) => Ok(None),
        read => read,
    }
}
