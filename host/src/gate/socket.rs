//! The control socket: how commands talk to a running dbmedic.
//!
//! A Unix socket in the state directory, for its owner alone; who connects must be the same user,
//! or root. It carries requests and replies, and knows nothing of what they mean.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, chmodat, statat};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{Line, Reply, Request, VERSION};
use crate::own_dir::OwnDir;

const NAME: &str = "dbmedic.sock";
/// The longest request, bytes: an approval holds the repair that it is for.
const LONGEST_REQUEST: u64 = 1 << 20;
/// The longest reply, bytes: a status holds a matrix for each policy.
const LONGEST_REPLY: u64 = 16 << 20;
/// How long a peer may take to say what it wants, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a command may take to be written down and answered.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether the socket is where it was bound.
const IN_PLACE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How long a peer that waits may be gone before that is seen.
const GONE: Duration = Duration::from_millis(500);
/// Peers at a time.
const PEERS: usize = 16;

/// The listening end. It stops when this is dropped.
pub(super) struct Server {
    own: OwnDir,
    /// The thread listens until this is gone, whatever became of the socket's file meanwhile.
    wanted: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A request, and where its replies go.
pub(super) type Asked = (Request, mpsc::Sender<Reply>);

impl Server {
    /// Listens in a state directory, which this process has for itself. `ask` gets each request and
    /// says whether anybody still answers.
    ///
    /// # Errors
    /// When the socket cannot be made, or the directory belongs to another user.
    pub(super) fn start(
        state_dir: &Path,
        ask: impl Fn(Asked) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // Who may put files there could put another socket in the place of this one.
        let own = OwnDir::open(state_dir)?;
        let listener = bind(&own)?;
        let (wanted, stop) = UnixStream::pair()?;
        let ask = Arc::new(ask);
        let thread = thread::Builder::new().name("control".into()).spawn({
            let own = own.clone();
            move || listen(&own, listener, &stop, &ask)
        })?;
        Ok(Self {
            own,
            wanted: Some(wanted),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(self.own.remove(NAME));
    }
}

/// Binds the socket, for its owner alone.
fn bind(own: &OwnDir) -> io::Result<UnixListener> {
    // Left behind by a dbmedic that was killed; the lock of the state says that none is running.
    own.remove_if_there(NAME)?;
    let listener = at(own, |path| UnixListener::bind(path))?;
    let private = Mode::from_raw_mode(0o600);
    chmodat(own.handle(), NAME, private, AtFlags::empty())?;
    // Who hung up before it was taken must not hold up the rest.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether something has the socket's name.
fn is_bound(own: &OwnDir) -> bool {
    statat(own.handle(), NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Serves peers until the other end of `stop` is gone. A socket that somebody removed is bound again.
fn listen<F>(own: &OwnDir, mut listener: UnixListener, stop: &UnixStream, ask: &Arc<F>)
where
    F: Fn(Asked) -> bool + Send + Sync + 'static,
{
    let peers = Arc::new(AtomicUsize::new(0));
    loop {
        let mut polled = [
            PollFd::new(stop, PollFlags::empty()),
            PollFd::new(&listener, PollFlags::IN),
        ];
        let ready = poll(&mut polled, Some(&IN_PLACE));
        if polled[0].revents().contains(PollFlags::HUP) {
            break;
        }
        if matches!(ready, Ok(0)) {
            // In a directory that is gone it cannot be: another run goes on in the next one.
            if !is_bound(own)
                && let Ok(again) = bind(own)
            {
                listener = again;
            }
            continue;
        }
        let accepted = ready
            .map_err(io::Error::from)
            .and_then(|_| listener.accept());
        let stream = match accepted.and_then(|(stream, _)| waiting(stream)) {
            Ok(stream) => stream,
            // Interrupted, or the peer went away again.
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "control socket");
                // Out of descriptors, most likely: not in a tight circle.
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if peers.fetch_add(1, Ordering::SeqCst) >= PEERS {
            peers.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (ask, counted) = (Arc::clone(ask), Arc::clone(&peers));
        let serve = move || {
            if let Err(error) = serve(&stream, &*ask) {
                tracing::debug!(%error, "control socket: a peer went away");
            }
            counted.fetch_sub(1, Ordering::SeqCst);
        };
        let spawned = thread::Builder::new()
            .name("control peer".into())
            .spawn(serve);
        if spawned.is_err() {
            peers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn waiting(stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

fn serve(stream: &UnixStream, ask: &impl Fn(Asked) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = rustix::net::sockopt::socket_peercred(stream)?.uid;
    if peer != rustix::process::geteuid() && !peer.is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut out = stream;
    let request = match read_line::<Request>(&mut BufReader::new(stream), LONGEST_REQUEST) {
        Ok(request) => request,
        Err(error) => return write_line(&mut out, &Reply::Error(error.to_string())),
    };
    let (send, replies) = mpsc::channel();
    if !ask((request, send)) {
        return write_line(&mut out, &Reply::Stopping);
    }
    loop {
        match replies.recv_timeout(GONE) {
            Ok(reply) => {
                write_line(&mut out, &reply)?;
                if reply.is_last() {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) if has_hung_up(stream)? => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    write_line(&mut out, &Reply::Stopping)
}

/// Whether a peer is gone, so that nobody reads what it is told.
fn has_hung_up(stream: &UnixStream) -> io::Result<bool> {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    let gone = PollFlags::HUP | PollFlags::ERR;
    Ok(polled[0].revents().intersects(gone))
}

/// Why a running dbmedic could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No dbmedic runs with this state directory.
    #[error("no dbmedic is running with the state directory {}", state_dir.display())]
    NotRunning {
        /// The state directory.
        state_dir: PathBuf,
    },
    /// One may run, and cannot be reached.
    #[error("reaching the dbmedic of the state directory {}", state_dir.display())]
    Unreachable {
        /// The state directory.
        state_dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time.
    #[error(
        "the dbmedic that runs did not answer in {} s: the command may be written down, which `dbmedic incidents` \
         shows, and may be written down yet",
        COMMAND_PATIENCE.as_secs()
    )]
    NoAnswer,
    /// The talk broke off.
    #[error("talking to the running dbmedic")]
    Io(#[source] io::Error),
    /// It stops, or begins anew, and did nothing.
    #[error("dbmedic is stopping")]
    Stopping,
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the dbmedic that runs with a state directory. `heard` gets each reply but an error.
///
/// # Errors
/// See [`AskError`].
pub fn ask(
    state_dir: &Path,
    request: &Request,
    mut heard: impl FnMut(Reply),
) -> Result<(), AskError> {
    let stream = OwnDir::existing(state_dir)
        .map_err(io::Error::from)
        .and_then(|own| at(&own, |path| UnixStream::connect(path)));
    let stream = stream.map_err(|source| {
        let state_dir = state_dir.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                AskError::NotRunning { state_dir }
            }
            _ => AskError::Unreachable { state_dir, source },
        }
    })?;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::NoAnswer,
        _ => AskError::Io(error),
    };
    // What else is asked may take as long as it takes.
    if matches!(request, Request::Command { .. }) {
        let patience = Some(COMMAND_PATIENCE);
        stream.set_read_timeout(patience).map_err(AskError::Io)?;
        stream.set_write_timeout(patience).map_err(AskError::Io)?;
    }
    write_line(&mut &stream, request).map_err(failed)?;
    let mut replies = BufReader::new(&stream);
    loop {
        let reply = read_line::<Reply>(&mut replies, LONGEST_REPLY).map_err(failed)?;
        let last = reply.is_last();
        match reply {
            Reply::Error(text) => return Err(AskError::Refused(text)),
            Reply::Stopping => return Err(AskError::Stopping),
            reply => heard(reply),
        }
        if last {
            return Ok(());
        }
    }
}

/// Does something with the socket's path, by way of the directory that is held: no path is too long
/// then.
fn at<T>(dir: &OwnDir, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let held = dir.handle().as_raw_fd();
    with(Path::new(&format!("/proc/self/fd/{held}/{NAME}")))
}

fn write_line(out: &mut impl Write, said: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { v: VERSION, said })?;
    line.push(b'\n');
    out.write_all(&line)
}

fn read_line<T: DeserializeOwned>(input: &mut impl BufRead, most_bytes: u64) -> io::Result<T> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = Vec::new();
    input
        .by_ref()
        .take(most_bytes)
        .read_until(b'\n', &mut line)?;
    if line.len() as u64 == most_bytes && !line.ends_with(b"\n") {
        return Err(wrong(format!("the line is longer than {most_bytes} bytes")));
    }
    if line.last() != Some(&b'\n') {
        return Err(wrong("the line is cut off".to_owned()));
    }
    let said: Line<serde_json::Value> =
        serde_json::from_slice(&line).map_err(|e| wrong(format!("not understood: {e}")))?;
    if said.v != VERSION {
        let text = format!("protocol version {}, this dbmedic speaks {VERSION}", said.v);
        return Err(wrong(text));
    }
    serde_json::from_value(said.said).map_err(|e| wrong(format!("not understood: {e}")))
}

#[cfg(test)]
mod tests;
