//! What the guard said last of each incident's repair, and what people approved since.
//!
//! An approval holds for the very repair that waited, with what it does and may lose as the person
//! was told, for the next repair that is chosen for its incident alone, and for an hour.

use std::collections::BTreeMap;

use super::RulingSummary;
use crate::guard::DENIED;
use crate::incident::Approval;
use crate::model::Candidate;

/// How long an approval holds, milliseconds: a person who says yes has the present in mind.
const APPROVAL_MS: u64 = 3_600_000;

/// The guard's last words on one target, by incident.
#[derive(Debug, Default)]
pub(super) struct Rulings {
    said: BTreeMap<String, Said>,
    /// What a person approved of the repair that was let go and has not begun, with its incident: should it never
    /// begin in this run, the approval holds in the next one.
    pub(super) let_go: Option<(String, Approval)>,
}

/// What the guard said last of an incident's repair.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) repair: String,
    pub(super) ruling: RulingSummary,
    /// The repair that a person may approve: it waits for that, or was denied.
    waits: Option<Candidate>,
    /// When a person approved it, milliseconds since the Unix epoch; none when nobody did.
    approved_ms: Option<u64>,
}

impl Said {
    pub(super) fn new(repair: &str, ruling: RulingSummary, chosen: Option<&Candidate>) -> Self {
        let is_for_person = match &ruling {
            RulingSummary::AwaitsPerson => true,
            RulingSummary::Refused { law, .. } => law == DENIED,
            RulingSummary::Approved => false,
        };
        let waits = chosen.filter(|_| is_for_person);
        Self {
            repair: repair.to_owned(),
            ruling,
            waits: waits.cloned(),
            approved_ms: None,
        }
    }

    fn is_repeated_by(&self, next: &Self) -> bool {
        self.repair == next.repair
            && self.ruling == next.ruling
            && match (&self.waits, &next.waits) {
                (Some(before), Some(now)) => is_same(before, now),
                (before, now) => before.is_none() && now.is_none(),
            }
    }
}

impl Rulings {
    /// A person approves the repair that an incident waits for: `repair`, as the person was told
    /// of it. Nothing is approved where another one waits by now. Either way the next word is new.
    pub(super) fn approve(&mut self, incident: &str, repair: Option<&Candidate>, at_ms: u64) {
        let Some(said) = self.said.remove(incident) else {
            return;
        };
        let waits = said.waits.as_ref();
        if waits.is_some_and(|waits| repair.is_none_or(|repair| is_same(repair, waits))) {
            let approved = Said {
                approved_ms: Some(at_ms),
                ..said
            };
            self.said.insert(incident.to_owned(), approved);
        }
    }

    /// A person denies a repair of an incident: an approval of it is withdrawn, and the next word is new.
    pub(super) fn deny(&mut self, incident: &str, repair: &str) {
        let is_it =
            |(of, approval): &(String, Approval)| of == incident && approval.repair.id == repair;
        if self.let_go.as_ref().is_some_and(is_it) {
            self.let_go = None;
        }
        if self
            .said
            .get(incident)
            .is_some_and(|said| said.repair == repair)
        {
            self.forget(incident);
        }
    }

    /// The repair of an incident that a person may approve.
    pub(super) fn waiting(&self, incident: &str) -> Option<&Candidate> {
        self.said.get(incident)?.waits.as_ref()
    }

    /// A person approves a repair of an incident that this run has not seen yet: what waited is what the person was
    /// told of in an earlier one.
    pub(super) fn approve_unseen(&mut self, incident: &str, approval: Approval) {
        let said = Said {
            repair: approval.repair.id.clone(),
            ruling: RulingSummary::AwaitsPerson,
            waits: Some(approval.repair),
            approved_ms: Some(approval.at_ms),
        };
        self.said.insert(incident.to_owned(), said);
    }

    /// What a person approved of an incident, to be used once; none when that was too long ago.
    pub(super) fn take_approved(&mut self, incident: &str, at_ms: u64) -> Option<Approval> {
        let approval = self.approved(incident)?;
        self.forget(incident);
        (at_ms.saturating_sub(approval.at_ms) <= APPROVAL_MS).then_some(approval)
    }

    /// Keeps the guard's word, and says whether it is to be told: not when it repeats the last one.
    pub(super) fn is_new(&mut self, incident: &str, said: Said) -> bool {
        let before = self.said.get(incident);
        let is_new = before.is_none_or(|before| !before.is_repeated_by(&said));
        self.said.insert(incident.to_owned(), said);
        is_new
    }

    /// What a person approved of an incident and was not used yet.
    pub(super) fn approved(&self, incident: &str) -> Option<Approval> {
        let said = self.said.get(incident)?;
        Some(Approval {
            repair: said.waits.clone()?,
            at_ms: said.approved_ms?,
        })
    }

    /// What a person approved of an incident and no repair used: none was let go, or the one that was has not begun.
    pub(super) fn unused(&self, incident: &str) -> Option<Approval> {
        let let_go = self.let_go.as_ref().filter(|(of, _)| of == incident);
        let let_go = let_go.map(|(_, approval)| approval.clone());
        self.approved(incident).or(let_go)
    }

    /// No repair is chosen: the next one is new. What a person approved waits for it.
    pub(super) fn none_chosen(&mut self, incident: &str) {
        if self.approved(incident).is_none() {
            self.forget(incident);
        }
    }

    /// The incident is over.
    pub(super) fn forget(&mut self, incident: &str) {
        self.said.remove(incident);
    }

    /// Every word is new after a repair; what a person approved meanwhile stays so.
    pub(super) fn repair_ended(&mut self) {
        self.let_go = None;
        self.said.retain(|_, said| said.approved_ms.is_some());
    }
}

/// Whether two repairs are the same to a person: in what is done to what, and in what may be lost.
/// How long it takes, and whether its preconditions hold just now, may differ.
pub(super) fn is_same(one: &Candidate, other: &Candidate) -> bool {
    one.id == other.id
        && one.summary == other.summary
        && one.level == other.level
        && one.expected_loss == other.expected_loss
        && one.undoable == other.undoable
}
