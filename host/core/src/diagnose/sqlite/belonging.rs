//! A log or a journal that does not belong to the database file beside it, or waits to be played back.

use super::files::LogMark;
use super::{Diagnosis, Look, NO_LOSS, boolean, first_of, integer, text};
use crate::model::{Candidate, CascadeLevel, DataLoss, Fact, Precondition};
use crate::sqlite_state::{DamagedObject, IndexComparison, Integrity, IntegrityFault, Mode, set};

/// What is remembered of what lies beside the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Belonging {
    foreign: Option<Foreign>,
    /// Whether the file is sound by itself, and beside which companion that was checked.
    sound_alone: Option<(Companion, bool)>,
    /// The companion with which the file is at fault and without which it is sound, where its own
    /// commits may have made that fault as well.
    doubtful: Option<Companion>,
    /// Whether a process has the files open and holds no lock, as far as was asked last.
    is_open: bool,
}

/// By what a companion of the file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Companion {
    Log(LogMark),
    /// The journal's random number and its length.
    Journal(u32, u64),
}

/// A companion that was found not to belong to the file.
#[derive(Debug, Clone)]
struct Foreign {
    companion: Companion,
    evidence: String,
    proven: bool,
    file_sound: Option<bool>,
    /// Transactions in the log; none of a journal.
    commits: Option<u64>,
}

impl Belonging {
    /// What a log or journal beside the file comes to.
    pub(super) fn problem(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let now = companion(look);
        if self
            .foreign
            .as_ref()
            .is_some_and(|known| Some(known.companion) != now)
        {
            self.foreign = None;
        }
        self.doubtful = self
            .doubtful
            .filter(|known| Some(*known) == now && look.state.locks.is_empty());
        if let Some(openers) = &look.state.set.openers {
            self.is_open = !openers.is_empty();
        }
        let companion = now?;
        self.judge(look, companion);
        match &self.foreign {
            Some(foreign) => Some(foreign.problem(look, self.is_open)),
            None => hot_journal(look),
        }
    }

    /// Whether what lies beside the file does not belong to it: what is read of both is a mixture.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// What keeps every repair from a file beside which something lies that may be another's: it would
    /// write a mixture of the two.
    pub(super) fn doubt(&self) -> Option<Precondition> {
        self.doubtful.map(|_| Precondition {
            name: "log-belongs".into(),
            holds: false,
            detail: "the file is sound without the log or journal beside it, which nobody uses and which may belong to another file: a person decides which of the two is right, before any program opens them together".into(),
        })
    }

    fn judge(&mut self, look: &Look<'_>, companion: Companion) {
        let state = look.state;
        if !state.locks.is_empty() {
            return;
        }
        let integrity = state.integrity.as_ref();
        let sound_alone = integrity.and_then(|integrity| integrity.sound_alone);
        // The check may be known before the log was read to its end, or after.
        self.sound_alone = sound_alone
            .map(|sound| (companion, sound))
            .or(self.sound_alone.filter(|(beside, _)| *beside == companion));
        let known = self.foreign.take();
        let scanned = state.wal.as_ref().filter(|log| log.scanned);
        let commits = scanned.map(|log| log.commits);
        let commits = commits.or(known.as_ref().and_then(|known| known.commits));
        let file_sound = self.sound_alone.map(|(_, sound)| sound);
        if let Some(why) = set::contradiction(state) {
            self.foreign = Some(Foreign {
                companion,
                evidence: format!("the log does not belong to the database file: {why}"),
                proven: true,
                file_sound,
                commits,
            });
            return;
        }
        // A check of a part says nothing of the whole.
        let whole = integrity.filter(|checked| {
            checked.error.is_none() && matches!(checked.mode, Mode::Quick | Mode::Full)
        });
        let damage = whole.map(|checked| {
            let damage = checked.faults.iter().filter(|fault| fault.is_damage());
            damage
                .map(|fault| fault.message.as_str())
                .collect::<Vec<_>>()
        });
        let what = match companion {
            Companion::Log(_) => "log",
            Companion::Journal(..) => "rollback journal",
        };
        if let (Some([_, ..]), Some(true)) = (damage.as_deref(), sound_alone) {
            self.doubtful = Some(companion);
        }
        if set::journal_empties_file(state) && file_sound == Some(true) {
            self.foreign = Some(Foreign {
                companion,
                evidence: "the database file is sound by itself, and the rollback journal beside it was begun on an empty file: whoever opens both cuts the file to 0 bytes; the journal seems to belong to another file, as it does when a backup is copied over a database".into(),
                proven: false,
                file_sound,
                commits,
            });
            return;
        }
        self.foreign = match damage.as_deref() {
            // Checked together and found whole.
            Some([]) => None,
            // The file is checked by itself only where nobody uses what lies beside it.
            Some(messages) if sound_alone == Some(true) && whole.is_some_and(is_mixture) => {
                Some(Foreign {
                    companion,
                    evidence: format!(
                        "the database file is sound by itself and not together with the {what} beside it ({}): the {what} seems to belong to another file, as it does when a backup is copied over a database",
                        first_of(messages)
                    ),
                    proven: false,
                    file_sound,
                    commits,
                })
            }
            // The file itself is damaged, or what the log's own commits may have left out.
            Some(_) if sound_alone.is_some() => None,
            _ => known.map(|known| Foreign {
                file_sound,
                commits,
                ..known
            }),
        };
    }
}

impl Foreign {
    fn problem(&self, look: &Look<'_>, is_open: bool) -> Diagnosis {
        let state = look.state;
        let mut facts = vec![
            text("evidence", &self.evidence),
            boolean("proven", self.proven),
        ];
        facts.extend(self.file_sound.map(|sound| boolean("file_sound", sound)));
        let (kind, subject, repair, what) = match self.companion {
            Companion::Log(((salt_1, salt_2), bytes)) => {
                facts.push(integer("wal_bytes", bytes));
                facts.extend(self.commits.map(|commits| integer("wal_commits", commits)));
                facts.push(integer("salt_1", u64::from(salt_1)));
                facts.push(integer("salt_2", u64::from(salt_2)));
                ("wal.foreign", "write-ahead log", "wal.set-aside", "log")
            }
            Companion::Journal(nonce, bytes) => {
                facts.push(integer("journal_bytes", bytes));
                facts.push(integer("journal_nonce", u64::from(nonce)));
                (
                    "journal.foreign",
                    "rollback journal",
                    "journal.set-aside",
                    "journal",
                )
            }
        };
        facts.extend(look.snapshot_facts());
        let unused = state.locks.is_empty() && !is_open;
        Diagnosis {
            kind: kind.into(),
            subject: subject.into(),
            summary: format!(
                "{}; do not open the database before one of the two is out of the way",
                self.evidence
            ),
            severity: 0.9,
            facts,
            series: &[],
            candidates: (self.file_sound == Some(true))
                .then(|| Candidate {
                    id: repair.into(),
                    summary: format!(
                        "copy the files aside, then rename the {what}; the file is used as it is"
                    ),
                    level: CascadeLevel::InPlace,
                    preconditions: vec![Precondition {
                        name: "no-other-process".into(),
                        holds: unused,
                        detail: if unused {
                            "no other process has the database open".into()
                        } else {
                            "another process has the database open".into()
                        },
                    }],
                    expected_duration_ms: 2000,
                    // Nothing is deleted, but the database does not show what the log holds any more.
                    // Where it is not proven to be another's, that counts as lost.
                    expected_loss: DataLoss {
                        commits: if self.proven {
                            0
                        } else {
                            self.commits.unwrap_or(0)
                        },
                        ..NO_LOSS
                    },
                    undoable: true,
                })
                .into_iter()
                .collect(),
        }
    }
}

/// Whether faults are those of a mixture: trees that do not fit, or rows and entries that say different
/// things. An index that lacks entries, or has some too many, is made by commits of its own log as well.
fn is_mixture(checked: &Integrity) -> bool {
    let of_trees = |fault: &IntegrityFault| {
        fault.is_damage() && !matches!(fault.object, DamagedObject::Index { .. })
            || fault.message.starts_with("Tree ")
    };
    let disagrees = |compared: &IndexComparison| compared.disagreements > 0;
    checked.faults.iter().any(of_trees) || checked.comparisons.iter().any(disagrees)
}

fn companion(look: &Look<'_>) -> Option<Companion> {
    let state = look.state;
    let log = state.wal.as_ref().filter(|_| set::log_has_content(state));
    if let Some(log) = log {
        return Some(Companion::Log((log.salts, log.bytes)));
    }
    let journal = state.set.journal?;
    Some(Companion::Journal(journal.nonce, state.journal_bytes?))
}

/// A journal whose writer is gone: the next who opens the database plays it back.
fn hot_journal(look: &Look<'_>) -> Option<Diagnosis> {
    let state = look.state;
    let bytes = state
        .journal_bytes
        .filter(|_| set::has_left_journal(state))?;
    let facts: Vec<Fact> = vec![integer("journal_bytes", bytes)];
    Some(Diagnosis {
        kind: "journal.hot".into(),
        subject: "rollback journal".into(),
        summary: format!(
            "a writer died in a transaction: its hot rollback journal of {bytes} bytes waits, and the next program that opens the database rolls the transaction back; keep file and journal together until then"
        ),
        severity: 0.2,
        facts,
        series: &[],
        candidates: Vec::new(),
    })
}
