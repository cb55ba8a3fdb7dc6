//! Programs that hold a read transaction on a database on purpose.

/// A program, by its short name (`/proc/PID/comm`), and what it holds the log back for.
///
/// Chosen with care: only programs of which it is documented that they hold a SQLite lock between
/// the moments in which they work. Tools that read files and take no SQLite lock (restic, borg,
/// rsync) and those that let go between their steps (`.backup`, the backup API) need no entry.
const PROGRAMS: [(&str, &str); 3] = [
    // <https://litestream.io/how-it-works/>: a long-running read transaction keeps everybody else
    // from checkpointing frames that are not replicated yet; it checkpoints itself.
    ("litestream", "replicates the log"),
    // <https://fly.io/docs/litefs/how-it-works/>: locks are held by the file system's own process.
    ("litefs", "replicates the database"),
    // <https://sqlite.org/rsync.html>: the whole copy is made in one read transaction.
    ("sqlite3_rsync", "copies the database"),
];

/// What a program of this name holds a read transaction for; none for all others.
pub fn purpose(name: &str) -> Option<&'static str> {
    let known = PROGRAMS.iter().find(|(program, _)| *program == name);
    known.map(|(_, purpose)| *purpose)
}
