//! What the processes use that hold locks of a database. Linux alone tells, and only of processes that
//! this one may look into.

use std::collections::BTreeMap;
use std::fs;

use crate::source::float;

/// Bytes that a process must have read since the last measurement before a share of them says anything.
const LEAST_READ_BYTES: u64 = 1 << 16;

/// What a process has read since it began: from files altogether, and of that from the disk, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reads {
    all: u64,
    from_disk: u64,
}

/// Measures the processes that hold locks, again and again.
#[derive(Debug, Default)]
pub(super) struct Holders {
    reads: BTreeMap<u32, Reads>,
}

impl Holders {
    /// The memory that these processes have in use together, bytes; none when none of them tells.
    pub(super) fn memory_bytes(processes: &[u32]) -> Option<f64> {
        processes
            .iter()
            .filter_map(|pid| memory_bytes(&read(*pid, "status")?))
            .reduce(u64::saturating_add)
            .map(float)
    }

    /// The share of what these processes read since the last measurement that did not come from the disk,
    /// percent: the cache of the operating system had it. None at the first measurement, and where too
    /// little was read to tell. What a program finds in a cache of its own is not seen from outside.
    pub(super) fn cache_hit_percent(&mut self, processes: &[u32]) -> Option<f64> {
        let now: BTreeMap<u32, Reads> = processes
            .iter()
            .filter_map(|pid| Some((*pid, Reads::of(&read(*pid, "io")?)?)))
            .collect();
        let before = std::mem::replace(&mut self.reads, now);
        share_from_cache(&before, &self.reads)
    }
}

impl Reads {
    /// Of the lines of `/proc/PID/io`.
    fn of(text: &str) -> Option<Self> {
        Some(Self {
            all: field(text, "rchar:")?,
            from_disk: field(text, "read_bytes:")?,
        })
    }
}

fn share_from_cache(before: &BTreeMap<u32, Reads>, now: &BTreeMap<u32, Reads>) -> Option<f64> {
    let (mut all, mut from_disk) = (0_u64, 0_u64);
    for (pid, reads) in now {
        let Some(before) = before.get(pid) else {
            continue;
        };
        // Fewer than before: another process has the number now.
        let since = |now: u64, before: u64| now.checked_sub(before);
        let (Some(more), Some(disk)) = (
            since(reads.all, before.all),
            since(reads.from_disk, before.from_disk),
        ) else {
            continue;
        };
        all = all.saturating_add(more);
        from_disk = from_disk.saturating_add(disk);
    }
    // The system reads ahead, and what is mapped into memory is read without a call: more may come from
    // the disk than was asked for.
    (all >= LEAST_READ_BYTES).then(|| 100.0 - 100.0 * float(from_disk.min(all)) / float(all))
}

/// Of the lines of `/proc/PID/status`.
fn memory_bytes(text: &str) -> Option<u64> {
    field(text, "VmRSS:")?.checked_mul(1024)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read(pid: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn the_share_is_of_what_was_read_since_and_of_processes_that_stayed() {
        let reads = |all, from_disk| Reads { all, from_disk };
        let before = BTreeMap::from([(1, reads(1_000, 500)), (2, reads(9_000_000, 0))]);
        let share =
            |now: &[(u32, Reads)]| share_from_cache(&before, &now.iter().copied().collect());
        assert_eq!(share(&[(1, reads(101_000, 25_500))]), Some(75.0));
        assert_eq!(share(&[(1, reads(101_000, 500))]), Some(100.0));
        assert_eq!(
            share(&[(1, reads(101_000, 900_500))]),
            Some(0.0),
            "read ahead"
        );
        assert_eq!(share(&[(1, reads(2_000, 500))]), None, "next to nothing");
        assert_eq!(share(&[(2, reads(200_000, 0))]), None, "another process");
        assert_eq!(share(&[(3, reads(200_000, 0))]), None, "not known before");
        assert_eq!(share(&[]), None);
    }

    #[test]
    fn this_process_tells_what_it_uses() {
        let me = [std::process::id()];
        let memory = Holders::memory_bytes(&me).unwrap();
        assert!(memory > 100_000.0, "{memory}");
        assert_eq!(Holders::memory_bytes(&[u32::MAX]), None);
        let mut holders = Holders::default();
        assert_eq!(holders.cache_hit_percent(&me), None, "the first");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.rewind().unwrap();
        file.read_to_end(&mut Vec::new()).unwrap();
        let share = holders.cache_hit_percent(&me).unwrap();
        assert!((0.0..=100.0).contains(&share), "{share}");
    }
}
