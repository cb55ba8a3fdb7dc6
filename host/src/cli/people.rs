//! `approve`, `deny`, `ack`, `release`: what a person says of an incident or a target, to a dbmedic that
//! runs or to the next one. Who said it, when and why is kept.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::history::{complain_of_damage, parse_time, reader};
use super::{Ended, StateArgs, complain};
use crate::clock::now_ms;
use crate::command::{BY_BYTES, Command, LONGEST_MS, REASON_BYTES, Request};
use crate::gate::{self, AskError, Reply};
use crate::model::Candidate;
use crate::pipeline::{Carried, Effect, RulingSummary};
use crate::sqlite::worker::accounts::name_of_user;
use crate::store::{JournalEntry, Reader, Store, StoreError, WaitingCommand};

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

/// What the journal says of an incident.
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
        let damaged = reader(state_dir)?.each(Some(incident), |line| {
            known.is_known = true;
            known.follow(line.entry);
        })?;
        complain_of_damage(damaged);
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
    give(&state_dir, &args.asker, command)
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
    give(&state_dir, &args.asker, command)
}

pub(crate) fn ack(args: &AckArgs) -> Ended {
    let incident = &args.incident;
    let state_dir = args.state.existing()?;
    AboutIncident::of(&state_dir, incident)?.is_open(incident)?;
    let command = Command::Acknowledge {
        incident: incident.clone(),
    };
    give(&state_dir, &args.asker, command)
}

pub(crate) fn release(args: &ReleaseArgs) -> Ended {
    let state_dir = args.state.existing()?;
    needs_target(&state_dir, &args.target)?;
    let command = Command::Release {
        target: args.target.clone(),
    };
    give(&state_dir, &args.asker, command)
}

/// What the last run carried over; the beginning when there was none.
pub(super) fn carried(state_dir: &Path) -> anyhow::Result<Carried> {
    let reader = Reader::open(state_dir)?;
    let carried = reader.map(|reader| reader.carried()).transpose()?;
    Ok(carried.unwrap_or_default().carried)
}

/// The commands that no dbmedic has heard yet.
pub(super) fn waiting(state_dir: &Path) -> anyhow::Result<Vec<WaitingCommand>> {
    let reader = Reader::open(state_dir)?;
    let waiting = reader.map(|reader| reader.unheard()).transpose()?;
    Ok(waiting.unwrap_or_default())
}

/// That a target of this name is known to the state directory.
pub(super) fn needs_target(state_dir: &Path, target: &str) -> anyhow::Result<()> {
    let carried = carried(state_dir)?;
    if !carried.targets.contains_key(target) {
        bail!("{target}: no such target in {}", state_dir.display());
    }
    Ok(())
}

/// Between two attempts to reach a dbmedic that is starting or stopping, and for how long.
const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives a command to the dbmedic that runs; where none runs, it is written down for the next one.
pub(super) fn give(state_dir: &Path, asker: &AskerArgs, command: Command) -> Ended {
    let uid = rustix::process::getuid().as_raw();
    let by = asker.by.clone();
    let by = by
        .or_else(|| name_of_user(uid))
        .unwrap_or_else(|| format!("user {uid}"));
    let id = format!("{:016x}", rand::random::<u64>());
    let request = Request::new(id, by, asker.reason.clone(), command);
    let begun_ms = now_ms();
    loop {
        let asked = gate::Request::Command {
            request: Box::new(request.clone()),
        };
        let mut told = String::new();
        let heard = gate::ask(state_dir, &asked, |reply| {
            if let Reply::Done(text) = reply {
                told = text;
            }
        });
        match heard {
            Ok(()) => {
                complain(&told);
                return Ok(ExitCode::SUCCESS);
            }
            // It may have been written down all the same: given again, it is the same command.
            Err(AskError::Stopping | AskError::Io(_)) => {}
            Err(AskError::NotRunning { .. }) => match write_down(state_dir, &request) {
                Err(StoreError::InUse { .. }) => {}
                written => {
                    let seq = written?;
                    complain(&format!(
                        "written down as entry {seq}; no dbmedic is running, and the next one acts on it when it \
                         starts: {request}"
                    ));
                    return Ok(ExitCode::SUCCESS);
                }
            },
            Err(error) => return Err(error.into()),
        }
        if now_ms().saturating_sub(begun_ms)
            > u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX)
        {
            bail!(
                "the dbmedic that works with {} takes no commands now; try again when it has ended or runs",
                state_dir.display()
            );
        }
        thread::sleep(PAUSE);
    }
}

/// Writes a command down where no dbmedic runs; says its number.
fn write_down(state_dir: &Path, request: &Request) -> Result<u64, StoreError> {
    let store = Store::open(state_dir)?;
    store.notes().iter().for_each(|note| complain(note));
    if let Some(seq) = store.number_of(request)? {
        return Ok(seq);
    }
    let entry = JournalEntry::Said {
        command: request.command.clone(),
        asker: request.asker.clone(),
    };
    store.append(now_ms(), &entry)
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
