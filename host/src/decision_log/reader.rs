//! Reads a log line by line and follows its chain: what was changed, taken away, put elsewhere or
//! cut off is found and named.
//!
//! It reads beside whoever writes, changes nothing, and takes the memory of a line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use super::DecisionLogError;
use super::files::{self, KEPT, Lines, LogFile, SyncedTo, is_damage};
use super::line::{Begin, Dropped, Head, Kind, Losses, Lost, Sum};
use super::making_way::sum_of;

/// Faults that are told one by one; more are counted.
const FAULTS: usize = 20;

/// A line of a log.
pub(super) struct Line<'a> {
    pub(super) file: &'a Path,
    pub(super) head: Head,
    pub(super) text: &'a [u8],
}

/// A place where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line of the file's text, counted from 1; 0 for the whole file.
    pub line: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub what: FaultKind,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// It is not what the entry after it, or the head of the log, says that it was.
    Changed {
        /// The entry.
        entry: u64,
    },
    /// Entries are not there, and the log does not say that they made way.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// An entry stands where it does not belong.
    OutOfOrder {
        /// The entry.
        entry: u64,
        /// The one before it in the file.
        after: u64,
    },
    /// The line is none of a decision log.
    NotALine,
    /// The file ends in the middle of a line, or cannot be unpacked any further.
    CutOff,
    /// What was kept of the files that made way is not what the log says.
    Kept {
        /// Lines that the log speaks of.
        announced: u64,
        /// Lines that are there.
        found: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        f.write_str(": ")?;
        match &self.what {
            FaultKind::Changed { entry } => write!(f, "entry {entry} was changed"),
            FaultKind::Missing { first, last } if first == last => {
                write!(f, "entry {first} is missing")
            }
            FaultKind::Missing { first, last } => {
                write!(f, "the entries {first} to {last} are missing")
            }
            FaultKind::OutOfOrder { entry, after } => {
                write!(f, "entry {entry} stands after entry {after}")
            }
            FaultKind::NotALine => f.write_str("this is no line of a decision log"),
            FaultKind::CutOff => f.write_str("the file is cut off"),
            FaultKind::Kept { announced, found } => write!(
                f,
                "{found} lines, or others, where the log speaks of {announced} that were kept"
            ),
        }
    }
}

/// What following a chain came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Chain {
    /// Lines that were read.
    pub lines: u64,
    /// The last one's number.
    pub last: u64,
    /// What is wrong, the first of it.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: u64,
    /// Whether the last line is half written, as a kill leaves it.
    pub torn_end: bool,
    /// Decisions that made way for newer ones.
    pub dropped: u64,
    /// Decisions that could not be written.
    pub lost: u64,
    /// How many of them are crises.
    pub lost_crises: u64,
    /// Lines that were on disk once and were gone at a later start.
    pub gone: u64,
}

impl Chain {
    /// Whether nothing was changed, taken away or put elsewhere.
    pub fn holds(&self) -> bool {
        self.fault_count == 0
    }

    fn add(&mut self, lost: Losses) {
        self.lost += lost.decisions;
        self.lost_crises += lost.crises;
        self.gone += lost.gone;
    }
}

/// Bytes that reading a log takes, as they are on disk.
pub(super) fn bytes(log: &Path) -> u64 {
    match files::list(log) {
        Ok(list) => {
            let numbered: u64 = list.iter().map(|file| files::size(&file.path)).sum();
            numbered + files::size(&log.join(KEPT))
        }
        Err(_) => files::size(log),
    }
}

/// Reads a directory's log, or one file of it, and hands over each line. `taken` grows by the bytes
/// that were read from the disk.
pub(super) fn read<E: From<DecisionLogError>>(
    log: &Path,
    taken: &Arc<AtomicU64>,
    each: &mut dyn FnMut(&Line<'_>) -> Result<(), E>,
) -> Result<Chain, E> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DecisionLogError::Io { path, source }
    };
    let mut follow = Follow {
        taken: Arc::clone(taken),
        ..Follow::default()
    };
    if !log.is_dir() {
        let plain = log.extension().is_none_or(|extension| extension != "gz");
        follow.file(log, plain, each)?;
        if follow.chain.lines == 0 {
            return Err(DecisionLogError::Empty { path: log.into() }.into());
        }
        return Ok(follow.chain);
    }
    let numbered = files::list(log).map_err(failed(log))?;
    let begins: Vec<(LogFile, Option<First>)> = numbered
        .into_iter()
        .map(|file| {
            let first = First::of(&file.path).map_err(failed(&file.path))?;
            Ok((file, first))
        })
        .collect::<Result<_, DecisionLogError>>()?;
    let kept = log.join(KEPT);
    if begins.is_empty() && !kept.exists() {
        return Err(DecisionLogError::Empty { path: log.into() }.into());
    }
    // The newest word on what made way, or the one before where the newest was not carried out yet.
    let words = || {
        let firsts = begins.iter().rev().filter_map(|(_, first)| first.as_ref());
        firsts.filter_map(|first| first.dropped.as_ref())
    };
    let found = sum_of(&kept).map_err(failed(&kept))?;
    let carried_out =
        words().find(|dropped| (dropped.kept, &dropped.kept_sum) == (found.0, &found.1));
    match (carried_out, words().next()) {
        (
            None,
            Some(Dropped {
                kept: announced, ..
            }),
        ) => {
            follow.kept_fault(&kept, *announced, found.0);
        }
        (None, None) if found.0 > 0 => follow.kept_fault(&kept, 0, found.0),
        _ => {}
    }
    let dropped = carried_out.or(words().next()).cloned().unwrap_or_default();
    follow.chain.dropped = dropped.decisions;
    follow.chain.add(dropped.lost);
    if found.0 > 0 {
        follow.loose_up_to = dropped.up_to;
        follow.file(&kept, false, each)?;
    }
    follow.begin_after(dropped.up_to);
    let last = begins.len().saturating_sub(1);
    for (index, (file, first)) in begins.iter().enumerate() {
        // Announced and kept, but not removed yet.
        if first.as_ref().is_some_and(|first| first.n <= dropped.up_to) {
            continue;
        }
        follow.file(&file.path, index == last && !file.compressed, each)?;
    }
    follow.end(log);
    Ok(follow.chain)
}

/// What the newest file of a log says of the run that it was kept of.
///
/// # Errors
/// When there is nothing that could be read.
pub fn newest_begin(log: &Path) -> Result<Begin, DecisionLogError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DecisionLogError::Io { path, source }
    };
    let paths: Vec<PathBuf> = if log.is_dir() {
        let files = files::list(log).map_err(failed(log))?;
        files.into_iter().rev().map(|file| file.path).collect()
    } else {
        vec![log.to_owned()]
    };
    for path in paths {
        let mut lines = Lines::new(files::open(&path).map_err(failed(&path))?);
        if let Ok(Some(line)) = lines.next_line()
            && let Some(head) = Head::read(line)
            && let Ok(begin) = serde_json::from_slice(head.value(line))
        {
            return Ok(begin);
        }
    }
    Err(DecisionLogError::Empty { path: log.into() })
}

/// What the first line of a file says.
struct First {
    n: u64,
    dropped: Option<Dropped>,
}

impl First {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut lines = Lines::new(files::open(path)?);
        let line = match lines.next_line() {
            Err(error) if !is_damage(&error) => return Err(error),
            read => read.unwrap_or(None),
        };
        let Some((line, head)) = line.and_then(|line| Some((line, Head::read(line)?))) else {
            return Ok(None);
        };
        let begin = serde_json::from_slice::<Begin>(head.value(line));
        Ok(Some(Self {
            n: head.n,
            dropped: begin.ok().map(|begin| begin.dropped),
        }))
    }
}

/// A link that does not hold. Which of its two ends was changed shows at the next link.
struct Loose {
    before: (PathBuf, u64, u64),
    after: (PathBuf, u64, u64),
}

#[derive(Default)]
struct Follow {
    chain: Chain,
    /// The line before: its number and sum; none where anything may follow.
    before: Option<(u64, Sum, PathBuf, u64)>,
    /// Up to here lines need not follow upon each other.
    loose_up_to: u64,
    loose: Option<Loose>,
    taken: Arc<AtomicU64>,
}

impl Follow {
    fn fault(&mut self, file: &Path, line: u64, what: FaultKind) {
        self.chain.fault_count += 1;
        if self.chain.faults.len() < FAULTS {
            self.chain.faults.push(Fault {
                file: file.to_owned(),
                line,
                what,
            });
        }
    }

    fn kept_fault(&mut self, kept: &Path, announced: u64, found: u64) {
        self.fault(kept, 0, FaultKind::Kept { announced, found });
    }

    /// The numbers go on after this one; what its line was is not known.
    fn begin_after(&mut self, n: u64) {
        self.before = None;
        self.loose_up_to = n;
        if n == 0 {
            // The very first line has nothing before it.
            self.before = Some((0, Sum::default(), PathBuf::new(), 0));
        } else {
            self.chain.last = n;
        }
    }

    fn file<E: From<DecisionLogError>>(
        &mut self,
        path: &Path,
        grows: bool,
        each: &mut dyn FnMut(&Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| DecisionLogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut lines = Lines::new(files::open_counted(path, &self.taken).map_err(failed)?);
        let mut number = 0;
        loop {
            number += 1;
            let text = match lines.next_line() {
                Ok(Some(text)) => text,
                Ok(None) => break,
                Err(error) if is_damage(&error) => {
                    self.fault(path, number, FaultKind::CutOff);
                    return Ok(());
                }
                Err(error) => return Err(failed(error).into()),
            };
            let Some(head) = Head::read(text) else {
                self.fault(path, number, FaultKind::NotALine);
                continue;
            };
            self.link(path, number, head, Sum::of(text));
            if head.kind == Kind::Lost
                && let Ok(lost) = serde_json::from_slice::<Lost>(head.value(text))
            {
                self.chain.add(lost.losses);
            }
            self.chain.lines += 1;
            each(&Line {
                file: path,
                head,
                text,
            })?;
        }
        if !lines.ended_whole() {
            if grows {
                self.chain.torn_end = true;
            } else {
                self.fault(path, number, FaultKind::CutOff);
            }
        }
        Ok(())
    }

    /// Holds a line against the one before.
    fn link(&mut self, path: &Path, line: u64, head: Head, sum: Sum) {
        let n = head.n;
        let expected = self.before.as_ref().map(|(before, ..)| before + 1);
        let missing_from = match (expected, &self.before) {
            // The first line after a gap that was announced, or of a single file.
            (None, _) if self.chain.last > 0 && n > self.loose_up_to + 1 => {
                Some(self.loose_up_to + 1)
            }
            (Some(expected), _) if n > expected && n > self.loose_up_to => Some(expected),
            _ => None,
        };
        if let Some(first) = missing_from {
            self.settle_loose(true);
            self.fault(path, line, FaultKind::Missing { first, last: n - 1 });
        } else if let Some((before, before_sum, before_path, before_line)) = self.before.take() {
            if n <= before {
                self.settle_loose(true);
                self.fault(
                    path,
                    line,
                    FaultKind::OutOfOrder {
                        entry: n,
                        after: before,
                    },
                );
            } else if n == before + 1 {
                let holds = head.prev == before_sum;
                if self.loose.is_some() {
                    self.settle_loose(holds);
                } else if !holds {
                    self.loose = Some(Loose {
                        before: (before_path, before_line, before),
                        after: (path.to_owned(), line, n),
                    });
                }
            }
        }
        self.chain.last = self.chain.last.max(n);
        self.before = Some((n, sum, path.to_owned(), line));
    }

    /// Names the end of a broken link that was changed: when the next link holds, its line is as it
    /// was, and the one before it was changed.
    fn settle_loose(&mut self, next_holds: bool) {
        if let Some(loose) = self.loose.take() {
            // Before the very first entry there is none that could have been changed.
            let (file, line, entry) = if next_holds && loose.before.2 > 0 {
                loose.before
            } else {
                loose.after
            };
            self.fault(&file, line, FaultKind::Changed { entry });
        }
    }

    /// Holds the end against how far the log was synced.
    fn end(&mut self, dir: &Path) {
        let head = SyncedTo::load(dir);
        let Some((n, sum, path, line)) = self.before.clone() else {
            return;
        };
        match head {
            Some(head) if head.n > n => {
                self.settle_loose(true);
                let what = FaultKind::Missing {
                    first: n + 1,
                    last: head.n,
                };
                self.fault(&path, line, what);
            }
            Some(head) if head.n == n => {
                let holds = head.sum == sum.hex();
                if self.loose.is_some() {
                    self.settle_loose(holds);
                } else if !holds {
                    self.fault(&path, line, FaultKind::Changed { entry: n });
                }
            }
            _ => self.settle_loose(true),
        }
    }
}
