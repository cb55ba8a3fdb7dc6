//! What makes way when the log is larger than it may be, and what of it stays: crises, in a file of
//! their own. Nothing goes before the chain has announced it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::files::{self, KEPT, Lines, LogFile, is_damage};
use super::line::{Dropped, Head, Sum};
use crate::regular_file;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A file is closed when it has grown to this, bytes before compression.
    pub file_bytes: u64,
    /// All files together, bytes as they are on disk. Crises are kept even beyond.
    pub total_bytes: u64,
}

/// Compresses every file but the one that grows.
pub(super) fn compress_closed(dir: &Path, growing: u64) -> io::Result<()> {
    for file in files::list(dir)? {
        if !file.compressed && file.number < growing {
            compress(&file, dir)?;
        }
    }
    Ok(())
}

/// What has to make way so that all files together find room; none when nothing has to. What is
/// kept of it is ready in an unfinished file then, unless nothing comes to what is kept already.
pub(super) fn plan(
    dir: &Path,
    growing: u64,
    room: Room,
    so_far: &Dropped,
) -> io::Result<Option<Dropped>> {
    // What was announced and not carried out yet must not be planned for a second time.
    finish(dir, growing, so_far)?;
    let kept = dir.join(KEPT);
    let mut closed = files::list(dir)?;
    closed.retain(|file| file.number < growing);
    let sizes: u64 = closed.iter().map(|file| files::size(&file.path)).sum();
    // The next file takes its room before it is compressed.
    let total = sizes + files::size(&kept) + room.file_bytes;
    if total <= room.total_bytes {
        return Ok(None);
    }
    if sum_of(&kept)? != (so_far.kept, so_far.kept_sum.clone()) {
        return Err(io::Error::other(format!(
            "{} is not what the log says that was kept",
            kept.display()
        )));
    }
    let planned = keep_of(&closed, &kept, total, room, so_far);
    if planned.is_err() {
        // What is half made only takes room, and perhaps the last there is.
        drop(fs::remove_file(files::unfinished(&kept)));
    }
    planned.map(Some)
}

/// Lets the oldest files go until the rest finds room.
fn keep_of(
    closed: &[LogFile],
    kept: &Path,
    mut total: u64,
    room: Room,
    so_far: &Dropped,
) -> io::Result<Dropped> {
    let mut dropped = so_far.clone();
    let mut out = None;
    for file in closed {
        if total <= room.total_bytes {
            break;
        }
        total = total.saturating_sub(files::size(&file.path));
        total += keep_crises(file, kept, &mut out, &mut dropped)?;
    }
    if let Some(out) = out {
        out.sync_all()?;
        if let Some(dir) = kept.parent() {
            files::sync_dir(dir)?;
        }
    }
    if total > room.total_bytes {
        tracing::warn!("the decision log's crises take more room than it may have; they are kept");
    }
    Ok(dropped)
}

/// Removes what the chain says has made way. Can be cut short and done again.
pub(super) fn finish(dir: &Path, growing: u64, dropped: &Dropped) -> io::Result<()> {
    let kept = dir.join(KEPT);
    let new = files::unfinished(&kept);
    let announced = (dropped.kept, dropped.kept_sum.clone());
    if new.exists() {
        // It counts only if it is what the chain speaks of.
        if dropped.kept > 0 && sum_of(&new)? == announced {
            fs::rename(&new, &kept)?;
            files::sync_dir(dir)?;
        } else {
            fs::remove_file(&new)?;
        }
    }
    let mut made_way = Vec::new();
    for file in files::list(dir)? {
        let gone =
            file.number < growing && first_number(&file)?.is_some_and(|n| n <= dropped.up_to);
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

/// Compresses a closed file and removes the plain one. When that fails, the plain one stays as it is.
pub(super) fn compress(plain: &LogFile, dir: &Path) -> io::Result<()> {
    let packed = LogFile::gzip(dir, plain.number).path;
    let new = files::unfinished(&packed);
    if let Err(error) = pack(&plain.path, &new) {
        // What is half made only takes room, and perhaps the last there is.
        drop(fs::remove_file(&new));
        return Err(error);
    }
    fs::rename(&new, &packed)?;
    files::sync_dir(dir)?;
    fs::remove_file(&plain.path)
}

fn pack(plain: &Path, packed: &Path) -> io::Result<()> {
    let out = BufWriter::new(files::create(packed)?);
    let mut out = GzEncoder::new(out, Compression::default());
    io::copy(&mut regular_file::open(plain)?, &mut out)?;
    let out = out.finish()?.into_inner().map_err(io::Error::from)?;
    out.sync_all()
}

/// Adds what stays of a file to `out`, which begins as a copy of what is kept already, and what does
/// not to `dropped`. The bytes that it took.
fn keep_crises(
    file: &LogFile,
    kept: &Path,
    out: &mut Option<File>,
    dropped: &mut Dropped,
) -> io::Result<u64> {
    let mut any = false;
    each_line(&file.path, &mut |head, _| any |= head.crisis)?;
    if !any {
        each_line(&file.path, &mut |head, line| dropped.count(head, line))?;
        return Ok(0);
    }
    let out = match out {
        Some(out) => out,
        None => out.insert(copy_of(kept)?),
    };
    let before = out.metadata()?.len();
    let mut packed = GzEncoder::new(&mut *out, Compression::default());
    let mut written = Ok(());
    let mut sum = Sum::parse(dropped.kept_sum.as_bytes()).unwrap_or_default();
    each_line(&file.path, &mut |head, line| {
        if !head.stays() {
            dropped.count(head, line);
            return;
        }
        dropped.up_to = dropped.up_to.max(head.n);
        dropped.kept += 1;
        sum = sum.then(line);
        if written.is_ok() {
            written = packed
                .write_all(line)
                .and_then(|()| packed.write_all(b"\n"));
        }
    })?;
    written?;
    packed.finish()?;
    dropped.kept_sum = sum.hex();
    Ok(out.metadata()?.len() - before)
}

/// What is kept, as a new file that more can be added to.
fn copy_of(kept: &Path) -> io::Result<File> {
    let mut out = files::create(&files::unfinished(kept))?;
    if kept.exists() {
        io::copy(&mut regular_file::open(kept)?, &mut out)?;
    }
    Ok(out)
}

/// How many lines a file holds, and their running sum.
pub(super) fn sum_of(path: &Path) -> io::Result<(u64, String)> {
    if files::size(path) == 0 {
        return Ok((0, String::new()));
    }
    // Packed whatever its name: it may not have its own yet.
    let packed = MultiGzDecoder::new(BufReader::new(regular_file::open(path)?));
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
fn first_number(file: &LogFile) -> io::Result<Option<u64>> {
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
