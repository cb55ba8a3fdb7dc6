//! What ails a SQLite database, told from a look at its files and locks.
//!
//! Pure. What cannot be known for sure (a lock seen twice may have been let go in between) is not
//! claimed: a hold counts only while the log shows no progress.

use std::collections::{BTreeMap, BTreeSet};

use super::{DiagnoseOptions, Diagnosis, Findings, Part, boolean, integer, number, text};
use crate::constraint::CheckedConstraint;
use crate::model::{Candidate, CascadeLevel, ConstraintStatus, DataLoss, Fact, Precondition};
use crate::source::Observation;
use crate::target::sqlite::integrity::Mode;
use crate::target::sqlite::{
    DamagedObject, HeaderFault, Integrity, Lock, LockHolder, Process, SqliteState, WalIndexState,
    WalState,
};

/// Frames behind the last checkpoint from which on SQLite itself wants to checkpoint
/// (`SQLITE_DEFAULT_WAL_AUTOCHECKPOINT`); a reader that keeps more than that waiting starves it.
const AUTOCHECKPOINT_FRAMES: u64 = 1000;

/// The series of the log's size, which has a kind of problem of its own.
pub(super) const LOG_BYTES: &str = "wal_bytes";

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux architecture in use.
const TICKS_PER_S: u64 = 100;

const NO_LOSS: DataLoss = DataLoss {
    commits: 0,
    percent: 0.0,
};

/// A lock that was seen in the same hands, without progress, in every look since.
#[derive(Debug, Clone, Copy)]
struct Hold {
    since_ms: u64,
    /// What must not move while it counts as one hold: the count of commits for the write lock,
    /// the read mark for a reader.
    progress: u32,
    cpu_ticks: u64,
}

/// What is remembered from look to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    /// The holds under watch, by lock and process.
    held: BTreeMap<(Lock, u32, u64), Hold>,
    /// Whether the last scan found the log damaged: a checkpoint would then drop what follows.
    log_damaged: bool,
}

impl Holds {
    /// Diagnoses one look.
    pub(super) fn diagnose(
        &mut self,
        seen: &Observation,
        state: &SqliteState,
        constraints: &[CheckedConstraint],
        options: &DiagnoseOptions,
    ) -> Findings {
        let look = Look {
            seen,
            state,
            options,
        };
        let mut problems = look.file_problems();
        let mut examined = BTreeSet::from([Part::Reach, Part::Files, Part::Locks]);
        self.follow(seen.at_ms, state);
        match &state.wal {
            Some(wal) if wal.scanned => self.log_damaged = wal.first_bad_frame.is_some(),
            Some(_) => {}
            None => self.log_damaged = false,
        }
        problems.extend(self.stale_lock(&look));
        let starved = self.starved_checkpoint(&look);
        let held_back = starved.is_some() || self.log_damaged || look.is_pinned();
        let oversized = look.oversized_log(constraints).filter(|_| !held_back);
        problems.extend(starved.or(oversized));
        if let Some(wal) = &state.wal {
            if wal.scanned {
                examined.insert(Part::LogFrames);
                problems.extend(look.corrupt_log(wal));
            }
        } else {
            examined.insert(Part::LogFrames);
        }
        if let Some(integrity) = state.integrity.as_ref().filter(|i| i.error.is_none()) {
            // A quick check does not compare indexes with tables: its silence says nothing of them.
            // That of a part says nothing at all of what was damaged before.
            match integrity.mode {
                Mode::Full => examined.extend([Part::Pages, Part::Indexes]),
                Mode::Quick => {
                    examined.insert(Part::Pages);
                }
                Mode::Sampled { .. } | Mode::Incremental => {}
            }
            problems.extend(look.page_problems(integrity));
        }
        Findings { problems, examined }
    }

    /// Takes over the locks of this look: a hold goes on only in the same hands and without progress.
    fn follow(&mut self, at_ms: u64, state: &SqliteState) {
        let mut next = BTreeMap::new();
        for holder in &state.locks {
            let Some(progress) = progress_of(holder, state.wal_index.as_ref()) else {
                continue;
            };
            let process = &holder.process;
            let key = (holder.lock, process.pid, process.start_ticks);
            let hold = self
                .held
                .get(&key)
                .filter(|hold| hold.progress == progress)
                .copied()
                .unwrap_or(Hold {
                    since_ms: at_ms,
                    progress,
                    cpu_ticks: process.cpu_ticks,
                });
            next.insert(key, hold);
        }
        self.held = next;
    }

    fn hold_of(&self, holder: &LockHolder) -> Option<Hold> {
        self.held
            .get(&(holder.lock, holder.process.pid, holder.process.start_ticks))
            .copied()
    }

    /// A process that holds the write lock and commits nothing.
    fn stale_lock(&self, look: &Look<'_>) -> Option<Diagnosis> {
        let holder = look
            .state
            .locks
            .iter()
            .find(|h| h.lock == Lock::WalWrite && h.exclusive)?;
        let hold = self.hold_of(holder)?;
        let age_ms = look.seen.at_ms.saturating_sub(hold.since_ms);
        if age_ms < look.options.lock_hold_ms {
            return None;
        }
        let process = &holder.process;
        let concurrent = look
            .state
            .locks
            .iter()
            .filter(|h| matches!(h.lock, Lock::WalCheckpoint | Lock::WalRecover) && h.exclusive)
            .count();
        let mut facts = holder_facts("holder", process, look.options);
        facts.extend([
            integer("age_ms", age_ms),
            integer("holder_cpu_ms", cpu_ms_since(process, &hold)),
            integer("commits_during_hold", 0),
            integer("concurrent_operations", concurrent as u64),
        ]);
        facts.extend(look.snapshot_facts());
        Some(Diagnosis {
            kind: "lock.stale-holder".into(),
            subject: "write lock".into(),
            summary: format!(
                "process {} ({}) holds the write lock for {:.1} s and commits nothing",
                process.pid,
                process.name,
                seconds(age_ms)
            ),
            severity: 0.4,
            facts,
            series: &["commits_per_s"],
            candidates: vec![Candidate {
                id: "lock.end-holder".into(),
                summary: format!(
                    "end process {} ({}), which holds the lock",
                    process.pid, process.name
                ),
                level: CascadeLevel::InPlace,
                preconditions: vec![may_be_ended("holder-may-be-ended", process, look.options)],
                expected_duration_ms: 500,
                expected_loss: NO_LOSS,
                undoable: false,
            }],
        })
    }

    /// A reader that never ends, so that the log cannot be checkpointed past it.
    fn starved_checkpoint(&self, look: &Look<'_>) -> Option<Diagnosis> {
        let index = look.state.wal_index.as_ref()?;
        let backlog = backlog_frames(index);
        if backlog < AUTOCHECKPOINT_FRAMES {
            return None;
        }
        let (reader, hold) = look
            .state
            .locks
            .iter()
            .filter(|h| pins_log(h, index))
            .filter_map(|h| Some((h, self.hold_of(h)?)))
            .min_by_key(|(_, hold)| hold.since_ms)?;
        let age_ms = look.seen.at_ms.saturating_sub(hold.since_ms);
        if age_ms < look.options.reader_hold_ms {
            return None;
        }
        let process = &reader.process;
        let mut facts = look.log_facts(backlog);
        facts.extend(holder_facts("reader", process, look.options));
        facts.push(integer("reader_age_ms", age_ms));
        Some(Diagnosis {
            kind: "wal.checkpoint-starved".into(),
            subject: "write-ahead log".into(),
            summary: format!(
                "process {} ({}) reads for {:.1} s and keeps {backlog} frames from being checkpointed",
                process.pid,
                process.name,
                seconds(age_ms)
            ),
            severity: 0.5,
            facts,
            series: &["wal_bytes", "wal_backlog_frames", "wal_frames"],
            candidates: vec![Candidate {
                id: "wal.release-reader".into(),
                summary: format!(
                    "end process {} ({}), then checkpoint and truncate the log",
                    process.pid, process.name
                ),
                level: CascadeLevel::InPlace,
                preconditions: vec![may_be_ended("reader-may-be-ended", process, look.options)],
                expected_duration_ms: 1000,
                expected_loss: NO_LOSS,
                undoable: false,
            }],
        })
    }
}

/// What must stand still while a lock counts as one hold; none when the lock is not followed.
fn progress_of(holder: &LockHolder, index: Option<&WalIndexState>) -> Option<u32> {
    let index = index?;
    match holder.lock {
        Lock::WalWrite if holder.exclusive => Some(index.change_counter),
        Lock::WalRead(slot) => index.read_marks.get(usize::from(slot)).copied(),
        _ => None,
    }
}

/// Whether a reader keeps the checkpointer from the end of the log. Read mark 0 reads the
/// database alone, and so keeps every frame out of it.
fn pins_log(holder: &LockHolder, index: &WalIndexState) -> bool {
    match holder.lock {
        Lock::WalRead(slot) => index
            .read_marks
            .get(usize::from(slot))
            .is_some_and(|&mark| mark < index.max_frame),
        _ => false,
    }
}

fn backlog_frames(index: &WalIndexState) -> u64 {
    u64::from(index.max_frame.saturating_sub(index.backfilled))
}

fn cpu_ms_since(process: &Process, hold: &Hold) -> u64 {
    process.cpu_ticks.saturating_sub(hold.cpu_ticks) * 1000 / TICKS_PER_S
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds for display stay far below 2^52"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn may_end(process: &Process, options: &DiagnoseOptions) -> bool {
    options.may_end.contains(&process.name)
}

fn may_be_ended(name: &str, process: &Process, options: &DiagnoseOptions) -> Precondition {
    let holds = may_end(process, options);
    let detail = if holds {
        format!("`{}` stands in may_end", process.name)
    } else {
        format!("`{}` does not stand in the target's may_end", process.name)
    };
    Precondition {
        name: name.into(),
        holds,
        detail,
    }
}

/// The facts of a process, each name with the given prefix.
fn holder_facts(prefix: &str, process: &Process, options: &DiagnoseOptions) -> Vec<Fact> {
    vec![
        integer(&format!("{prefix}_pid"), u64::from(process.pid)),
        text(&format!("{prefix}_name"), &process.name),
        integer(&format!("{prefix}_start_ticks"), process.start_ticks),
        boolean(&format!("{prefix}_may_be_ended"), may_end(process, options)),
    ]
}

/// One look with what is needed to read it.
struct Look<'a> {
    seen: &'a Observation,
    state: &'a SqliteState,
    options: &'a DiagnoseOptions,
}

impl Look<'_> {
    /// Whether some reader keeps the log from being checkpointed to its end, for however short.
    fn is_pinned(&self) -> bool {
        let index = self.state.wal_index.as_ref();
        index.is_some_and(|index| self.state.locks.iter().any(|h| pins_log(h, index)))
    }

    fn snapshot_facts(&self) -> Vec<Fact> {
        let age = self
            .seen
            .snapshot_at_ms
            .map(|at| self.seen.at_ms.saturating_sub(at));
        let recent = age.is_some_and(|age| age <= self.options.snapshot_recent_ms);
        let mut facts = vec![boolean("has_recent_snapshot", recent)];
        facts.extend(age.map(|age| integer("snapshot_age_ms", age)));
        facts
    }

    fn log_facts(&self, backlog: u64) -> Vec<Fact> {
        let bytes = self.state.wal.as_ref().map_or(0, |wal| wal.bytes);
        vec![
            integer("wal_bytes", bytes),
            integer("backlog_frames", backlog),
        ]
    }

    fn file_problems(&self) -> Vec<Diagnosis> {
        let problem = |kind: &str, summary: String, severity, facts| Diagnosis {
            kind: kind.into(),
            subject: "database file".into(),
            summary,
            severity,
            facts,
            series: &["database_bytes"],
            candidates: Vec::new(),
        };
        let mut problems = Vec::new();
        if self.state.database_bytes.is_none() {
            problems.push(problem(
                "file.missing",
                "the database file is missing".into(),
                0.9,
                self.snapshot_facts(),
            ));
        }
        match &self.state.header_fault {
            Some(HeaderFault::NotADatabase) => problems.push(problem(
                "file.not-a-database",
                "the file does not begin like a SQLite database".into(),
                0.9,
                self.snapshot_facts(),
            )),
            Some(HeaderFault::Truncated {
                expected_pages,
                actual_pages,
            }) => {
                let mut facts = vec![
                    integer("expected_pages", *expected_pages),
                    integer("actual_pages", *actual_pages),
                ];
                facts.extend(self.snapshot_facts());
                problems.push(problem(
                    "file.truncated",
                    format!(
                        "the header counts {expected_pages} pages, the file holds {actual_pages}"
                    ),
                    0.9,
                    facts,
                ));
            }
            None => {}
        }
        problems
    }

    /// A log past its bound that nobody holds back: it only has to be checkpointed, where the bound
    /// allows it.
    fn oversized_log(&self, constraints: &[CheckedConstraint]) -> Option<Diagnosis> {
        let beyond = |c: &&CheckedConstraint| {
            c.state.metric == LOG_BYTES && c.state.status != ConstraintStatus::Ok
        };
        let beyond = constraints.iter().filter(beyond);
        let worst = beyond
            .clone()
            .max_by(|a, b| a.state.utilization.total_cmp(&b.state.utilization))?;
        let auto_fix = beyond.into_iter().any(|constraint| constraint.auto_fix);
        let wal = self.state.wal.as_ref()?;
        let backlog = self.state.wal_index.as_ref().map_or(0, backlog_frames);
        Some(Diagnosis {
            kind: "wal.oversized".into(),
            subject: "write-ahead log".into(),
            summary: format!(
                "the log holds {} bytes, its bound is used to {:.0} %",
                wal.bytes,
                worst.state.utilization * 100.0
            ),
            severity: 0.3,
            facts: self.log_facts(backlog),
            series: &["wal_bytes", "wal_backlog_frames", "wal_frames"],
            candidates: auto_fix
                .then(|| Candidate {
                    id: "wal.checkpoint".into(),
                    summary: "checkpoint the log and truncate it".into(),
                    level: CascadeLevel::InPlace,
                    preconditions: Vec::new(),
                    expected_duration_ms: 1000,
                    expected_loss: NO_LOSS,
                    undoable: false,
                })
                .into_iter()
                .collect(),
        })
    }

    /// Committed transactions behind a damaged frame of the log.
    fn corrupt_log(&self, wal: &WalState) -> Option<Diagnosis> {
        let bad = wal.first_bad_frame?;
        let others = self.others_with_file_open();
        let percent = share_percent(wal.lost_commits, wal.commits + wal.lost_commits);
        let loss = DataLoss {
            commits: wal.lost_commits,
            percent,
        };
        let mut facts = vec![
            integer("first_bad_frame", bad),
            integer("total_frames", wal.frames),
            integer("last_commit_frame", wal.last_commit_frame),
            integer("commits_lost", wal.lost_commits),
            integer("commits_kept", wal.commits),
            number("percent_lost", percent),
            integer("salt_1", u64::from(wal.salts.0)),
            integer("salt_2", u64::from(wal.salts.1)),
        ];
        facts.extend(self.snapshot_facts());
        Some(Diagnosis {
            kind: "wal.corrupt-frame".into(),
            subject: "write-ahead log".into(),
            summary: format!(
                "frame {bad} of {} is damaged; {} committed transactions lie at or behind it, {} before",
                wal.frames, wal.lost_commits, wal.commits
            ),
            severity: 0.9,
            facts,
            series: &["wal_bytes", "wal_frames"],
            candidates: vec![Candidate {
                id: "wal.keep-valid-prefix".into(),
                summary: format!(
                    "copy the files aside, replay the log up to frame {}, drop the rest",
                    wal.last_commit_frame
                ),
                level: CascadeLevel::Replay,
                preconditions: vec![Precondition {
                    name: "no-other-process".into(),
                    holds: others.is_empty(),
                    detail: if others.is_empty() {
                        "no other process has the database open".into()
                    } else {
                        format!("open in {}", others.join(", "))
                    },
                }],
                expected_duration_ms: 5000,
                expected_loss: loss,
                undoable: true,
            }],
        })
    }

    /// The processes that have the database open, named for a person.
    fn others_with_file_open(&self) -> Vec<String> {
        let names: BTreeSet<String> = self
            .state
            .locks
            .iter()
            .map(|h| format!("{} (pid {})", h.process.name, h.process.pid))
            .collect();
        names.into_iter().collect()
    }

    fn page_problems(&self, integrity: &Integrity) -> Vec<Diagnosis> {
        let mut by_object: BTreeMap<&DamagedObject, Vec<&str>> = BTreeMap::new();
        for fault in &integrity.faults {
            by_object
                .entry(&fault.object)
                .or_default()
                .push(&fault.message);
        }
        let unclean = |table: &str| {
            by_object.keys().any(|object| match object {
                DamagedObject::Table { table: t } => t == table,
                DamagedObject::Schema | DamagedObject::Pages => true,
                DamagedObject::Index { .. } => false,
            })
        };
        by_object
            .iter()
            .map(|(object, messages)| match object {
                DamagedObject::Index {
                    index,
                    table,
                    rebuildable,
                } => index_problem(index, table, *rebuildable, !unclean(table), messages),
                DamagedObject::Table { table } => {
                    let facts = vec![
                        text("table", table),
                        integer("faults", messages.len() as u64),
                    ];
                    self.lost_pages(
                        "table.corrupt",
                        table,
                        &format!("table `{table}`"),
                        facts,
                        messages,
                    )
                }
                DamagedObject::Schema => self.lost_pages(
                    "schema.corrupt",
                    "schema",
                    "the schema",
                    Vec::new(),
                    messages,
                ),
                DamagedObject::Pages => {
                    let facts = vec![integer("faults", messages.len() as u64)];
                    self.lost_pages(
                        "pages.corrupt",
                        "pages",
                        "the page structure",
                        facts,
                        messages,
                    )
                }
            })
            .collect()
    }

    /// Damage that no index rebuild mends.
    fn lost_pages(
        &self,
        kind: &str,
        subject: &str,
        what: &str,
        mut facts: Vec<Fact>,
        messages: &[&str],
    ) -> Diagnosis {
        facts.extend(self.snapshot_facts());
        Diagnosis {
            kind: kind.into(),
            subject: subject.into(),
            summary: format!("{what} is damaged: {}", first_of(messages)),
            severity: 0.95,
            facts,
            series: &["corruption_count"],
            candidates: Vec::new(),
        }
    }
}

fn index_problem(
    index: &str,
    table: &str,
    rebuildable: bool,
    table_clean: bool,
    messages: &[&str],
) -> Diagnosis {
    let condition = |name: &str, holds: bool, yes: &str, no: &str| Precondition {
        name: name.into(),
        holds,
        detail: if holds { yes.into() } else { no.into() },
    };
    Diagnosis {
        kind: "index.corrupt".into(),
        subject: index.into(),
        summary: format!(
            "index `{index}` does not agree with table `{table}`: {}",
            first_of(messages)
        ),
        severity: 0.7,
        facts: vec![
            text("index", index),
            text("table", table),
            boolean("table_clean", table_clean),
            integer("faults", messages.len() as u64),
            boolean("rebuildable", rebuildable),
        ],
        series: &["corruption_count"],
        candidates: vec![Candidate {
            id: "index.rebuild".into(),
            summary: format!("build index `{index}` again from table `{table}`"),
            level: CascadeLevel::InPlace,
            preconditions: vec![
                condition(
                    "table-clean",
                    table_clean,
                    "the table's own tree is sound",
                    "the table itself is damaged",
                ),
                condition(
                    "rebuildable",
                    rebuildable,
                    "REINDEX can build it",
                    "REINDEX cannot build it",
                ),
            ],
            expected_duration_ms: 2000,
            expected_loss: NO_LOSS,
            undoable: true,
        }],
    }
}

fn first_of(messages: &[&str]) -> String {
    match messages {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of transactions stay far below 2^52"
)]
fn share_percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests;
