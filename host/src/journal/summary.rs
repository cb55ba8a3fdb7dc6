//! What the entries of a journal come to, followed as they are read and written.

use std::collections::{BTreeMap, VecDeque};

use super::{JournalEntry, OpenRepair};
use crate::command::{Command, Request};
use crate::pipeline::Effect;

/// A command of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalledCommand {
    /// Its number in the journal.
    pub seq: u64,
    /// The command.
    pub request: Request,
    /// Whether it is an approval of which the repair began.
    pub is_used: bool,
}

/// Commands that are remembered, the newest: those that a run may have been killed before.
pub(super) const COMMANDS: usize = 256;

/// What the entries so far come to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// The newest commands, the oldest first.
    pub(super) commands: VecDeque<JournalledCommand>,
    /// Open repairs by the number of their first entry, so that the oldest comes first.
    pub(super) open: BTreeMap<u64, OpenRepair>,
    /// The highest number of an incident; 0 before the first.
    pub(super) last_incident: u64,
}

impl Summary {
    pub(super) fn follow(&mut self, seq: u64, entry: JournalEntry) {
        match entry {
            JournalEntry::RepairIntended(intent) => {
                let incident = &intent.finding.incident;
                for one in &mut self.commands {
                    let command = &one.request.command;
                    one.is_used |=
                        matches!(command, Command::Approve { incident: of, .. } if of == incident);
                }
                let repair = OpenRepair {
                    intent: *intent,
                    steps: Vec::new(),
                };
                self.open.insert(seq, repair);
            }
            JournalEntry::RepairStep {
                repair_id, step, ..
            } => {
                let named = |repair: &&mut OpenRepair| repair.intent.repair_id == repair_id;
                if let Some(repair) = self.open.values_mut().find(named) {
                    repair.steps.push(step);
                }
            }
            JournalEntry::RepairClosed { repair_id, .. } => {
                self.open
                    .retain(|_, repair| repair.intent.repair_id != repair_id);
            }
            JournalEntry::Happened {
                effect: Effect::IncidentOpened { finding, .. },
            } => {
                let number = finding.incident.strip_prefix("INC-");
                let number = number.and_then(|number| number.parse().ok());
                self.last_incident = self.last_incident.max(number.unwrap_or(0));
            }
            JournalEntry::Said { command, asker } => {
                if self.commands.len() == COMMANDS {
                    self.commands.pop_front();
                }
                self.commands.push_back(JournalledCommand {
                    seq,
                    request: Request { asker, command },
                    is_used: false,
                });
            }
            JournalEntry::Happened { .. } | JournalEntry::Policy(_) => {}
        }
    }
}
