//! Copying a halted target's files aside, as they are, while everything else goes on.
//!
//! Each copy is made in a thread of its own by a helper process of its own: a large database, or a
//! disk that does not answer, holds up no other target. A halt stands even when the copy does not
//! succeed: a full disk must not lift it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::{Listener, Told};
use crate::clock::now_ms;
use crate::target::sqlite::raw::RawProcess;

/// Copies under way, and what came of those that ended.
pub(super) struct Preserver {
    threads: Vec<JoinHandle<()>>,
    send: Sender<String>,
    ended: Receiver<String>,
}

impl Preserver {
    pub(super) fn new() -> Self {
        let (send, ended) = channel();
        Self {
            threads: Vec::new(),
            send,
            ended,
        }
    }

    /// Begins to copy a database and its companions into a directory.
    pub(super) fn begin(&mut self, target: &str, database: &Path, into: PathBuf, exe: &Path) {
        let (send, target) = (self.send.clone(), target.to_owned());
        let (database, exe) = (database.to_owned(), exe.to_owned());
        let name = format!("preserve {target}");
        let failed = format!("{target}: files could NOT be copied aside");
        let work = move || {
            let copied = RawProcess::spawn(&exe).and_then(|mut raw| raw.copy(&database, &into));
            let text = match copied {
                Ok(copy) if copy.stable => {
                    format!("{target}: files copied to {}", into.display())
                }
                Ok(_) => format!(
                    "{target}: files copied to {}, but they changed meanwhile: they may not fit \
                     together",
                    into.display()
                ),
                Err(error) => format!("{target}: files could NOT be copied aside: {error}"),
            };
            // Nobody hears it when dbmedic ends without waiting.
            send.send(text).ok();
        };
        match thread::Builder::new().name(name).spawn(work) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                self.send.send(format!("{failed}: {error}")).ok();
            }
        }
    }

    /// Reports the copies that ended since the last time.
    pub(super) fn report(&mut self, tell: &mut Listener<'_>) {
        for text in self.ended.try_iter() {
            tell(now_ms(), Told::Note("preserved", &text));
        }
        self.threads.retain(|thread| !thread.is_finished());
    }

    /// Waits for the copies under way, and reports them.
    pub(super) fn finish(&mut self, tell: &mut Listener<'_>) {
        for thread in self.threads.drain(..) {
            // A thread that panicked copied nothing, and has said so on standard error.
            thread.join().ok();
        }
        self.report(tell);
    }
}
