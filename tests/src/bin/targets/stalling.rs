//! A file system with one file that can stop to answer, as a network's does whose server is gone.
//!
//! It speaks the kernel's FUSE protocol (<https://docs.kernel.org/filesystems/fuse.html>), as much of it as reading
//! one file takes. Only root can mount it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

/// The name of the file.
const NAME: &str = "stalling.db";
/// The numbers of the root and of the file.
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// A mounted file system; unmounted when dropped.
pub(crate) struct Stalling {
    mounted_on: PathBuf,
    stalls: Arc<Gate>,
}

/// What holds the answers back.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    ends: AtomicBool,
}

impl Stalling {
    /// Mounts it with a copy of a file in it; none where this system does not let it.
    pub(crate) fn mount(on: &Path, file: &Path) -> anyhow::Result<Option<(Self, PathBuf)>> {
        let Ok(kernel) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
            return Ok(None);
        };
        fs::create_dir(on)?;
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0")
            .arg("stalling")
            .arg(on)
            .stdin(kernel.try_clone()?)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let content = File::open(file)?;
        let stalls = Arc::new(Gate::default());
        let gate = Arc::clone(&stalls);
        thread::Builder::new()
            .name("file system".to_owned())
            .spawn(move || serve(&kernel, &content, &gate))
            .context("no thread")?;
        let stalling = Self {
            mounted_on: on.to_owned(),
            stalls,
        };
        Ok(Some((stalling, on.join(NAME))))
    }

    /// Answers nothing from now on.
    pub(crate) fn stall(&self) {
        self.shut(true);
    }

    /// Answers again.
    pub(crate) fn answer(&self) {
        self.shut(false);
    }

    fn shut(&self, is_shut: bool) {
        let mut gate = self
            .stalls
            .is_shut
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *gate = is_shut;
        self.stalls.opened.notify_all();
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        self.stalls.ends.store(true, Ordering::Relaxed);
        self.answer();
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(&self.mounted_on)
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.mounted_on.display());
        }
    }
}

/// A request of the kernel's.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes
        .get(at..at + 4)
        .and_then(|found| found.try_into().ok());
    found.map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes
        .get(at..at + 8)
        .and_then(|found| found.try_into().ok());
    found.map_or(0, u64::from_ne_bytes)
}

/// Answers until the file system is unmounted.
fn serve(kernel: &File, content: &File, gate: &Gate) {
    let mut bytes = vec![0; 1 << 18];
    loop {
        let mut from = kernel;
        let Ok(count) = from.read(&mut bytes) else {
            return;
        };
        let request = Request {
            opcode: u32_at(&bytes, 4),
            unique: u64_at(&bytes, 8),
            node: u64_at(&bytes, 16),
            body: bytes.get(40..count).unwrap_or_default(),
        };
        let mut is_shut = gate.is_shut.lock().unwrap_or_else(PoisonError::into_inner);
        while *is_shut && !gate.ends.load(Ordering::Relaxed) {
            is_shut = gate
                .opened
                .wait(is_shut)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(is_shut);
        // What it forgets, or takes back, has no answer.
        let Some(answer) = answer(&request, content) else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0_i32, body),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(0);
        let mut reply = length.to_ne_bytes().to_vec();
        reply.extend(error.to_ne_bytes());
        reply.extend(request.unique.to_ne_bytes());
        reply.extend(body);
        let mut to = kernel;
        // Whoever asked may be gone.
        to.write_all(&reply).ok();
    }
}

type Answer = Result<Vec<u8>, rustix::io::Errno>;

fn answer(request: &Request<'_>, content: &File) -> Option<Answer> {
    use rustix::io::Errno;
    const LOOKUP: u32 = 1;
    const FORGET: u32 = 2;
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const STATFS: u32 = 17;
    const RELEASE: u32 = 18;
    const FLUSH: u32 = 25;
    const INIT: u32 = 26;
    const INTERRUPT: u32 = 36;
    const BATCH_FORGET: u32 = 42;
    Some(match request.opcode {
        INIT => Ok(init()),
        LOOKUP if request.body.strip_suffix(b"\0") == Some(NAME.as_bytes()) => {
            let mut entry = FILE.to_ne_bytes().to_vec();
            // Generation, and for how long name and attributes are believed: not at all.
            entry.extend([0; 8 + 8 + 8 + 4 + 4]);
            entry.extend(attributes(FILE, content));
            Ok(entry)
        }
        LOOKUP => Err(Errno::NOENT),
        GETATTR => {
            let mut attr = vec![0; 16];
            attr.extend(attributes(request.node, content));
            Ok(attr)
        }
        OPEN => Ok(vec![0; 16]),
        READ => read(request.body, content).map_err(|_| Errno::IO),
        STATFS => Ok(vec![0; 80]),
        RELEASE | FLUSH => Ok(Vec::new()),
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        _ => Err(Errno::NOSYS),
    })
}

fn init() -> Vec<u8> {
    const MAJOR: u32 = 7;
    const MINOR: u32 = 31;
    let mut out = Vec::new();
    for number in [MAJOR, MINOR, 1 << 16, 0] {
        out.extend(u32::to_ne_bytes(number));
    }
    // Requests in the background, how large a write may be, and what is not used.
    for number in [16_u16, 12] {
        out.extend(number.to_ne_bytes());
    }
    for number in [1_u32 << 16, 1] {
        out.extend(number.to_ne_bytes());
    }
    out.resize(64, 0);
    out
}

fn attributes(node: u64, content: &File) -> Vec<u8> {
    const DIRECTORY: u32 = 0o040_755;
    const REGULAR: u32 = 0o100_644;
    let size = if node == ROOT {
        0
    } else {
        content.metadata().map_or(0, |meta| meta.len())
    };
    let mut out = Vec::new();
    // Number, size, blocks; three times.
    for number in [node, size, size.div_ceil(512), 0, 0, 0] {
        out.extend(number.to_ne_bytes());
    }
    let (mode, links) = if node == ROOT {
        (DIRECTORY, 2)
    } else {
        (REGULAR, 1)
    };
    // Parts of seconds; mode, links, owner, group, device, block size.
    for number in [0, 0, 0, mode, links, 0, 0, 0, 4096, 0] {
        out.extend(u32::to_ne_bytes(number));
    }
    out
}

fn read(body: &[u8], content: &File) -> io::Result<Vec<u8>> {
    let (offset, size) = (u64_at(body, 8), u32_at(body, 16));
    let mut bytes = vec![0; size as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match content.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
