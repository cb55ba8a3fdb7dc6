//! What an event means, before the past and the rest of the target are considered.

use dbmedic_policy::{Classification, EscalationLevel, Finding, Problem, Reason, reason};

use crate::{Case, Parameters, constraints, content, damage, files, locks, suggestions, wal};

/// A repair that a rule wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish<'a> {
    /// The candidate's identifier.
    pub(crate) candidate: &'a str,
    /// How sure the rule is, 0 to 1.
    pub(crate) confidence: f64,
}

/// What the rules say about one event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement<'a> {
    pub(crate) class: Option<Classification>,
    /// The level that this event calls for by itself.
    pub(crate) level: EscalationLevel,
    pub(crate) wish: Option<Wish<'a>>,
    /// Whether data is damaged.
    pub(crate) corruption: bool,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) suggestions: Vec<&'static str>,
}

impl<'a> Judgement<'a> {
    /// Nothing happened.
    pub(crate) fn quiet() -> Self {
        Self {
            class: None,
            level: EscalationLevel::Normal,
            wish: None,
            corruption: false,
            reasons: Vec::new(),
            suggestions: Vec::new(),
        }
    }

    fn of(class: Classification, level: EscalationLevel) -> Self {
        Self {
            class: Some(class),
            level,
            ..Self::quiet()
        }
    }

    /// Mends itself or can be mended: from `hiccup_watch_severity` on it is watched.
    ///
    /// The specification (5.2) sends a severe stale lock to level normal, because none of its
    /// branches takes it; that is taken for an oversight.
    pub(crate) fn hiccup(severity: f64, parameters: &Parameters) -> Self {
        let level = if severity < parameters.hiccup_watch_severity {
            EscalationLevel::Normal
        } else {
            EscalationLevel::Watch
        };
        Self::of(Classification::Hiccup, level)
    }

    /// Solvable, but something has to change: watched, from `obstacle_warn_severity` on reported.
    ///
    /// Here too the specification's branches drop the severe ones to level normal.
    pub(crate) fn obstacle(severity: f64, parameters: &Parameters) -> Self {
        let level = if severity < parameters.obstacle_warn_severity {
            EscalationLevel::Watch
        } else {
            EscalationLevel::Warn
        };
        Self::of(Classification::Obstacle, level)
    }

    /// Damaged data that can be mended: reported, from `corruption_escalate_severity` on a person.
    pub(crate) fn mendable_corruption(severity: f64, parameters: &Parameters) -> Self {
        let level = if severity < parameters.corruption_escalate_severity {
            EscalationLevel::Warn
        } else {
            EscalationLevel::Escalate
        };
        Self {
            corruption: true,
            ..Self::of(Classification::Obstacle, level)
        }
    }

    /// Needs a person, at once.
    pub(crate) fn wall() -> Self {
        Self::of(Classification::Wall, EscalationLevel::Escalate)
    }

    /// Stop first, understand later.
    pub(crate) fn crisis() -> Self {
        Self::of(Classification::Crisis, EscalationLevel::Escalate)
            .suggest(suggestions::STOP_WRITERS)
            .suggest(suggestions::COPY_ALL)
    }

    /// A rule needs a fact that the host did not give: nothing is repaired on a guess.
    pub(crate) fn fact_missing(finding: &Finding, needed: &str) -> Self {
        Self::wall()
            .because(reason!(
                "fact.missing",
                "{} came without a usable one of {needed}; no repair without it",
                finding.kind
            ))
            .suggest(suggestions::UNKNOWN)
    }

    pub(crate) fn at_least(mut self, level: EscalationLevel) -> Self {
        self.level = self.level.max(level);
        self
    }

    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reasons.push(reason);
        self
    }

    pub(crate) fn suggest(mut self, suggestion: &'static str) -> Self {
        self.suggestions.push(suggestion);
        self
    }

    pub(crate) fn wish(mut self, candidate: &'a str, confidence: f64) -> Self {
        self.wish = Some(Wish {
            candidate,
            confidence,
        });
        self
    }
}

/// Judges a finding by the rules for its kind.
pub(crate) fn judge<'a>(finding: &'a Finding, case: &Case<'_>) -> Judgement<'a> {
    let parameters = case.parameters;
    match Problem::of(finding) {
        Problem::StaleLock(lock) => locks::stale(&lock, finding, case),
        Problem::LongLock(lock) => locks::long(&lock, finding, parameters),
        Problem::CheckpointStarved(wal) => wal::starved(&wal, finding, case),
        Problem::OversizedWal(wal) => wal::oversized(&wal, finding, parameters),
        Problem::CorruptFrame(frame) => wal::corrupt(&frame, finding, parameters),
        Problem::CorruptIndex(index) => damage::index(&index, finding, parameters),
        Problem::DisagreeingRow(row) => damage::disagreeing(&row, finding),
        Problem::CorruptTable(table) => damage::table(&table),
        Problem::CorruptSchema(_) => damage::schema(),
        Problem::BrokenEntry(entry) => content::entry(&entry, finding),
        Problem::CorruptFullText(index) => content::full_text(&index, finding, parameters),
        Problem::CorruptVirtualTable(table) => content::virtual_table(&table, finding),
        Problem::BrokenVirtualTable(table) => content::virtual_table_broken(&table, finding),
        Problem::BrokenCheck(broken) => content::check(&broken, finding, parameters),
        Problem::BrokenNotNull(broken) => content::not_null(&broken, finding, parameters),
        Problem::BrokenType(broken) => content::type_of(&broken, finding, parameters),
        Problem::BrokenUnique(broken) => content::unique(&broken, finding, parameters),
        Problem::BrokenForeignKey(broken) => content::foreign_key(&broken, finding, parameters),
        Problem::CorruptPages(pages) => damage::pages(&pages),
        Problem::MissingFile(file) => damage::missing(&file, finding),
        Problem::TruncatedFile(file) => damage::truncated(&file),
        Problem::NotADatabase(file) => damage::not_a_database(file),
        Problem::HotJournal(journal) => damage::hot_journal(&journal, finding, parameters),
        Problem::EmptiedFile(file) => files::emptied(&file),
        Problem::EmptyFile(_) => files::empty(finding, parameters),
        Problem::EmptiedSchema(schema) => files::schema_emptied(&schema),
        Problem::ReplacedFile(file) => files::replaced(&file, finding, parameters),
        Problem::LinkedFile(file) => files::linked(&file, finding, parameters),
        Problem::UnlinkedFile(file) => files::file_unlinked(&file),
        Problem::UnlinkedLog(log) => files::log_unlinked(&log),
        Problem::LogElsewhere(log) => files::log_elsewhere(&log, finding, parameters),
        Problem::LostLocks(locks) => files::locks_lost(&locks),
        Problem::ForeignLog(log) => files::log_foreign(&log, parameters),
        Problem::ForeignJournal(journal) => files::journal_foreign(&journal, parameters),
        Problem::NotJudgeable(what) => files::not_judgeable(&what),
        Problem::Unreachable(target) => damage::unreachable(&target, finding, case),
        Problem::ViolatedConstraint(violated) => constraints::violated(&violated, finding, case),
        Problem::UnexplainedAnomaly(anomaly) => {
            constraints::unexplained(&anomaly, finding, parameters)
        }
        _ => Judgement::wall()
            .because(reason!(
                "problem.unknown",
                "no rule for {}: {}",
                finding.kind,
                finding.summary
            ))
            .suggest(suggestions::UNKNOWN),
    }
}
