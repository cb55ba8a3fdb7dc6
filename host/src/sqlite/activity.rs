//! Whether a process has run, and what it did meanwhile, as `/proc` shows it.
//!
//! A lock is let go by a system call of its holder. So a process none of whose threads was given a
//! processor between two observations held between them whatever it held in both: that is proof,
//! where any number of samples of the lock alone is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::sqlite_state::{Activity, Descendants, Mark, RunState};

/// With more threads than this a process is not followed thread by thread.
const MOST_THREADS: usize = 1024;

/// With more processes than this nobody is asked for descendants.
const MOST_PROCESSES: usize = 1 << 16;

/// With more descendants than this they are not followed one by one.
const MOST_DESCENDANTS: usize = 256;

/// One thread's share.
struct Thread {
    state: u8,
    runs: u64,
    cpu_ns: u64,
    waits_for_lock: bool,
}

/// What a process has done; none when it has ended, changes its threads right now, has more than
/// 1024 of them, or hides them.
pub fn activity(pid: u32) -> Option<Activity> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let number: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        if threads.len() == MOST_THREADS {
            return None;
        }
        threads.push(number);
    }
    threads.sort_unstable();
    let mut mark = Mark::default();
    let mut states = Vec::with_capacity(threads.len());
    let (mut runs, mut cpu_ns) = (0_u64, 0_u64);
    let mut waits_for_lock = false;
    for number in &threads {
        let thread = thread(pid, *number)?;
        waits_for_lock |= thread.waits_for_lock;
        for part in [u64::from(*number), thread.runs, thread.cpu_ns] {
            mark.take(part);
        }
        states.push(thread.state);
        runs = runs.saturating_add(thread.runs);
        cpu_ns = cpu_ns.saturating_add(thread.cpu_ns);
    }
    Some(Activity {
        state: state_of(&states, || is_frozen(pid))?,
        threads: u32::try_from(threads.len()).ok()?,
        run_mark: mark.get(),
        runs,
        cpu_us: cpu_ns / 1000,
        read_bytes: read_bytes(pid),
        descendants: None,
        waits_for_lock,
    })
}

/// Which process started which, as `/proc` of this pid namespace shows it at one moment.
///
/// One whose parent has ended belongs to nobody any more.
#[derive(Debug)]
pub struct Processes {
    /// The children of each parent; none when there are too many processes.
    children: Option<BTreeMap<u32, Vec<u32>>>,
    /// Those that the kernel holds up because they wait for a file lock.
    waiting: BTreeSet<u32>,
}

impl Processes {
    /// Looks at all processes. `ignore` are dbmedic's own, which are nobody's helpers, and neither is
    /// what they started.
    pub fn now(ignore: &[u32]) -> Self {
        let waiting = super::locks::all_waiting_pids();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for (count, pid) in pids.enumerate() {
            if count == MOST_PROCESSES {
                return Self {
                    children: None,
                    waiting,
                };
            }
            if ignore.contains(&pid) {
                continue;
            }
            if let Some(parent) = parent_of(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        Self {
            children: Some(children),
            waiting,
        }
    }

    /// Adds to what a process has done for whom it waits.
    pub fn complete(&self, pid: u32, activity: &mut Activity) {
        activity.descendants = self.descendants(pid);
        activity.waits_for_lock |= self.waiting.contains(&pid);
    }

    /// What the descendants of a process have done; none when it has none. What cannot be followed is
    /// at work.
    fn descendants(&self, pid: u32) -> Option<Descendants> {
        let unseen = Descendants {
            run_mark: 0,
            at_work: true,
        };
        let Some(children) = &self.children else {
            return Some(unseen);
        };
        let (mut found, mut parents) = (BTreeSet::new(), vec![pid]);
        while let Some(parent) = parents.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if *child != pid && found.insert(*child) {
                    parents.push(*child);
                }
            }
            if found.len() > MOST_DESCENDANTS {
                return Some(unseen);
            }
        }
        let mut mark = Mark::default();
        let (mut any, mut at_work) = (false, false);
        for child in found {
            let Some(done) = activity(child) else {
                // It has ended and waits to be asked for its end, or it changes its threads.
                if !has_ended(child) {
                    any = true;
                    at_work = true;
                }
                continue;
            };
            any = true;
            at_work |= done.is_at_work() || self.waiting.contains(&child);
            mark.take(u64::from(child));
            mark.take(done.run_mark);
        }
        any.then_some(Descendants {
            run_mark: mark.get(),
            at_work,
        })
    }
}

/// What a process has done, and those that it started; see [`activity`] and [`Processes`].
pub fn with_descendants(pid: u32, ignore: &[u32]) -> Option<Activity> {
    let mut found = activity(pid)?;
    Processes::now(ignore).complete(pid, &mut found);
    Some(found)
}

/// Whether a process is gone, or waits for its parent to ask for its end.
fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, after)| after.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// Which process started another one, or took it over; none when that cannot be seen.
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(super::locks::parse_fork(&stat)?.0)
}

fn thread(pid: u32, number: u32) -> Option<Thread> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{number}/{file}"));
    let stat = read("stat").ok()?;
    // The name in parentheses may hold blanks and parentheses itself: the last one ends it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let state = *after_name.trim_start().as_bytes().first()?;
    let (runs, cpu_ns) = match parse_schedstat(&read("schedstat").unwrap_or_default()) {
        Some(counts) => counts,
        // A kernel without schedstat counts switches all the same, and time in ticks.
        None => (
            parse_switches(&read("status").ok()?)?,
            parse_ticks(after_name)?.saturating_mul(10_000_000),
        ),
    };
    Some(Thread {
        state,
        runs,
        cpu_ns,
        waits_for_lock: state == b'S' && read("syscall").is_ok_and(|text| is_in_lock_call(&text)),
    })
}

/// The numbers of the system calls `fcntl` and `flock`; none where this architecture's are not known here.
const LOCK_CALLS: Option<(u64, u64)> = if cfg!(target_arch = "x86_64") {
    Some((72, 73))
} else if cfg!(target_arch = "aarch64") {
    Some((25, 32))
} else {
    None
};
/// The commands of `fcntl` that wait: `F_SETLKW` and `F_OFD_SETLKW`. `/proc/locks` names nobody who waits
/// with the second one.
const WAITING_COMMANDS: [u64; 2] = [7, 38];

/// Whether a thread sleeps in a system call that waits for a file lock, from the text of `syscall`: its
/// number and its arguments.
fn is_in_lock_call(text: &str) -> bool {
    let Some((fcntl, flock)) = LOCK_CALLS else {
        return false;
    };
    let mut words = text.split_whitespace();
    let number: Option<u64> = words.next().and_then(|word| word.parse().ok());
    let command = words.nth(1).and_then(|word| word.strip_prefix("0x"));
    let command = command.and_then(|word| u64::from_str_radix(word, 16).ok());
    number == Some(flock)
        || number == Some(fcntl)
            && command.is_some_and(|command| WAITING_COMMANDS.contains(&command))
}

/// How often a thread was given a processor and for how long, nanoseconds, from the text of
/// `schedstat`; none where the kernel does not count (all zero: a thread that exists has run).
fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let cpu_ns = numbers.next()?.ok()?;
    let _waited = numbers.next()?.ok()?;
    let runs = numbers.next()?.ok()?;
    (runs > 0).then_some((runs, cpu_ns))
}

/// Both counts of context switches together, from the text of `status`.
fn parse_switches(text: &str) -> Option<u64> {
    let count = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse::<u64>().ok()
    };
    Some(count("voluntary_ctxt_switches:")?.saturating_add(count("nonvoluntary_ctxt_switches:")?))
}

/// Processor time in ticks, from what follows the name in `stat`.
fn parse_ticks(after_name: &str) -> Option<u64> {
    let mut fields = after_name.split_whitespace();
    let user = fields.nth(11)?.parse::<u64>().ok()?;
    let system = fields.next()?.parse::<u64>().ok()?;
    Some(user.saturating_add(system))
}

/// What the states of the threads come to; none when no thread is left that could hold anything.
fn state_of(states: &[u8], is_frozen: impl FnOnce() -> bool) -> Option<RunState> {
    let any = |state: u8| states.contains(&state);
    if states.iter().all(|state| matches!(state, b'Z' | b'X')) {
        return None;
    }
    Some(if any(b'R') {
        RunState::Running
    } else if any(b't') {
        RunState::Traced
    } else if any(b'T') {
        RunState::Stopped
    } else if is_frozen() {
        RunState::Frozen
    } else if any(b'D') {
        RunState::Disk
    } else {
        RunState::Sleeping
    })
}

/// Whether the control group (version 2) of a process is frozen.
fn is_frozen(pid: u32) -> bool {
    let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
        return false;
    };
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(group) = group.filter(|group| !group.split('/').any(|part| part == "..")) else {
        return false;
    };
    let events = fs::read_to_string(format!("/sys/fs/cgroup/{group}/cgroup.events"));
    events.is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
}

fn read_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("rchar:"));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_thread_that_waits_for_a_file_lock_is_known_by_its_system_call() {
        for (text, waits) in [
            (
                "73 0x4 0x2 0x0 0x0 0x0 0x0 0x7ffd2cd42c58 0x7fed096a42ad",
                true,
            ),
            ("72 0x4 0x7 0x7ffd 0x0 0x0 0x0 0x7ffd 0x7fed", true),
            ("72 0x4 0x26 0x7ffd 0x0 0x0 0x0 0x7ffd 0x7fed", true),
            ("72 0x4 0x6 0x7ffd 0x0 0x0 0x0 0x7ffd 0x7fed", false),
            ("0 0x3 0x7 0x20000 0x0 0x0 0x0 0x7ffd 0x7fed", false),
            ("running", false),
        ] {
            assert_eq!(is_in_lock_call(text), waits, "{text}");
        }
    }
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdin, Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn counts_from_the_texts() {
        assert_eq!(parse_schedstat("1010381 225374 3\n"), Some((3, 1_010_381)));
        assert_eq!(parse_schedstat("0 0 0\n"), None);
        assert_eq!(parse_schedstat(""), None);
        let status = "Name:\ta\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(parse_switches(status), Some(12));
        assert_eq!(parse_ticks(" S 1 2 3 4 5 6 7 8 9 10 70 30 0 0"), Some(100));
    }

    #[test]
    fn one_thread_at_work_is_the_process_at_work() {
        let of = |states: &[u8]| state_of(states, || false);
        assert_eq!(of(b"SSR"), Some(RunState::Running));
        assert_eq!(of(b"SDS"), Some(RunState::Disk));
        assert_eq!(of(b"TT"), Some(RunState::Stopped));
        assert_eq!(of(b"tS"), Some(RunState::Traced));
        assert_eq!(of(b"ZS"), Some(RunState::Sleeping));
        assert_eq!(of(b"Z"), None);
        assert_eq!(state_of(b"S", || true), Some(RunState::Frozen));
    }

    /// A process that sleeps until it is sent a line, answers, and sleeps again.
    struct Sleeper(Child, ChildStdin, BufReader<std::process::ChildStdout>);

    impl Sleeper {
        fn start() -> Self {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let mut sleeper = Self(child, input, BufReader::new(output));
            sleeper.wake();
            sleeper
        }

        fn wake(&mut self) {
            self.1.write_all(b"x\n").unwrap();
            self.2.read_line(&mut String::new()).unwrap();
        }

        fn activity(&self) -> Activity {
            activity(self.0.id()).unwrap()
        }

        /// What it shows once it has come to rest in this state.
        fn at_rest(&self, state: RunState) -> Activity {
            let until = Instant::now() + Duration::from_secs(10);
            loop {
                let (one, other) = (self.activity(), self.activity());
                if one == other && one.state == state {
                    return one;
                }
                assert!(Instant::now() < until, "{one:?}");
            }
        }

        fn signal(&self, signal: rustix::process::Signal) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    #[test]
    fn a_process_that_ran_for_a_moment_is_seen_to_have_run() {
        let mut sleeper = Sleeper::start();
        let before = sleeper.at_rest(RunState::Sleeping);
        assert_eq!(sleeper.activity().run_mark, before.run_mark);
        sleeper.wake();
        let after = sleeper.at_rest(RunState::Sleeping);
        assert_ne!(after.run_mark, before.run_mark);
        assert!(after.runs > before.runs && after.read_bytes > before.read_bytes);
        sleeper.signal(rustix::process::Signal::STOP);
        let stopped = sleeper.at_rest(RunState::Stopped);
        sleeper.signal(rustix::process::Signal::CONT);
        let again = sleeper.at_rest(RunState::Sleeping);
        assert_ne!(again.run_mark, stopped.run_mark);
    }

    /// A shell that waits for a shell that waits for a process which sleeps until it is sent a line.
    fn waiting_for_a_grandchild() -> Sleeper {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'cat; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut sleeper = Sleeper(child, input, BufReader::new(output));
        sleeper.wake();
        sleeper
    }

    #[test]
    fn who_waits_for_its_child_rests_only_while_the_child_and_its_children_rest() {
        let mut shell = waiting_for_a_grandchild();
        let pid = shell.0.id();
        let rests = || {
            let until = Instant::now() + Duration::from_secs(10);
            loop {
                let [one, other] = [(); 2].map(|()| with_descendants(pid, &[]).unwrap());
                if one == other && !one.is_at_work() {
                    return one;
                }
                assert!(Instant::now() < until, "{one:?}");
            }
        };
        let before = rests();
        assert!(before.descendants.is_some());
        shell.wake();
        let after = rests();
        // The shells slept on.
        assert_eq!(after.run_mark, before.run_mark);
        assert!(after.has_run_since(&before) && after.mark() != before.mark());
        assert!(!rests().has_run_since(&after));
        // What cannot be followed counts as work, and dbmedic itself as nothing.
        let children = Processes::now(&[]).children.unwrap();
        let is_leaf = |pid: &u32| !children.contains_key(pid);
        let mut last = children[&pid][0];
        while !is_leaf(&last) {
            last = children[&last][0];
        }
        assert_eq!(Processes::now(&[children[&pid][0]]).descendants(pid), None);
        assert_eq!(
            Processes {
                children: None,
                waiting: BTreeSet::new()
            }
            .descendants(pid)
            .map(|d| d.at_work),
            Some(true)
        );
        // It ends with its input, and they with it.
        let last = rustix::process::Pid::from_raw(i32::try_from(last).unwrap()).unwrap();
        rustix::process::kill_process(last, rustix::process::Signal::KILL).unwrap();
        let ended = |pid: u32| activity(pid).is_none();
        let until = Instant::now() + Duration::from_secs(10);
        while !ended(pid) {
            assert!(Instant::now() < until);
        }
        assert_eq!(Processes::now(&[]).descendants(pid), None);
    }

    #[test]
    fn a_process_that_is_gone_has_no_activity() {
        let sleeper = Sleeper::start();
        let pid = sleeper.0.id();
        drop(sleeper);
        assert_eq!(activity(pid), None);
    }
}
