//! `approve`, `deny`, `ack`, `release`: what a person says of an incident or a target, to a dbmedic that
//! runs or to the next one. Who said it, when and why is kept.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::history::{incident_of, parse_time};
use super::{Ended, StateArgs, complain};
use crate::command::{BY_BYTES, Command, LONGEST_MS, REASON_BYTES, Request};
use crate::journal::{Journal, JournalEntry};
use crate::model::Candidate;
use crate::pipeline::{Effect, RulingSummary};
use crate::sqlite::worker::accounts::name_of_user;
use crate::state_dir::StateDir;

/// Who says it, and why.
#[derive(Debug, Args)]
pub(crate) struct AskerArgs {
    /// Why: kept and shown with who said it and when
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// Who says it (default: the user who runs this command)
    #[arg(long, value_name = "NAME", value_parser = by)]
    by: Option<String>,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The incident, for example INC-3
    incident: String,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `deny`.
#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// The incident, for example INC-3
    incident: String,
    /// The repair (default: the one that was chosen last)
    #[arg(long, value_name = "REPAIR")]
    repair: Option<String>,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `ack`.
#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// The incident, for example INC-3
    incident: String,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The target's name in the configuration
    target: String,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

fn bounded(text: &str, most_bytes: usize) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > most_bytes {
        return Err(format!("it is longer than {most_bytes} bytes"));
    }
    Ok(text.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    bounded(text, REASON_BYTES)
}

fn by(text: &str) -> Result<String, String> {
    bounded(text, BY_BYTES)
}

/// How long a silence or a maintenance window lasts.
pub(super) fn lasting(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time.is_zero() || time.as_millis() > u128::from(LONGEST_MS) {
        return Err("it must be from 1s to 30d".to_owned());
    }
    Ok(time)
}

/// What journal and inbox say of an incident.
#[derive(Debug, Default)]
struct AboutIncident {
    is_known: bool,
    is_over: bool,
    /// What the host offers, as it stood when the policy was asked last.
    offered: Vec<Candidate>,
    /// The repair that the policy chose last.
    chosen: Option<String>,
    /// The repair that waits for a person.
    waits: Option<Candidate>,
    /// The repair that a person denied, and that nobody approved since.
    denied: Option<Candidate>,
    /// Why the guard refused the repair that was chosen last.
    refusal: Option<String>,
}

impl AboutIncident {
    fn of(state_dir: &Path, incident: &str) -> anyhow::Result<Self> {
        let mut known = Self::default();
        for line in Journal::read(state_dir)?.filter_map(Result::ok) {
            if incident_of(&line.entry) == Some(incident) {
                known.is_known = true;
                known.follow(line.entry);
            }
        }
        if !known.is_known {
            bail!("{incident}: no such incident in {}", state_dir.display());
        }
        Ok(known)
    }

    fn follow(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::Happened { effect } => match effect {
                Effect::IncidentOpened { finding, .. } => self.offered = finding.candidates,
                Effect::Decided(decided) => {
                    if let Some(finding) = decided.finding {
                        self.offered = finding.candidates;
                    }
                    match decided.verdict.repair {
                        Some(repair) => self.chosen = Some(repair),
                        None => self.waits = None,
                    }
                }
                Effect::Ruled { ruling, waits, .. } => {
                    self.refusal = match ruling {
                        RulingSummary::Refused { law, reason } => Some(format!("{reason} ({law})")),
                        _ => None,
                    };
                    self.waits = waits;
                }
                Effect::IncidentResolved { .. } => {
                    self.is_over = true;
                    self.waits = None;
                    self.denied = None;
                }
                _ => {}
            },
            JournalEntry::Said {
                command: Command::Deny { repair, .. },
                ..
            } => {
                self.denied = Some(repair);
                self.waits = None;
            }
            JournalEntry::Said {
                command: Command::Approve { .. },
                ..
            } => self.denied = None,
            _ => {}
        }
    }

    fn is_open(&self, incident: &str) -> anyhow::Result<()> {
        if self.is_over {
            bail!("{incident} is over");
        }
        Ok(())
    }

    /// The repair that is denied: the one that was named, or the one that was chosen last.
    fn to_deny(&self, incident: &str, named: Option<&str>) -> anyhow::Result<Candidate> {
        let offered: Vec<&str> = self.offered.iter().map(|one| one.id.as_str()).collect();
        let offered = match offered[..] {
            [] => "none is offered".to_owned(),
            _ => format!("offered are {}", offered.join(", ")),
        };
        let of = |id: &str| self.offered.iter().find(|one| one.id == id).cloned();
        if let Some(named) = named {
            let found = of(named);
            return found.ok_or_else(|| {
                anyhow::anyhow!("{incident}: there is no repair {named}: {offered}")
            });
        }
        let chosen = self.chosen.as_deref().and_then(of);
        let Some(repair) = self.waits.clone().or(chosen) else {
            bail!("{incident}: no repair was chosen; name one with --repair: {offered}");
        };
        Ok(repair)
    }
}

pub(crate) fn approve(args: &ApproveArgs) -> Ended {
    let incident = &args.incident;
    let state_dir = args.state.existing()?;
    let known = AboutIncident::of(&state_dir, incident)?;
    let Some(repair) = known.waits.or(known.denied) else {
        match known.refusal.filter(|_| !known.is_over) {
            Some(refusal) => {
                bail!("{incident}: no repair waits for a person; the guard refuses it: {refusal}")
            }
            None => bail!("{incident}: no repair waits for a person"),
        }
    };
    complain(&format!("{incident}: {}: {}", repair.id, repair.summary));
    let command = Command::Approve {
        incident: incident.clone(),
        // What waits by the time that this is heard may be another one.
        repair: Some(repair),
    };
    leave(&state_dir, &args.asker, command)
}

pub(crate) fn deny(args: &DenyArgs) -> Ended {
    let incident = &args.incident;
    let state_dir = args.state.existing()?;
    let known = AboutIncident::of(&state_dir, incident)?;
    known.is_open(incident)?;
    let repair = known.to_deny(incident, args.repair.as_deref())?;
    complain(&format!(
        "{incident}: {} is not to be made: {}; `dbmedic approve {incident}` lets it go",
        repair.id, repair.summary
    ));
    let command = Command::Deny {
        incident: incident.clone(),
        repair,
    };
    leave(&state_dir, &args.asker, command)
}

pub(crate) fn ack(args: &AckArgs) -> Ended {
    let incident = &args.incident;
    let state_dir = args.state.existing()?;
    AboutIncident::of(&state_dir, incident)?.is_open(incident)?;
    let command = Command::Acknowledge {
        incident: incident.clone(),
    };
    leave(&state_dir, &args.asker, command)
}

pub(crate) fn release(args: &ReleaseArgs) -> Ended {
    let state_dir = args.state.existing()?;
    needs_target(&state_dir, &args.target)?;
    let command = Command::Release {
        target: args.target.clone(),
    };
    leave(&state_dir, &args.asker, command)
}

/// That a target of this name is known to the state directory.
pub(super) fn needs_target(state_dir: &Path, target: &str) -> anyhow::Result<()> {
    let carried = StateDir::read_carried(state_dir)?.carried;
    if !carried.targets.contains_key(target) {
        bail!("{target}: no such target in {}", state_dir.display());
    }
    Ok(())
}

/// Leaves a command for the dbmedic that runs, or for the next one.
pub(super) fn leave(state_dir: &Path, asker: &AskerArgs, command: Command) -> Ended {
    let uid = rustix::process::getuid().as_raw();
    let by = asker.by.clone();
    let by = by
        .or_else(|| name_of_user(uid))
        .unwrap_or_else(|| format!("user {uid}"));
    let id = format!("{:016x}", rand::random::<u64>());
    let request = Request::new(id, by, asker.reason.clone(), command);
    StateDir::open(state_dir)?.leave_command(&request)?;
    complain(
        "recorded: a running dbmedic picks it up within a second, otherwise the next one does when it starts",
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CascadeLevel, DataLoss};

    fn ruled(law: &str) -> JournalEntry {
        JournalEntry::Happened {
            effect: Effect::Ruled {
                target: "shop".into(),
                incident: "INC-1".into(),
                repair: "index.rebuild".into(),
                ruling: RulingSummary::Refused {
                    law: law.into(),
                    reason: "not now".into(),
                },
                waits: None,
            },
        }
    }

    fn said(command: Command) -> JournalEntry {
        JournalEntry::Said {
            command,
            asker: crate::command::Asker::default(),
        }
    }

    #[test]
    fn a_denied_repair_can_be_approved_whatever_the_guard_said_since() {
        let repair = Candidate {
            id: "index.rebuild".into(),
            summary: "build the index again".into(),
            level: CascadeLevel::InPlace,
            preconditions: Vec::new(),
            expected_duration_ms: 10,
            expected_loss: DataLoss::of(0, 0.0),
            undoable: true,
        };
        let mut known = AboutIncident::default();
        known.follow(said(Command::Deny {
            incident: "INC-1".into(),
            repair: repair.clone(),
        }));
        for law in ["guard.denied", "guard.maintenance", "guard.denied"] {
            known.follow(ruled(law));
            assert_eq!(known.denied.as_ref(), Some(&repair), "{law}");
            assert_eq!(known.refusal, Some(format!("not now ({law})")));
        }
        known.follow(said(Command::Approve {
            incident: "INC-1".into(),
            repair: Some(repair),
        }));
        assert_eq!(known.denied, None);
    }
}
