//! Files that do not belong together, or that cannot be judged: restored beside an old log, emptied,
//! replaced, reached under a second name, deleted under a process that has them open.
//!
//! Whoever opens such files makes it worse, so nothing is repaired without a person.

use dbmedic_policy::{
    Classification, EscalationLevel, Finding, Reason,
    problems::{
        EmptiedFile, EmptiedSchema, ForeignJournal, ForeignLog, LinkedFile, LogElsewhere,
        LostLocks, NotJudgeable, ReplacedFile, UnlinkedFile, UnlinkedLog,
    },
    reason, seconds,
};

use crate::{Parameters, judgement::Judgement, suggestions};

/// The file alone was proven sound, and nothing is deleted.
const SET_ASIDE_CONFIDENCE: f64 = 0.8;

/// The file has 0 bytes and held something: the next who opens it begins afresh, or deletes the log
/// that holds what is left. Where a process has it open, that process may keep its data in the log
/// on purpose: then nothing is halted.
pub(crate) fn emptied<'a>(file: &EmptiedFile) -> Judgement<'a> {
    let beside = file.held_beside == Some(true);
    let what = match (beside, file.bytes_before) {
        (true, _) => {
            "the file has 0 bytes, what is left of it lies in its log or journal".to_owned()
        }
        (false, Some(bytes)) => format!("the file has 0 bytes and held {bytes} before"),
        (false, None) => "the file has 0 bytes, a snapshot of it holds something".to_owned(),
    };
    let reason = reason!("file.emptied", "{what}");
    let in_use = file.in_use == Some(true) && file.bytes_before.is_none();
    let judgement = if beside && in_use {
        Judgement::wall().because(reason)
    } else {
        lost(reason)
    };
    let judgement = if beside {
        judgement.suggest(suggestions::EMPTIED_BESIDE_LOG)
    } else {
        judgement.suggest(suggestions::RESTORE_SNAPSHOT)
    };
    snapshot_of(judgement, file.snapshot_age_ms)
}

/// The schema is empty and was not before.
pub(crate) fn schema_emptied<'a>(schema: &EmptiedSchema) -> Judgement<'a> {
    let judgement = lost(reason!(
        "schema.emptied",
        "the database holds no table and held some before"
    ))
    .suggest(suggestions::RESTORE_SNAPSHOT);
    snapshot_of(judgement, schema.snapshot_age_ms)
}

fn lost<'a>(reason: Reason) -> Judgement<'a> {
    let mut judgement = Judgement::crisis().because(reason);
    judgement.corruption = true;
    judgement
}

fn snapshot_of(judgement: Judgement<'_>, age_ms: Option<u64>) -> Judgement<'_> {
    match age_ms {
        Some(age_ms) => judgement.because(reason!(
            "file.snapshot",
            "the newest snapshot was taken {} ago",
            seconds(age_ms)
        )),
        None => judgement.because(reason!("file.no-snapshot", "there is no snapshot")),
    }
}

/// Nothing was ever seen in it: perhaps nobody has used it yet.
pub(crate) fn empty<'a>(finding: &Finding, parameters: &Parameters) -> Judgement<'a> {
    Judgement::hiccup(finding.severity, parameters)
        .at_least(EscalationLevel::Watch)
        .because(reason!(
            "file.empty",
            "the file has 0 bytes, and nothing says that it ever held more"
        ))
        .suggest(suggestions::EMPTY_FILE)
}

/// Another file lies under the name. Programs replace files on purpose, so it is only told.
pub(crate) fn replaced<'a>(
    file: &ReplacedFile,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let judgement = Judgement::hiccup(finding.severity, parameters)
        .at_least(EscalationLevel::Watch)
        .because(reason!(
            "file.replaced",
            "another file lies under the database's name"
        ));
    snapshot_of(judgement, file.snapshot_age_ms)
}

/// Under another name of the file lies another log: to look at this one is to look at half.
pub(crate) fn linked<'a>(
    file: &LinkedFile,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let how = if file.mounted_alone == Some(true) {
        "the file is mounted by itself"
    } else {
        "the file has several names"
    };
    Judgement::obstacle(finding.severity, parameters)
        .at_least(EscalationLevel::Warn)
        .because(reason!(
            "file.linked",
            "{how}, and each has a log of its own: nothing is opened"
        ))
        .suggest(suggestions::ONE_NAME)
}

/// A process writes to a log that nobody else can open any more.
pub(crate) fn log_unlinked<'a>(log: &UnlinkedLog<'_>) -> Judgement<'a> {
    let what = unlinked("log", log.holder_name, log.holder_pid);
    Judgement::wall()
        .because(reason!("wal.unlinked", "{what}"))
        .suggest(suggestions::SAVE_DESCRIPTORS)
}

/// The same of the database file itself.
pub(crate) fn file_unlinked<'a>(file: &UnlinkedFile<'_>) -> Judgement<'a> {
    let what = unlinked("database file", file.holder_name, file.holder_pid);
    Judgement::wall()
        .because(reason!("file.unlinked", "{what}"))
        .suggest(suggestions::SAVE_DESCRIPTORS)
}

fn unlinked(what: &str, name: Option<&str>, pid: Option<u64>) -> String {
    format!(
        "{} has a {what} open that is no longer under its name: what it commits is lost when it ends",
        holder(name, pid)
    )
}

/// A process uses the database with a log that does not lie beside it.
pub(crate) fn log_elsewhere<'a>(
    log: &LogElsewhere<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let holder = holder(log.holder_name, log.holder_pid);
    Judgement::obstacle(finding.severity, parameters)
        .at_least(EscalationLevel::Warn)
        .because(reason!(
            "wal.elsewhere",
            "{holder} has the database locked and does not use the log beside it: nothing is opened"
        ))
        .suggest(suggestions::ONE_NAME)
}

/// The next program that opens and closes the database takes itself for the last one, and deletes the
/// log that this process still writes to.
pub(crate) fn locks_lost<'a>(locks: &LostLocks<'_>) -> Judgement<'a> {
    let holder = holder(locks.holder_name, locks.holder_pid);
    Judgement::wall()
        .because(reason!(
            "lock.lost",
            "{holder} has the log open and holds no lock on the database"
        ))
        .suggest(suggestions::LOST_LOCKS)
}

fn holder(name: Option<&str>, pid: Option<u64>) -> String {
    let name = name.unwrap_or("an unknown process");
    pid.map_or_else(|| name.to_owned(), |pid| format!("{name} (pid {pid})"))
}

/// The file was restored or replaced and the log beside it is the old one's.
pub(crate) fn log_foreign<'a>(log: &ForeignLog<'_>, parameters: &Parameters) -> Judgement<'a> {
    let judgement = Judgement::wall().because(reason!(
        "wal.foreign",
        "{}: opened together they make a mixture",
        log.evidence
            .unwrap_or("the log does not belong to the database file")
    ));
    set_aside(judgement, "wal.set-aside", log.file_sound, parameters)
}

/// The same with a rollback journal.
pub(crate) fn journal_foreign<'a>(
    journal: &ForeignJournal<'_>,
    parameters: &Parameters,
) -> Judgement<'a> {
    let judgement = Judgement::wall().because(reason!(
        "journal.foreign",
        "{}: whoever opens the database plays the journal back into it",
        journal
            .evidence
            .unwrap_or("the journal does not belong to the database file")
    ));
    set_aside(
        judgement,
        "journal.set-aside",
        journal.file_sound,
        parameters,
    )
}

/// What lies beside the file goes out of the way only where an operator said so once and for all:
/// which of the two is the wrong one, nobody but a person knows.
fn set_aside<'a>(
    judgement: Judgement<'a>,
    repair: &'a str,
    file_sound: Option<bool>,
    parameters: &Parameters,
) -> Judgement<'a> {
    let judgement = judgement.suggest(suggestions::KEEP_CLOSED);
    match file_sound {
        Some(true) => {}
        Some(false) => return judgement.suggest(suggestions::NEITHER_SOUND),
        None => return judgement.suggest(suggestions::SOUND_NOT_KNOWN),
    }
    if parameters.set_aside_foreign_log {
        judgement.wish(repair, SET_ASIDE_CONFIDENCE)
    } else {
        judgement.suggest(suggestions::SET_ASIDE)
    }
}

/// Nothing is known to be wrong, and nothing can be: it is said once.
pub(crate) fn not_judgeable<'a>(what: &NotJudgeable<'_>) -> Judgement<'a> {
    let mut judgement = Judgement::quiet().because(reason!(
        "target.not-judgeable",
        "nothing can be said about it ({}); it is left alone",
        what.reason.unwrap_or("unknown format")
    ));
    judgement.class = Some(Classification::Hiccup);
    judgement.suggest(match what.reason {
        Some("encrypted") => suggestions::ENCRYPTED,
        Some("lock-directory") => suggestions::HIDDEN_LOCKS,
        Some("link-of-another" | "place-of-another") => suggestions::PLACE_OF_ANOTHER,
        _ => suggestions::OTHER_FORMAT,
    })
}
