//! Runs cases: the component's own answers, held against what was expected.

use std::fmt::Display;

use super::{Case, CaseFile, CaseResult, Expect, Never, Report, Step, Story, called};
use crate::model::{
    Classification, Context, EscalationLevel, Metric, OpenIncident, OutcomeResult, PolicyEvent,
    RepairHistory, Verdict,
};
use crate::pipeline::{Effect, Pipeline};
use crate::policy::{Heard, Policy, PolicyFailure, Retold};
use crate::recording::RecordingReader;

/// When a case begins, milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_000_000_000;
/// Between two violations of a constraint, milliseconds.
const VIOLATION_MS: u64 = 1000;

/// Runs every case, each with the parameters that it names.
pub fn run(policy: &Policy, files: &[CaseFile]) -> Report {
    let mut report = Report::default();
    for file in files {
        for case in &file.cases {
            let mut run = Run::new(case);
            match policy.with_settings(&case.parameters) {
                Ok(policy) => run.story(&policy),
                Err(error) => run
                    .failures
                    .push(format!("the parameters: {:#}", anyhow::Error::from(error))),
            }
            let result = run.end(file);
            if result.failures.is_empty() {
                report.passed += 1;
            } else {
                report.failed += 1;
            }
            report.cases.push(result);
        }
    }
    report
}

struct Run<'a> {
    case: &'a Case,
    decisions: u64,
    /// Whether an answer was like what the whole case expects, and what the last one was.
    met: bool,
    last: Option<String>,
    failures: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case) -> Self {
        Self {
            case,
            decisions: 0,
            met: false,
            last: None,
            failures: Vec::new(),
        }
    }

    fn story(&mut self, policy: &Policy) {
        match &self.case.story {
            Story::Events(steps) => self.events(policy, steps),
            Story::Recording(path) => {
                if let Err(error) = self.recording(policy, path) {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }

    fn end(mut self, file: &CaseFile) -> CaseResult {
        if self.case.expect.is_some() && !self.met {
            let last = self.last.as_deref().unwrap_or("there was none");
            self.failures.push(format!(
                "none of {} answers was as the case expects; the last: {last}",
                self.decisions
            ));
        }
        CaseResult {
            file: file.name.clone(),
            line: self.case.line,
            name: self.case.name.clone(),
            decisions: self.decisions,
            failures: self.failures,
        }
    }

    fn events(&mut self, policy: &Policy, steps: &[Step]) {
        let mut host = Host::new(policy);
        for (index, step) in steps.iter().enumerate() {
            let event = host.prepare(step);
            let mut telemetry = Retold::new(host.series.clone());
            let decision = policy.decide(&event, &host.context, &mut telemetry);
            host.carry_on(&event, &decision.verdict);
            let place = format!("event {} ({})", index + 1, called(&event));
            self.answer(
                &place,
                &decision.verdict,
                decision.failure.as_ref(),
                step.expect.as_ref(),
            );
        }
    }

    fn recording(&mut self, policy: &Policy, path: &std::path::Path) -> anyhow::Result<()> {
        let mut recording = RecordingReader::open(path)?;
        let header = recording.header().clone();
        let mut settings = header.settings;
        for own in &self.case.parameters {
            settings.retain(|setting| setting.name != own.name);
            settings.push(own.clone());
        }
        let policy = policy.with_settings(&settings)?;
        let mut pipeline = Pipeline::new(header.options, policy, header.carried);
        let mut number = 0_u64;
        while let Some(recorded) = recording.next_event()? {
            number += 1;
            for effect in pipeline.step(&recorded.event) {
                if let Effect::Decided(decided) = effect {
                    let place = format!("event {number} of the recording");
                    self.answer(&place, &decided.verdict, decided.failure.as_ref(), None);
                }
            }
        }
        Ok(())
    }

    /// Holds one answer against everything that is expected of it.
    fn answer(
        &mut self,
        place: &str,
        verdict: &Verdict,
        failure: Option<&PolicyFailure>,
        expect: Option<&Expect>,
    ) {
        self.decisions += 1;
        let refuses = expect.is_some_and(|expect| expect.refuses);
        match failure {
            Some(PolicyFailure::Refused(_)) if refuses => return,
            Some(failure) => {
                self.failures
                    .push(format!("{place}: the policy failed: {failure}"));
                return;
            }
            None if refuses => {
                self.failures.push(format!(
                    "{place}: expected a refusal, got {}",
                    shown(verdict)
                ));
                return;
            }
            None => {}
        }
        if let Some(expect) = expect {
            let wrong = expect.wrong(verdict);
            if !wrong.is_empty() {
                let rules: Vec<&str> = verdict.reasons.iter().map(|r| r.rule.as_str()).collect();
                self.failures.push(format!(
                    "{place}: {} (rules: {})",
                    wrong.join("; "),
                    rules.join(", ")
                ));
            }
        }
        if let Some(expect) = &self.case.expect {
            self.met |= expect.wrong(verdict).is_empty();
        }
        for what in self.case.never.broken(verdict) {
            self.failures
                .push(format!("{place}: must never happen: {what}"));
        }
        self.last = Some(shown(verdict));
    }
}

/// The host as far as a policy sees it.
struct Host {
    context: Context,
    series: Vec<Heard>,
}

impl Host {
    fn new(policy: &Policy) -> Self {
        Self {
            context: Context {
                now_ms: BEGIN_MS,
                target: "case".into(),
                level: EscalationLevel::Normal,
                level_since_ms: BEGIN_MS,
                repairs: Vec::new(),
                incidents: Vec::new(),
                constraints: Vec::new(),
                metrics: Vec::new(),
                settings: policy.settings().to_vec(),
                memory: Vec::new(),
            },
            series: Vec::new(),
        }
    }

    /// Lets time pass and takes up what the event says of the host's knowledge.
    fn prepare(&mut self, step: &Step) -> PolicyEvent {
        let context = &mut self.context;
        context.now_ms += step.after_ms;
        let now_ms = context.now_ms;
        let known = &step.known;
        if let Some(level) = known.level {
            context.level = level;
            context.level_since_ms = now_ms;
        }
        for (name, value) in &known.metrics {
            context.metrics.retain(|metric| metric.name != *name);
            context.metrics.push(Metric {
                name: name.clone(),
                value: *value,
            });
        }
        context.metrics.sort_by(|a, b| a.name.cmp(&b.name));
        for constraint in &known.constraints {
            let mut constraint = constraint.clone();
            let times = constraint.violations_ms.len() as u64;
            for (at, back) in constraint.violations_ms.iter_mut().zip((0..times).rev()) {
                *at = now_ms - back * VIOLATION_MS;
            }
            context.constraints.retain(|c| c.name != constraint.name);
            context.constraints.push(constraint);
        }
        for repair in &known.repairs {
            let history = history(&mut context.repairs, &repair.kind, &repair.repair);
            *history = RepairHistory {
                last_ms: now_ms,
                ..repair.clone()
            };
        }
        for heard in &known.series {
            let mut heard = heard.clone();
            if let Heard::Latest {
                answer: Some(point),
                ..
            } = &mut heard
            {
                point.at_ms = now_ms;
            }
            self.series.insert(0, heard);
        }
        match &step.event {
            PolicyEvent::Finding(finding) => {
                let mut finding = finding.clone();
                let incident = self.incident(&finding.incident, &finding.kind, &finding.subject);
                finding.incident.clone_from(&incident.id);
                finding.first_seen_ms = incident.opened_ms;
                finding.last_seen_ms = now_ms;
                finding.sightings = incident.sightings;
                PolicyEvent::Finding(finding)
            }
            PolicyEvent::Outcome(outcome) => {
                let mut outcome = outcome.clone();
                let mut open = self.context.incidents.iter();
                let found = open.rfind(|i| i.kind == outcome.kind && i.subject == outcome.subject);
                if outcome.incident.is_empty() {
                    outcome.incident = found.map_or("INC-1".into(), |i| i.id.clone());
                }
                let history = history(&mut self.context.repairs, &outcome.kind, &outcome.repair);
                match outcome.outcome_result {
                    OutcomeResult::Verified => {
                        history.successes += 1;
                        history.failures_in_a_row = 0;
                    }
                    OutcomeResult::RolledBack | OutcomeResult::Failed => {
                        history.failures += 1;
                        history.failures_in_a_row += 1;
                    }
                    OutcomeResult::Refused => {}
                }
                history.last_ms = now_ms;
                PolicyEvent::Outcome(outcome)
            }
            PolicyEvent::Tick => PolicyEvent::Tick,
        }
    }

    /// The incident of a kind on a subject, seen once more.
    fn incident(&mut self, id: &str, kind: &str, subject: &str) -> &OpenIncident {
        let context = &mut self.context;
        let open = &mut context.incidents;
        let at = open
            .iter()
            .position(|i| i.kind == kind && i.subject == subject && (id.is_empty() || i.id == id));
        let at = at.unwrap_or_else(|| {
            open.push(OpenIncident {
                id: if id.is_empty() {
                    format!("INC-{}", open.len() + 1)
                } else {
                    id.to_owned()
                },
                kind: kind.to_owned(),
                subject: subject.to_owned(),
                opened_ms: context.now_ms,
                sightings: 0,
                classification: None,
            });
            open.len() - 1
        });
        open[at].sightings += 1;
        &open[at]
    }

    /// As the pipeline does after an answer.
    fn carry_on(&mut self, event: &PolicyEvent, verdict: &Verdict) {
        let context = &mut self.context;
        context.memory.clone_from(&verdict.memory);
        if verdict.level != context.level {
            context.level = verdict.level;
            context.level_since_ms = context.now_ms;
        }
        if let PolicyEvent::Finding(finding) = event
            && let Some(incident) = context
                .incidents
                .iter_mut()
                .find(|i| i.id == finding.incident)
        {
            incident.classification = verdict.classification;
        }
    }
}

fn history<'a>(all: &'a mut Vec<RepairHistory>, kind: &str, repair: &str) -> &'a mut RepairHistory {
    let at = all
        .iter()
        .position(|h| h.kind == kind && h.repair == repair);
    let at = at.unwrap_or_else(|| {
        all.push(RepairHistory {
            kind: kind.to_owned(),
            repair: repair.to_owned(),
            successes: 0,
            failures: 0,
            failures_in_a_row: 0,
            last_ms: 0,
        });
        all.len() - 1
    });
    &mut all[at]
}

impl Expect {
    /// What of an answer is not as expected, each in a few words.
    fn wrong(&self, verdict: &Verdict) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut differ = |what: &str, expected: &dyn Display, actual: &dyn Display| {
            wrong.push(format!("expected {what} {expected}, got {actual}"));
        };
        if let Some(expected) = self.classification
            && expected != verdict.classification
        {
            differ(
                "classification",
                &class(expected),
                &class(verdict.classification),
            );
        }
        if let Some(expected) = self.level
            && expected != verdict.level
        {
            differ("level", &level(expected), &level(verdict.level));
        }
        if let Some(expected) = &self.repair
            && *expected != verdict.repair
        {
            let word = |repair: &Option<String>| repair.clone().unwrap_or("none".into());
            differ("repair", &word(expected), &word(&verdict.repair));
        }
        if let Some(expected) = self.halt
            && expected != verdict.halt
        {
            differ("halt", &expected, &verdict.halt);
        }
        for rule in &self.rules {
            if !verdict.reasons.iter().any(|reason| reason.rule == *rule) {
                wrong.push(format!("expected the rule {rule}"));
            }
        }
        let alerted = |rule: &String| verdict.alerts.iter().any(|alert| alert.rule == *rule);
        for rule in self.alerts.iter().filter(|rule| !alerted(rule)) {
            wrong.push(format!("expected the alert {rule}"));
        }
        for rule in self.no_alerts.iter().filter(|rule| alerted(rule)) {
            wrong.push(format!("expected no alert {rule}"));
        }
        wrong
    }
}

impl Never {
    /// What of an answer must never be.
    fn broken(&self, verdict: &Verdict) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(is) = verdict.classification
            && self.classifications.contains(&is)
        {
            broken.push(format!("classification {}", class(Some(is))));
        }
        if self.levels.contains(&verdict.level) {
            broken.push(format!("level {}", level(verdict.level)));
        }
        if let Some(repair) = &verdict.repair
            && self.repairs.iter().any(|id| id == "*" || id == repair)
        {
            broken.push(format!("repair {repair}"));
        }
        if self.halt && verdict.halt {
            broken.push("a halt".to_owned());
        }
        for reason in &verdict.reasons {
            if self.rules.contains(&reason.rule) {
                broken.push(format!("the rule {}", reason.rule));
            }
        }
        for alert in &verdict.alerts {
            if self.alerts.contains(&alert.rule) {
                broken.push(format!("the alert {}", alert.rule));
            }
        }
        broken
    }
}

fn shown(verdict: &Verdict) -> String {
    format!(
        "{}/{}/{}",
        class(verdict.classification),
        level(verdict.level),
        verdict
            .repair
            .as_deref()
            .unwrap_or(if verdict.halt { "halt" } else { "no repair" })
    )
}

fn class(class: Option<Classification>) -> &'static str {
    match class {
        Some(Classification::Hiccup) => "hiccup",
        Some(Classification::Obstacle) => "obstacle",
        Some(Classification::Wall) => "wall",
        Some(Classification::Crisis) => "crisis",
        None => "none",
    }
}

fn level(level: EscalationLevel) -> &'static str {
    match level {
        EscalationLevel::Normal => "normal",
        EscalationLevel::Watch => "watch",
        EscalationLevel::Warn => "warn",
        EscalationLevel::Escalate => "escalate",
    }
}
