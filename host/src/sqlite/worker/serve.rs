//! The worker itself: takes the rights it is to have, and does as it is asked.

use std::io::{self, BufReader, Stdin, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::process::read_line;
use super::{Failure, FailureKind, First, Granted, Role, Said, VERSION, Wish};
use crate::sqlite::{raw, sql};

/// Where this process, a worker, hears and answers whoever started it.
static PARENT: Mutex<Option<Parent>> = Mutex::new(None);

struct Parent {
    input: BufReader<Stdin>,
}

impl Parent {
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_line(&mut self.input)
    }

    /// Says one line; a reader that is gone ends this process soon.
    fn say<A: Serialize>(said: &Said<A>) -> io::Result<()> {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        let mut output = io::stdout().lock();
        output.write_all(&line)?;
        output.flush()
    }
}

/// Serves on standard input and output until the input ends. What the hidden subcommand runs, before
/// anything else has begun in the process.
///
/// # Errors
///
/// The input or the output broke.
pub fn serve() -> io::Result<()> {
    let mut parent = Parent {
        input: BufReader::new(io::stdin()),
    };
    let Some(line) = parent.hear()? else {
        return Ok(());
    };
    let first: First = match serde_json::from_slice(&line) {
        Ok(first) => first,
        Err(error) => return refuse(FailureKind::Request, format!("the first line: {error}")),
    };
    if first.v != VERSION {
        let why = format!("version {} is asked for, this is {VERSION}", first.v);
        return refuse(FailureKind::Request, why);
    }
    // Whatever it makes is for its owner alone, unless it is given other permissions.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let limited = match &first.rights {
        Some(rights) => rights.keep_only(),
        None => rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string()),
    };
    if let Err(why) = limited {
        return refuse(FailureKind::Rights, why);
    }
    outlive_signals()?;
    if first.role == Role::Sql {
        end_with_the_input()?;
    }
    *PARENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(parent);
    Parent::say(&Said::<()>::Ready { v: VERSION })?;
    match first.role {
        Role::Raw => {
            let mut session = raw::Session::default();
            answer_all(|request, say| session.perform(request, say))
        }
        Role::Sql => {
            let mut session = sql::Session::default();
            answer_all(|request, say| say(session.perform(request)))
        }
    }
}

fn refuse(kind: FailureKind, message: String) -> io::Result<()> {
    Parent::say(&Said::<()>::Failed(Failure { kind, message }))
}

/// Whoever ends dbmedic's whole service asks its workers too; they end with dbmedic, which brings a
/// repair that has begun to its end first.
fn outlive_signals() -> io::Result<()> {
    let asked = Arc::default();
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(())
}

/// Ends this process at once when nobody can ask it any more, in the middle of a statement as well:
/// what it does belongs to a process that is gone, and the next one is to find its locks free.
fn end_with_the_input() -> io::Result<()> {
    let watch = || {
        let input = io::stdin();
        // No event is asked for: what is told then is the end of the other side.
        let mut other_side = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::empty())];
        let gone = rustix::io::retry_on_intr(|| poll(&mut other_side, None));
        if gone.is_ok() {
            kill_process(getpid(), Signal::KILL).ok();
        }
    };
    let thread = thread::Builder::new().name("end with dbmedic".to_owned());
    thread.spawn(watch).map(drop)
}

/// Says an answer, or why there is none.
type Say<'a, A> = &'a mut dyn FnMut(Result<A, Failure>) -> io::Result<()>;

fn answer_all<Q: DeserializeOwned, A: Serialize>(
    mut perform: impl FnMut(Q, Say<'_, A>) -> io::Result<()>,
) -> io::Result<()> {
    let say = &mut |answer: Result<A, Failure>| {
        Parent::say(&match answer {
            Ok(answer) => Said::Answer(answer),
            Err(failure) => Said::Failed(failure),
        })
    };
    loop {
        let line = {
            let mut parent = PARENT.lock().unwrap_or_else(PoisonError::into_inner);
            match parent.as_mut().map(Parent::hear).transpose()?.flatten() {
                Some(line) => line,
                None => return Ok(()),
            }
        };
        match serde_json::from_slice(&line) {
            Ok(request) => perform(request, say)?,
            Err(error) => say(Err(Failure {
                kind: FailureKind::Request,
                message: format!("the request cannot be read: {error}"),
            }))?,
        }
    }
}

/// Asks the process that started this worker for what this one has no right to do. None when this is
/// no worker.
///
/// # Errors
///
/// It did not answer.
pub fn ask_parent(wish: Wish) -> io::Result<Option<Granted>> {
    let mut parent = PARENT.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(parent) = parent.as_mut() else {
        return Ok(None);
    };
    Parent::say(&Said::<()>::Wishes(wish))?;
    match parent.hear()? {
        Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
