//! Runs cases: the component's own answers, held against what was expected.

use std::path::Path;
use std::time::{Duration, Instant};

use super::expect::shown;
use super::host::Host;
use super::{Case, CaseFile, CaseResult, Expect, Report, Step, Story, called};
use crate::model::Verdict;
use crate::pipeline::{Effect, Made, Pipeline};
use crate::policy::{Policy, PolicyFailure, Retold};
use crate::recording::RecordingReader;

/// Runs every case, each with the parameters that it names. A case ends when the policy fails, and all
/// of them when they took as much time together as `time` allows; without it, they take what they
/// need.
pub fn run(policy: &Policy, files: &[CaseFile], time: Option<Duration>) -> Report {
    let mut report = Report::default();
    let allowance = Allowance {
        began: Instant::now(),
        time,
    };
    for file in files {
        for case in &file.cases {
            let mut run = Run::new(case, &allowance);
            if !run.is_over() {
                match policy.with_settings(&case.parameters) {
                    Ok(policy) => run.story(&policy),
                    Err(error) => run
                        .failures
                        .push(format!("the parameters: {:#}", anyhow::Error::from(error))),
                }
            }
            let is_cut_off = run.is_cut_off;
            let result = run.end(file);
            if result.failures.is_empty() {
                report.passed += 1;
            } else {
                report.failed += 1;
            }
            report.cases.push(result);
            if is_cut_off {
                return report;
            }
        }
    }
    report
}

/// The time that all cases may take together.
struct Allowance {
    began: Instant,
    time: Option<Duration>,
}

struct Run<'a> {
    case: &'a Case,
    allowance: &'a Allowance,
    /// Whether there was no time for the rest.
    is_cut_off: bool,
    /// Whether the policy failed: it would go on failing, and each time as slowly.
    has_failed: bool,
    decisions: u64,
    /// Whether an answer was like what the whole case expects, and what the last one was.
    met: bool,
    last: Option<String>,
    failures: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, allowance: &'a Allowance) -> Self {
        Self {
            case,
            allowance,
            is_cut_off: false,
            has_failed: false,
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
        let is_whole = !self.is_cut_off && !self.has_failed;
        if self.case.expect.is_some() && !self.met && is_whole {
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
            if self.is_over() {
                break;
            }
            let event = host.prepare(step);
            let mut telemetry = Retold::new(host.series.clone());
            let decision = policy.decide(&event, &host.context, &mut telemetry);
            host.carry_on(&event, &decision.verdict);
            let place = format!("event {} ({})", index + 1, called(&event));
            self.answer(
                &place,
                &decision.verdict,
                (decision.failure.as_ref(), decision.last_words()),
                step.expect.as_ref(),
            );
        }
    }

    fn recording(&mut self, policy: &Policy, path: &Path) -> anyhow::Result<()> {
        feed_recording(policy, self.case, path, &mut |number, effects, _| {
            for effect in effects {
                if let Effect::Decided(decided) = effect {
                    let place = format!("event {number} of the recording");
                    let failure = (decided.failure.as_ref(), "");
                    self.answer(&place, &decided.verdict, failure, None);
                }
            }
            !self.is_over()
        })
    }

    /// Whether the case ends here: the policy failed, or there is no more time.
    fn is_over(&mut self) -> bool {
        let Allowance { began, time } = self.allowance;
        if let Some(time) = time.filter(|time| began.elapsed() >= *time) {
            self.is_cut_off = true;
            self.failures.push(format!(
                "all test cases together may take {} s, which is over",
                time.as_secs()
            ));
        }
        self.is_cut_off || self.has_failed
    }

    /// Holds one answer against everything that is expected of it. Beside a failure stand the policy's
    /// last words.
    fn answer(
        &mut self,
        place: &str,
        verdict: &Verdict,
        (failure, last_words): (Option<&PolicyFailure>, &str),
        expect: Option<&Expect>,
    ) {
        self.decisions += 1;
        let refuses = expect.is_some_and(|expect| expect.refuses);
        match failure {
            Some(PolicyFailure::Refused(_)) if refuses => return,
            Some(failure) => {
                self.has_failed = true;
                let log = match last_words {
                    "" => String::new(),
                    last_words => format!("; its log: {last_words}"),
                };
                self.failures
                    .push(format!("{place}: the policy failed: {failure}{log}"));
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

/// Feeds a recording to a policy, with the parameters of the case laid over its own. `heard` gets the
/// number of each event, its effects and the decisions behind them, and says whether to go on.
pub(super) fn feed_recording(
    policy: &Policy,
    case: &Case,
    path: &Path,
    heard: &mut dyn FnMut(u64, Vec<Effect>, Vec<Made>) -> bool,
) -> anyhow::Result<()> {
    let mut recording = RecordingReader::open(path)?;
    let header = recording.header().clone();
    let mut settings = header.settings;
    for own in &case.parameters {
        settings.retain(|setting| setting.name != own.name);
        settings.push(own.clone());
    }
    let policy = policy.with_settings(&settings)?;
    let mut pipeline = Pipeline::new(header.options, policy, header.carried);
    pipeline.listen(true);
    let mut number = 0_u64;
    while let Some(recorded) = recording.next_event()? {
        number += 1;
        let effects = pipeline.step(&recorded.event);
        if !heard(number, effects, pipeline.take_made()) {
            break;
        }
    }
    Ok(())
}
