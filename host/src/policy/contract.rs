//! The versions of the contract: what a policy is given is made of the host's records, and its answers
//! become such records.
//!
//! Each version has a file of its own, made from its own WIT; that of the present one is `wit/`, the
//! earlier ones lie beside their files. A policy says by the interface that it exports which version it was
//! built against. What a version has no room for is left out, or said in words.

mod v0_1;
mod v0_2;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

use super::sandbox::State;
use crate::model;

/// The versions that a policy may be built against, the present one last.
pub(super) const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];

/// The interface that a policy exports, without its version.
const DECISION: &str = "dbmedic:policy/decision@";

/// A component that fits a version of the contract.
#[derive(Clone)]
pub(super) enum Linked {
    V0_1(v0_1::PolicyPre<State>),
    V0_2(v0_2::PolicyPre<State>),
}

/// An instance of such a component.
pub(super) enum Instance {
    V0_1(v0_1::Policy),
    V0_2(v0_2::Policy),
}

/// Offers the host's functions, in each version.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v0_1::add_to_linker(linker)?;
    v0_2::add_to_linker(linker)
}

/// Whether a component was built against version 0.1: by the interface that it exports. What exports
/// none is held against the present version, and what is said of it names that one.
fn is_v0_1(component: &Component) -> bool {
    let of = component.component_type();
    of.exports(component.engine())
        .filter_map(|(name, _)| name.strip_prefix(DECISION))
        .any(|version| version.starts_with("0.1."))
}

impl Linked {
    /// Holds a component against the version that it was built for.
    pub(super) fn new(component: &Component, pre: InstancePre<State>) -> wasmtime::Result<Self> {
        Ok(if is_v0_1(component) {
            Self::V0_1(v0_1::PolicyPre::new(pre)?)
        } else {
            Self::V0_2(v0_2::PolicyPre::new(pre)?)
        })
    }

    /// Makes an instance.
    pub(super) fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Self::V0_1(pre) => Instance::V0_1(pre.instantiate(store)?),
            Self::V0_2(pre) => Instance::V0_2(pre.instantiate(store)?),
        })
    }

    /// The version that it was built for, as `wit/` names it.
    pub(super) fn version(&self) -> &'static str {
        match self {
            Self::V0_1(_) => VERSIONS[0],
            Self::V0_2(_) => VERSIONS[1],
        }
    }
}

impl Instance {
    /// Asks who the policy is and which parameters it has.
    pub(super) fn describe(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<model::Description> {
        match self {
            Self::V0_1(policy) => v0_1::describe(policy, store),
            Self::V0_2(policy) => v0_2::describe(policy, store),
        }
    }

    /// Hands it its settings: what it packed them into, or which of them are wrong.
    pub(super) fn configure(
        &self,
        store: &mut Store<State>,
        settings: &[model::Setting],
    ) -> wasmtime::Result<Result<Vec<u8>, Vec<model::SettingError>>> {
        match self {
            Self::V0_1(policy) => v0_1::configure(policy, store, settings),
            Self::V0_2(policy) => v0_2::configure(policy, store, settings),
        }
    }

    /// Asks for a verdict.
    pub(super) fn decide(
        &self,
        store: &mut Store<State>,
        event: &model::PolicyEvent,
        context: &model::Context,
    ) -> wasmtime::Result<Result<model::Verdict, model::Reason>> {
        match self {
            Self::V0_1(policy) => v0_1::decide(policy, store, event, context),
            Self::V0_2(policy) => v0_2::decide(policy, store, event, context),
        }
    }
}

/// Enumerations of the same variants, from the host's to the policy's and the other way.
macro_rules! same_enum {
    (to $($name:ident in $module:ident { $($variant:ident),+ })+) => { $(
        impl From<model::$name> for $module::$name {
            fn from(value: model::$name) -> Self {
                match value { $(model::$name::$variant => Self::$variant,)+ }
            }
        }
    )+ };
    (from $($name:ident in $module:ident { $($variant:ident),+ })+) => { $(
        impl From<$module::$name> for model::$name {
            fn from(value: $module::$name) -> Self {
                match value { $($module::$name::$variant => Self::$variant,)+ }
            }
        }
    )+ };
}

/// Records of the same fields, each of which becomes the other's.
macro_rules! same_record {
    ($($from:path => $to:path { $($field:ident),+ })+) => { $(
        impl From<$from> for $to {
            fn from(record: $from) -> Self {
                Self { $($field: record.$field.into(),)+ }
            }
        }
    )+ };
}

/// What is the same in each version: to be invoked where the modules of its bindings are named.
macro_rules! in_each_version {
    () => {
        /// Offers the host's functions of this version.
        pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
            Policy::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
        }

        /// Asks who the policy is and which parameters it has.
        pub(super) fn describe(
            policy: &Policy,
            store: &mut Store<State>,
        ) -> wasmtime::Result<model::Description> {
            let description = policy.dbmedic_policy_decision().call_describe(store)?;
            Ok(description.into())
        }

        /// The lists in the lists of a finding: they must stand somewhere while they are lent.
        struct FindingParts<'a> {
            of: &'a model::Finding,
            /// Of each fact, what is a list of texts.
            texts: Vec<Vec<&'a str>>,
            /// Of each piece of evidence: series, scores, reasons.
            evidence: Vec<(Vec<&'a str>, Vec<findings::MethodScore>, Vec<&'a str>)>,
            preconditions: Vec<Vec<findings::Precondition<'a>>>,
        }

        impl<'a> FindingParts<'a> {
            fn of(of: &'a model::Finding) -> Self {
                let texts = |all: &'a [String]| all.iter().map(String::as_str).collect();
                let evidence = of.evidence.iter().map(|anomaly| {
                    let scores = anomaly.scores.iter().map(|one| findings::MethodScore {
                        method: one.method.into(),
                        score: one.score,
                    });
                    (
                        texts(&anomaly.series),
                        scores.collect(),
                        texts(&anomaly.reasons),
                    )
                });
                let preconditions = of.candidates.iter().map(|candidate| {
                    let all = candidate.preconditions.iter();
                    all.map(|one| findings::Precondition {
                        name: &one.name,
                        holds: one.holds,
                        detail: &one.detail,
                    })
                    .collect()
                });
                Self {
                    of,
                    texts: of.facts.iter().map(|fact| texts_of(&fact.value)).collect(),
                    evidence: evidence.collect(),
                    preconditions: preconditions.collect(),
                }
            }

            fn facts(&self) -> Vec<findings::Fact<'_>> {
                let both = self.of.facts.iter().zip(&self.texts);
                both.map(|(fact, texts)| findings::Fact {
                    name: &fact.name,
                    value: value(&fact.value, texts),
                })
                .collect()
            }

            fn evidence(&self) -> Vec<findings::Anomaly<'_>> {
                let both = self.of.evidence.iter().zip(&self.evidence);
                both.map(|(anomaly, (series, scores, reasons))| findings::Anomaly {
                    at_ms: anomaly.at_ms,
                    series,
                    scores,
                    confidence: anomaly.confidence,
                    severity: anomaly.severity.into(),
                    reasons,
                })
                .collect()
            }

            fn candidates(&self) -> Vec<findings::Candidate<'_>> {
                let both = self.of.candidates.iter().zip(&self.preconditions);
                both.map(|(candidate, preconditions)| findings::Candidate {
                    id: &candidate.id,
                    summary: &candidate.summary,
                    level: candidate.level.into(),
                    preconditions,
                    expected_duration_ms: candidate.expected_duration_ms,
                    expected_loss: candidate.expected_loss.into(),
                    undoable: candidate.undoable,
                })
                .collect()
            }
        }

        /// The texts of a value that is a list of them.
        fn texts_of(value: &model::Value) -> Vec<&str> {
            match value {
                model::Value::Texts(texts) => texts.iter().map(String::as_str).collect(),
                _ => Vec::new(),
            }
        }

        /// Asks about an event, in a context of this version.
        fn ask(
            policy: &Policy,
            store: &mut Store<State>,
            event: &model::PolicyEvent,
            context: situation::Context<'_>,
        ) -> wasmtime::Result<Result<verdicts::Verdict, verdicts::Reason>> {
            let decision = policy.dbmedic_policy_decision();
            match event {
                model::PolicyEvent::Tick => {
                    decision.call_decide(store, situation::Event::Tick, context)
                }
                model::PolicyEvent::Outcome(of) => {
                    let notes: Vec<&str> = of.notes.iter().map(String::as_str).collect();
                    let outcome = outcome(of, &notes);
                    decision.call_decide(store, situation::Event::Outcome(outcome), context)
                }
                model::PolicyEvent::Finding(of) => {
                    let parts = FindingParts::of(of);
                    let facts = parts.facts();
                    let evidence = parts.evidence();
                    let candidates = parts.candidates();
                    let finding = findings::Finding {
                        incident: &of.incident,
                        kind: &of.kind,
                        subject: &of.subject,
                        summary: &of.summary,
                        severity: of.severity,
                        first_seen_ms: of.first_seen_ms,
                        last_seen_ms: of.last_seen_ms,
                        sightings: of.sightings,
                        facts: &facts,
                        evidence: &evidence,
                        candidates: &candidates,
                    };
                    decision.call_decide(store, situation::Event::Finding(finding), context)
                }
            }
        }

        fn repair_history(of: &model::RepairHistory) -> situation::RepairHistory<'_> {
            situation::RepairHistory {
                kind: &of.kind,
                repair: &of.repair,
                successes: of.successes,
                failures: of.failures,
                failures_in_a_row: of.failures_in_a_row,
                last_ms: of.last_ms,
            }
        }

        fn constraint_state(of: &model::ConstraintState) -> situation::ConstraintState<'_> {
            situation::ConstraintState {
                name: &of.name,
                metric: &of.metric,
                value: of.value,
                lower: of.lower,
                upper: of.upper,
                utilization: of.utilization,
                status: of.status.into(),
                violations_ms: &of.violations_ms,
            }
        }

        fn metric(of: &model::Metric) -> situation::Metric<'_> {
            situation::Metric {
                name: &of.name,
                value: of.value,
            }
        }

        same_enum! { to
            DetectionMethod in findings { Statistical, Pattern, Behavior, Constraint }
            Severity in findings { Low, Medium, High }
            CascadeLevel in findings { InPlace, Snapshot, Replay, Rebuild }
            OutcomeResult in findings { Verified, RolledBack, Refused, Failed }
            ConstraintStatus in situation { Ok, Warning, Critical }
            Classification in verdicts { Hiccup, Obstacle, Wall, Crisis }
            EscalationLevel in verdicts { Normal, Watch, Warn, Escalate }
        }

        same_enum! { from
            Classification in verdicts { Hiccup, Obstacle, Wall, Crisis }
            EscalationLevel in verdicts { Normal, Watch, Warn, Escalate }
            Verbosity in verdicts { Normal, Elevated, Incident }
            Urgency in verdicts { Info, Warning, Critical }
            LogLevel in log { Debug, Info, Warn, Error }
        }

        same_record! {
            model::Point => telemetry::Point { at_ms, value }
            model::BaselineSummary => telemetry::BaselineSummary {
                count, established, median, mad, mean, stdev, p50, p95, p99, min, max
            }
            verdicts::Reason => model::Reason { rule, text }
            verdicts::Alert => model::Alert { rule, urgency, message }
            decision::SettingError => model::SettingError { name, message }
            decision::Parameter => model::Parameter { name, summary, default, minimum, maximum }
        }

        impl From<decision::Description> for model::Description {
            fn from(description: decision::Description) -> Self {
                let parameters = description.parameters.into_iter();
                Self {
                    name: description.name,
                    version: description.version,
                    summary: description.summary,
                    parameters: parameters.map(Into::into).collect(),
                }
            }
        }

        impl telemetry::Host for State {
            fn latest(&mut self, series: String) -> Option<telemetry::Point> {
                self.latest_point(&series).map(Into::into)
            }

            fn baseline(&mut self, series: String) -> Option<telemetry::BaselineSummary> {
                self.baseline_of(&series).map(Into::into)
            }

            fn recent(&mut self, series: String, limit: u32) -> Vec<telemetry::Point> {
                let points = self.recent_points(&series, limit);
                points.into_iter().map(Into::into).collect()
            }
        }

        impl log::Host for State {
            fn write(&mut self, level: log::LogLevel, message: String) {
                self.note(level.into(), &message);
            }
        }

        // Interfaces without functions: the records alone.
        impl findings::Host for State {}
        impl situation::Host for State {}
        impl verdicts::Host for State {}
    };
}

use {in_each_version, same_enum, same_record};
