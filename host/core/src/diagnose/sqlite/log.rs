//! The write-ahead log: its size, and its frames.

use std::collections::BTreeSet;

use super::{Diagnosis, LOG_BYTES, Look, NO_LOSS, backlog_frames, integer, number, share_percent};
use crate::constraint::CheckedConstraint;
use crate::model::{Candidate, CascadeLevel, ConstraintStatus, DataLoss, Precondition};
use crate::sqlite_state::WalState;

impl Look<'_> {
    /// A log past its bound that nobody holds back: it only has to be checkpointed, where the bound
    /// allows it.
    pub(super) fn oversized_log(&self, constraints: &[CheckedConstraint]) -> Option<Diagnosis> {
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
    pub(super) fn corrupt_log(&self, wal: &WalState) -> Option<Diagnosis> {
        let bad = wal.first_bad_frame?;
        let others = self.others_with_file_open();
        let percent = share_percent(wal.lost_commits, wal.commits + wal.lost_commits);
        let loss = DataLoss::of(wal.lost_commits, percent);
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
}
