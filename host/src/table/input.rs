//! The bytes of a table: a file or a pipe, compressed or not.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use super::error::Problem;

/// Bytes that are read at once.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// What compressed data begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Text of a table, with its first line looked at.
pub(super) struct Input {
    /// All of the text, from its first byte on.
    pub(super) text: Box<dyn Read>,
    /// The first line that is not blank; empty when there is none.
    pub(super) first_line: Vec<u8>,
    /// Set to zero at each row, so that no row grows without end.
    pub(super) since_row: Rc<Cell<usize>>,
}

/// Opens the text in `raw`: what is compressed is decompressed, and the first line is read ahead.
pub(super) fn open(raw: impl Read + 'static) -> Result<Input, Problem> {
    let (magic, raw) = peek(raw).map_err(Problem::Io)?;
    let since_row = Rc::new(Cell::new(0));
    let text: Box<dyn Read> = if magic == GZIP_MAGIC {
        Box::new(Gunzip(MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    };
    let lines = Lines {
        inner: text,
        since_row: Rc::clone(&since_row),
        last: b'\n',
    };
    let mut text = BufReader::with_capacity(BUFFER_BYTES, lines);
    let mut head = Vec::new();
    let first_line = loop {
        let start = head.len();
        let more = read_line(&mut text, &mut head).map_err(problem_of)?;
        let line = &head[start..];
        if !more || !line.trim_ascii().is_empty() {
            break line.to_vec();
        }
    };
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::NotText("the text is UTF-16; save it as UTF-8"));
    }
    if head.contains(&0) {
        return Err(Problem::NotText("there are zero bytes in it"));
    }
    Ok(Input {
        text: Box::new(Cursor::new(head).chain(text)),
        first_line,
        since_row,
    })
}

/// What went wrong when reading failed.
pub(super) fn problem_of(error: io::Error) -> Problem {
    match error.get_ref() {
        Some(inner) if inner.is::<RowTooLong>() => Problem::RowTooLong,
        Some(inner) if inner.is::<Damaged>() => Problem::Gzip(inner.to_string()),
        _ => Problem::Io(error),
    }
}

/// The first two bytes, and everything, those included. Fewer when there are no more.
fn peek(mut raw: impl Read) -> io::Result<([u8; 2], impl Read)> {
    let mut magic = [0; 2];
    let mut read = 0;
    while read < magic.len() {
        match raw.read(&mut magic[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok((magic, Cursor::new(magic).take(read as u64).chain(raw)))
}

/// Adds a line with its end to `line`; false at the end of the text.
fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut quoted = false;
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let end = buffer.iter().position(|&byte| {
            quoted ^= byte == b'"';
            !quoted && byte == b'\n'
        });
        let used = end.map_or(buffer.len(), |at| at + 1);
        line.extend_from_slice(&buffer[..used]);
        text.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Tells damage of the compressed data from a failure to read it.
struct Gunzip<R>(MultiGzDecoder<R>);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damaged(io::Error);

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(buffer).map_err(|error| match error.kind() {
            kind @ (InvalidData | InvalidInput | UnexpectedEof) => {
                io::Error::new(kind, Damaged(error))
            }
            _ => error,
        })
    }
}

/// Ends each line with `\n` alone, the last one too, so that lines can be counted; and refuses to
/// go on when a row does not end: an open quote would else fill the memory.
struct Lines<R> {
    inner: R,
    since_row: Rc<Cell<usize>>,
    /// The byte that was read last.
    last: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("the row does not end")]
struct RowTooLong;

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                let missing = !matches!(self.last, b'\n' | b'\r') && !buffer.is_empty();
                if missing {
                    self.last = b'\n';
                    buffer[0] = b'\n';
                }
                return Ok(usize::from(missing));
            }
            let so_far = self.since_row.get().saturating_add(read);
            if so_far > super::ROW_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, RowTooLong));
            }
            self.since_row.set(so_far);
            let kept = self.end_lines(&mut buffer[..read]);
            // Half of a line's end is no reason to say that the text is over.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

impl<R> Lines<R> {
    /// Turns `\r\n` and `\r` into `\n`, in place; how many bytes are left.
    fn end_lines(&mut self, text: &mut [u8]) -> usize {
        let before = std::mem::replace(&mut self.last, text[text.len() - 1]);
        if before != b'\r' && !text.contains(&b'\r') {
            return text.len();
        }
        let (mut kept, mut before) = (0, before);
        for at in 0..text.len() {
            let byte = text[at];
            if !(byte == b'\n' && before == b'\r') {
                text[kept] = if byte == b'\r' { b'\n' } else { byte };
                kept += 1;
            }
            before = byte;
        }
        kept
    }
}
