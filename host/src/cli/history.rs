//! `incidents`: what happened, and why.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use super::{Ended, StateArgs, complain, say, say_json};
use crate::clock::wall_ms;
use crate::command::{Command, Request};
use crate::model::{Attribution, RepairAnswer, Value, is_in_group, utc};
use crate::pipeline::{Effect, RulingSummary};
use crate::report::{Narrator, outcome_line, seconds, verdict_line};
use crate::row_values;
use crate::store::{JournalEntry, JournalLine, Reader};

/// Arguments of `incidents`.
#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    /// Tell everything of this incident, for example INC-3
    incident: Option<String>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Show the values in which the rows and the index of this incident disagree
    #[arg(long, requires = "incident")]
    values: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which incidents are listed.
#[derive(Debug, Args)]
#[group(multiple = true, conflicts_with = "incident")]
struct WhichArgs {
    /// Only those of this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only problems of this kind, or of this group: lock.stale-holder, or lock
    #[arg(long)]
    kind: Option<String>,
    /// Only those that are not resolved
    #[arg(long)]
    open: bool,
    /// Only those that were opened or resolved in the time before now: 30m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Duration>,
}

impl WhichArgs {
    fn keeps(&self, row: &Row, now_ms: u64) -> bool {
        let is_kind = |group: &String| is_in_group(&row.kind, group);
        let is_recent = |since: Duration| {
            let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            row.resolved_ms.unwrap_or(row.opened_ms) >= now_ms.saturating_sub(since_ms)
        };
        self.target
            .as_ref()
            .is_none_or(|target| row.target == *target)
            && self.kind.as_ref().is_none_or(is_kind)
            && !(self.open && row.resolved_ms.is_some())
            && self.since.is_none_or(is_recent)
    }
}

/// A length of time as a person writes it: a whole number and `s`, `m`, `h` or `d`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    const USE: &str = "write a whole number and a unit, for example 30m, 12h or 7d";
    let unit = text.chars().last().ok_or(USE)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(USE.to_owned()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| USE)?;
    let seconds = number.checked_mul(seconds).ok_or("that is too long")?;
    Ok(Duration::from_secs(seconds))
}

/// An incident in one line.
#[derive(Debug, Serialize)]
struct Row {
    incident: String,
    target: String,
    kind: String,
    subject: String,
    summary: String,
    opened_ms: u64,
    resolved_ms: Option<u64>,
    verdict: Option<String>,
    waits_for_person: bool,
    /// Whether no repair touches the target because of it.
    halts: bool,
    outcome: Option<String>,
    /// Who works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Attribution>,
    /// The last answer of a person to each of its repairs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<RepairAnswer>,
}

impl Row {
    /// Takes up an entry of the journal that is about it.
    fn follow(&mut self, entry: JournalEntry, at_ms: u64) {
        match entry {
            JournalEntry::Happened {
                effect: Effect::Decided(decided),
            } => {
                self.waits_for_person &= decided.verdict.repair.is_some();
                self.halts |= decided.verdict.halt;
                self.verdict = Some(verdict_line(&decided.verdict));
            }
            JournalEntry::Happened {
                effect: Effect::Ruled { ruling, .. },
            } => {
                self.waits_for_person = ruling == RulingSummary::AwaitsPerson;
            }
            JournalEntry::Happened {
                effect: Effect::IncidentResolved { resolved, .. },
            } => {
                self.resolved_ms = Some(resolved.resolved_ms);
                self.halts = false;
            }
            JournalEntry::RepairClosed { outcome, .. } => {
                self.outcome = Some(outcome_line(&outcome));
            }
            JournalEntry::Happened {
                effect: Effect::AcknowledgementEnded { .. },
            } => self.acknowledged = None,
            JournalEntry::Said { command, asker } => {
                let said = Attribution {
                    by: asker.by,
                    at_ms,
                    note: asker.reason,
                };
                self.hear(&command, said);
            }
            _ => {}
        }
    }

    /// Takes up what a person said of it.
    fn hear(&mut self, command: &Command, said: Attribution) {
        let (repair, granted) = match command {
            Command::Acknowledge { .. } => {
                self.acknowledged = Some(said);
                return;
            }
            Command::Approve {
                repair: Some(repair),
                ..
            } => (repair.id.clone(), true),
            Command::Deny { repair, .. } => (repair.id.clone(), false),
            _ => return,
        };
        self.waits_for_person = false;
        self.answers.retain(|answer| answer.repair != repair);
        self.answers.push(RepairAnswer {
            repair,
            granted,
            said,
        });
    }

    /// What people said of it, a line each.
    fn people(&self) -> Vec<String> {
        let acknowledged = self.acknowledged.iter();
        let acknowledged =
            acknowledged.map(|said| format!("acknowledged at {}{said}", utc(said.at_ms)));
        let answers = self.answers.iter().map(|answer| {
            let how = if answer.granted { "approved" } else { "denied" };
            let said = &answer.said;
            format!("{} {how} at {}{said}", answer.repair, utc(said.at_ms))
        });
        acknowledged.chain(answers).collect()
    }
}

pub(crate) fn incidents(args: &IncidentsArgs) -> Ended {
    let state_dir = args.state.existing()?;
    match &args.incident {
        Some(incident) if args.values => values(args, &state_dir, incident),
        Some(incident) => one(args, &state_dir, incident),
        None => all(args, &state_dir),
    }
}

fn all(args: &IncidentsArgs, state_dir: &Path) -> Ended {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    let mut place: BTreeMap<String, u64> = BTreeMap::new();
    let damaged = reader(state_dir)?.each(None, |line| follow(&mut rows, &mut place, line))?;
    complain_of_damage(damaged);
    let now_ms = wall_ms();
    rows.retain(|_, row| args.which.keeps(row, now_ms));
    if args.json {
        say_json(&rows.values().collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    for row in rows.values() {
        let state = match row.resolved_ms {
            Some(at) => format!(
                "resolved after {}",
                seconds(at.saturating_sub(row.opened_ms))
            ),
            None if row.halts => format!(
                "the target is halted until this is over, or `dbmedic release {}`",
                row.target
            ),
            None if row.waits_for_person => "waits for a person: `dbmedic approve`".to_owned(),
            None => "open".to_owned(),
        };
        say(&format!(
            "{:<8} {} {:<12} {:<24} {state}",
            row.incident,
            utc(row.opened_ms),
            row.target,
            row.kind
        ))?;
        say(&format!("         {}", row.summary))?;
        let lines = [&row.verdict, &row.outcome].into_iter().flatten().cloned();
        for line in lines.chain(row.people()) {
            say(&format!("         {line}"))?;
        }
    }
    if rows.is_empty() {
        complain("no incidents");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes up an entry of the journal in the rows of the incidents, by the numbers of their first entries.
fn follow(rows: &mut BTreeMap<u64, Row>, place: &mut BTreeMap<String, u64>, line: JournalLine) {
    if let Some(target) = released(&line.entry) {
        for row in rows.values_mut().filter(|row| row.target == target) {
            row.halts = false;
        }
    }
    let Some(id) = line.entry.incident().map(str::to_owned) else {
        return;
    };
    if let JournalEntry::Happened {
        effect: Effect::IncidentOpened { target, finding },
    } = &line.entry
    {
        let row = Row {
            incident: id.clone(),
            target: target.clone(),
            kind: finding.kind.clone(),
            subject: finding.subject.clone(),
            summary: finding.summary.clone(),
            opened_ms: finding.first_seen_ms,
            resolved_ms: None,
            verdict: None,
            waits_for_person: false,
            halts: false,
            outcome: None,
            acknowledged: None,
            answers: Vec::new(),
        };
        place.insert(id.clone(), line.seq);
        rows.insert(line.seq, row);
    }
    if let Some(row) = place.get(&id).and_then(|seq| rows.get_mut(seq)) {
        row.follow(line.entry, line.at_ms);
    }
}

/// The state of a state directory, for reading.
pub(super) fn reader(state_dir: &Path) -> anyhow::Result<Reader> {
    let reader = Reader::open(state_dir)?;
    reader.with_context(|| {
        format!(
            "{}: no dbmedic has written anything there yet",
            state_dir.display()
        )
    })
}

/// What the journal says of an incident.
fn lines(state_dir: &Path, incident: &str) -> anyhow::Result<Vec<JournalLine>> {
    let mut lines = Vec::new();
    let damaged = reader(state_dir)?.each(Some(incident), |line| lines.push(line))?;
    complain_of_damage(damaged);
    Ok(lines)
}

/// Says where entries of the journal are left out.
pub(super) fn complain_of_damage(damaged: u64) {
    if damaged > 0 {
        complain(&format!(
            "{damaged} entries of the journal are damaged and left out; the rest is whole"
        ));
    }
}

/// The target that a person released, or of which the halt ended by itself.
fn released(entry: &JournalEntry) -> Option<&str> {
    match entry {
        JournalEntry::Said {
            command: Command::Release { target },
            ..
        }
        | JournalEntry::Happened {
            effect: Effect::HaltEnded { target, .. },
        } => Some(target),
        _ => None,
    }
}

/// The values in which rows and the index that an incident is about disagree.
fn values(args: &IncidentsArgs, state_dir: &Path, incident: &str) -> Ended {
    let mut about = None;
    for line in lines(state_dir, incident)? {
        if let JournalEntry::Happened {
            effect: Effect::IncidentOpened { target, finding },
        } = line.entry
        {
            let fact = finding.facts.into_iter().find(|fact| fact.name == "index");
            about = Some((target, fact.map(|fact| fact.value)));
        }
    }
    let Some((target, index)) = about else {
        bail!("{incident}: no such incident in {}", state_dir.display());
    };
    let Some(Value::Text(index)) = index else {
        bail!("{incident} is not about an index: no values disagree");
    };
    let Some(found) = row_values::load(state_dir, &target, &index)? else {
        bail!(
            "{incident}: no values of index `{index}` are kept: the last full check found none that \
             disagree, or none was made yet"
        );
    };
    if args.json {
        say_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    for one in &found {
        let row: Vec<_> = one
            .row
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        say(&format!(
            "table {}, row {}; entry {} of index {}",
            one.table,
            row.join(", "),
            one.entry,
            one.index
        ))?;
        for (column, (of_row, of_entry)) in &one.columns {
            say(&format!("  {column}: the row has {of_row}"))?;
            say(&format!("  {column}: the index has {of_entry}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(args: &IncidentsArgs, state_dir: &Path, incident: &str) -> Ended {
    // Whoever reads what is printed may take long.
    let lines = lines(state_dir, incident)?;
    if lines.is_empty() {
        bail!("{incident}: no such incident in {}", state_dir.display());
    }
    if args.json {
        say_json(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut narrator = Narrator::default();
    for line in &lines {
        for text in tell(&mut narrator, line) {
            say(&text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines that tell a journal line.
fn tell(narrator: &mut Narrator, line: &JournalLine) -> Vec<String> {
    match &line.entry {
        JournalEntry::Happened { effect } => narrator.tell(line.at_ms, effect),
        JournalEntry::Said { command, asker } => {
            let request = Request {
                asker: asker.clone(),
                command: command.clone(),
            };
            narrator.note(line.at_ms, "person", &request.to_string())
        }
        JournalEntry::RepairIntended(intent) => {
            let candidate = &intent.candidate;
            narrator.note(
                line.at_ms,
                "repair",
                &format!("{}: {}", candidate.id, candidate.summary),
            )
        }
        JournalEntry::RepairStep { step, .. } => narrator.note(line.at_ms, "step", step),
        JournalEntry::Policy(record) => narrator.note(line.at_ms, "policy", &record.to_string()),
        // The outcome itself is told by the pipeline.
        JournalEntry::RepairClosed { .. } => Vec::new(),
    }
}
