//! What a condition is evaluated over: event, context, memory, and what the rules above have said.

use dbmedic_policy::{
    Candidate, Context, Event, Facts as _, Finding, OpenIncident, Outcome, Situation,
};

use crate::compiled::Head;
use crate::memory::Memory;
use crate::record::{Record, Totals, is_ready};
use crate::said::Said;
use crate::value::{Trouble, Value};
use crate::vocabulary::Global;

/// Everything that a condition may ask.
pub(crate) struct Scope<'a, 's> {
    pub(crate) event: &'a Event,
    pub(crate) context: &'a Context,
    pub(crate) memory: &'s Memory,
    /// What the rules above have said.
    pub(crate) said: &'s Said<'a>,
    /// All rules, and which of them the condition belongs to.
    pub(crate) rules: &'s [Head<'a>],
    pub(crate) own: usize,
}

impl<'a> Scope<'a, '_> {
    pub(crate) fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    pub(crate) fn situation(&self) -> Situation<'a, ()> {
        Situation {
            event: self.event,
            context: self.context,
            parameters: &(),
        }
    }

    pub(crate) fn finding(&self) -> Result<&'a Finding, Trouble> {
        self.situation().finding().ok_or(Trouble::Missing)
    }

    fn outcome(&self) -> Option<&'a Outcome> {
        self.situation().outcome()
    }

    fn incident(&self) -> Option<&'a OpenIncident> {
        self.situation().own_incident()
    }

    /// Under which key a rule is remembered at this event.
    pub(crate) fn key(&self, rule: usize) -> Option<u64> {
        Some(self.rules.get(rule)?.key(self.event))
    }

    /// A name that stands for itself.
    pub(crate) fn global(&self, global: Global) -> Result<Value<'a>, Trouble> {
        let context = self.context;
        let record = |record: Option<Record<'a>>| record.map(Value::Record).ok_or(Trouble::Missing);
        Ok(match global {
            Global::Event => match self.event {
                Event::Finding(_) => "finding",
                Event::Outcome(_) => "outcome",
                Event::Tick => "tick",
            }
            .into(),
            Global::NowMs => Value::whole(context.now_ms),
            Global::Target => context.target.as_str().into(),
            Global::TargetKind => context.target_kind.as_str().into(),
            Global::Level => crate::record::level_name(context.level).into(),
            Global::Time => Value::Record(Record::Time),
            Global::Finding => Value::Record(Record::Finding(self.finding()?)),
            Global::Outcome => record(self.outcome().map(Record::Outcome))?,
            Global::Incident => record(self.incident().map(Record::Incident))?,
            Global::Incidents => {
                let all = context.incidents.iter();
                Value::List(
                    all.map(|one| Value::Record(Record::Incident(one)))
                        .collect(),
                )
            }
            Global::Maintenance => Value::Record(Record::Maintenance),
            Global::Constraints => {
                let all = context.constraints.iter();
                Value::List(
                    all.map(|one| Value::Record(Record::Constraint(one)))
                        .collect(),
                )
            }
            Global::Answer => Value::Record(Record::Said),
            Global::Facts | Global::Metrics | Global::Values => return Err(Trouble::Missing),
        })
    }

    /// What became of a repair on this kind of problem; of every repair where none is named.
    pub(crate) fn repairs(&self, kind: &str, repair: Option<&str>) -> Totals {
        let all = self.context.repairs.iter();
        let about =
            all.filter(|one| one.kind == kind && repair.is_none_or(|repair| one.repair == repair));
        about.fold(Totals::default(), |sum, one| Totals {
            successes: sum.successes.saturating_add(one.successes),
            failures: sum.failures.saturating_add(one.failures),
            failures_in_a_row: sum.failures_in_a_row.max(one.failures_in_a_row),
            last_ms: sum.last_ms.max(Some(one.last_ms)),
        })
    }

    /// The repair of this name, where it is offered.
    pub(crate) fn candidate(&self, id: &str) -> Option<&'a Candidate> {
        self.finding().ok()?.candidate(id)
    }

    /// Of the offered repairs the one of least risk: by how deep it goes, then one whose preconditions
    /// hold, then by what may be lost, by whether it can be taken back, and by name.
    pub(crate) fn least_risk(&self, level: Option<&str>) -> Option<&'a Candidate> {
        let all = self.finding().ok()?.candidates.iter();
        let as_deep = all.filter(|one| {
            level.is_none_or(|level| crate::record::cascade_name(one.level) == level)
        });
        as_deep.min_by(|a, b| {
            let (lost, other) = (&a.expected_loss, &b.expected_loss);
            a.level
                .cmp(&b.level)
                .then(is_ready(b).cmp(&is_ready(a)))
                .then(lost.commits.cmp(&other.commits))
                .then(lost.percent.total_cmp(&other.percent))
                .then(b.undoable.cmp(&a.undoable))
                .then(a.id.cmp(&b.id))
        })
    }

    /// Whether the last answer to a repair of the incident was no.
    pub(crate) fn is_denied(&self, repair: &str) -> bool {
        let answers = self.incident().map_or(&[][..], |own| &own.answers);
        let mut about = answers.iter().rev().filter(|one| one.repair == repair);
        about.next().is_some_and(|last| !last.granted)
    }

    /// How often a constraint was not ok within a span.
    pub(crate) fn violations(&self, name: &str, span_ms: u64) -> usize {
        let all = self.context.constraints.iter();
        let mut known = all.filter(|one| one.name == name);
        known.next().map_or(0, |constraint| {
            let recent = |at: &&u64| self.now_ms().saturating_sub(**at) < span_ms;
            constraint.violations_ms.iter().filter(recent).count()
        })
    }
}
