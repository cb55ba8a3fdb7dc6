//! Runs cases: the component's own answers, held against what was expected.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::coverage::Seen;
use super::expect::shown;
use super::follow::{Followers, place};
use super::host::Host;
use super::trail::{Answer, Around, Trail};
use super::{Case, CaseFile, CaseResult, Events, Expect, Report, Step, Story, called};
use crate::model::PolicyEvent;
use crate::pipeline::{Effect, Made, Pipeline};
use crate::policy::{Decision, Policy, PolicyFailure};
use crate::recording::RecordingReader;

/// Failures of one case that are told one by one; more are counted.
const FAILURES: usize = 20;
/// Failures of one case that are shown with what happened around them.
const TIMELINES: usize = 3;

/// How cases are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Order {
    /// Time that all cases may take together; as much as they need without it.
    pub time: Option<Duration>,
    /// Cases that may run at the same time; one without it.
    pub hands: Option<usize>,
}

/// Runs every case, each with the parameters that it names. A case ends when the policy fails, and all
/// of them when they took as much time together as `time` allows; without it, they take what they
/// need.
pub fn run(policy: &Policy, files: &[CaseFile], time: Option<Duration>) -> Report {
    let all = files.iter();
    let all = all.flat_map(|file| file.cases.iter().map(move |case| (file, case)));
    let all: Vec<_> = all.collect();
    let order = Order { time, hands: None };
    run_some(policy, &all, order, &mut |_, _, _| {})
}

/// The same for some cases of some files, several at the same time. `each` gets each case in its order with
/// what it came to and what the policy showed in it.
pub fn run_some(
    policy: &Policy,
    cases: &[(&CaseFile, &Case)],
    order: Order,
    each: &mut dyn FnMut(&Case, &CaseResult, &Seen),
) -> Report {
    let allowance = Allowance {
        began: Instant::now(),
        time: order.time,
    };
    let hands = order.hands.unwrap_or(1).clamp(1, cases.len().max(1));
    let mut report = Report::default();
    let next = AtomicUsize::new(0);
    let (hand_in, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..hands {
            let (hand_in, next, allowance) = (hand_in.clone(), &next, &allowance);
            let work = move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, case)) = cases.get(number) else {
                        break;
                    };
                    let (result, seen, is_cut_off) = one(policy, file, case, allowance);
                    if hand_in.send((number, result, seen, is_cut_off)).is_err() || is_cut_off {
                        break;
                    }
                }
            };
            // Alone there is no need of a thread, whose stack would be another one.
            if hands == 1 {
                work();
            } else {
                scope.spawn(work);
            }
        }
        drop(hand_in);
        let mut all: Vec<_> = results.iter().collect();
        all.sort_by_key(|(number, ..)| *number);
        for (number, result, seen, is_cut_off) in all {
            each(cases[number].1, &result, &seen);
            report.add(result);
            if is_cut_off {
                break;
            }
        }
    });
    report
}

/// One case, what the policy showed in it, and whether there was no time for the rest.
fn one(
    policy: &Policy,
    file: &CaseFile,
    case: &Case,
    allowance: &Allowance,
) -> (CaseResult, Seen, bool) {
    let mut run = Run::new(case, allowance);
    if !run.is_over() {
        match policy.with_settings(&case.parameters) {
            Ok(policy) => run.story(&policy),
            Err(error) => run
                .failures
                .push(format!("the parameters: {:#}", anyhow::Error::from(error))),
        }
    }
    let is_cut_off = run.is_cut_off;
    let (result, seen) = run.end(file);
    (result, seen, is_cut_off)
}

/// Whether a case passes.
pub(super) fn passes(policy: &Policy, case: &Case) -> bool {
    let file = CaseFile {
        name: String::new(),
        rules: Vec::new(),
        cases: Vec::new(),
    };
    let allowance = Allowance {
        began: Instant::now(),
        time: None,
    };
    one(policy, &file, case, &allowance).0.failures.is_empty()
}

/// The time that all cases may take together.
struct Allowance {
    began: Instant,
    time: Option<Duration>,
}

struct Run<'a> {
    case: &'a Case,
    began: Instant,
    allowance: &'a Allowance,
    /// Whether there was no time for the rest.
    is_cut_off: bool,
    /// Whether the policy failed: it would go on failing, and each time as slowly.
    has_failed: bool,
    decisions: u64,
    followers: Followers<'a>,
    trail: Trail,
    seen: Seen,
    last: Option<String>,
    failures: Vec<String>,
    more_failures: usize,
    /// What happened around the first failures.
    around: Vec<(usize, Around, Vec<String>)>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, allowance: &'a Allowance) -> Self {
        Self {
            case,
            began: Instant::now(),
            allowance,
            is_cut_off: false,
            has_failed: false,
            decisions: 0,
            followers: Followers::of(case),
            trail: Trail::default(),
            seen: Seen::default(),
            last: None,
            failures: Vec::new(),
            more_failures: 0,
            around: Vec::new(),
        }
    }

    fn story(&mut self, policy: &Policy) {
        match &self.case.story {
            Story::Events(events) => play(policy, events, &mut |played| {
                let expect = played.step.expect.as_ref();
                self.answer(played.into_answer(), expect);
                !self.is_over()
            }),
            Story::Recording(path) => {
                if let Err(error) = self.recording(policy, path) {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }

    fn recording(&mut self, policy: &Policy, path: &Path) -> anyhow::Result<()> {
        let mut begin_ms = None;
        feed_recording(policy, self.case, path, &mut |number, _, made| {
            for made in made {
                let begin_ms = *begin_ms.get_or_insert(made.at_ms);
                for part in made.parts {
                    let decision = part.decision;
                    let answer = Answer {
                        number: 0,
                        place: format!("event {number} of the recording ({})", called(&made.event)),
                        at_ms: made.at_ms.saturating_sub(begin_ms),
                        target: made.target.clone(),
                        level: part.context.level,
                        event: made.event.clone(),
                        verdict: decision.verdict,
                        failure: decision.failure,
                        log: decision.log,
                        wrong: Vec::new(),
                    };
                    self.answer(answer, None);
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

    /// Holds one answer against everything that is expected of it.
    fn answer(&mut self, mut answer: Answer, expect: Option<&Expect>) {
        if self.has_failed {
            return;
        }
        self.decisions += 1;
        answer.number = self.decisions;
        let failure = self.judge(&mut answer, expect);
        let broken = match answer.failure {
            Some(_) => Vec::new(),
            None => self.case.never.broken(&answer.verdict, &answer.log),
        };
        self.seen.take(&answer);
        let place = answer.place.clone();
        let counts = answer.failure.is_none();
        if counts {
            self.last = Some(shown(&answer.verdict));
        }
        let answer = Arc::new(answer);
        for (_, around, _) in &mut self.around {
            around.follow(&answer);
        }
        self.trail.push(Arc::clone(&answer));
        if let Some(failure) = failure {
            let wrong = answer.wrong.clone();
            self.failed(format!("{place}: {failure}"), wrong);
        }
        for what in broken {
            let never = format!("never {what}");
            self.failed(format!("{place}: must never happen: {what}"), vec![never]);
        }
        if counts {
            self.followers.take(&answer, &self.trail);
        }
    }

    /// What of an answer is not as its event expects.
    fn judge(&mut self, answer: &mut Answer, expect: Option<&Expect>) -> Option<String> {
        let refuses = expect.is_some_and(|expect| expect.refuses);
        match &answer.failure {
            Some(PolicyFailure::Refused(_)) if refuses => return None,
            Some(failure) => {
                self.has_failed = true;
                // An author's language says in the log what went wrong and where.
                let log = match answer.log.last() {
                    Some(last) => format!("; its log: {}", last.message),
                    None => String::new(),
                };
                return Some(format!("the policy failed: {failure}{log}"));
            }
            None if refuses => {
                answer.wrong = vec!["expected a refusal".to_owned()];
                let got = shown(&answer.verdict);
                return Some(format!("expected a refusal, got {got}"));
            }
            None => {}
        }
        let wrong = expect?.wrong(&answer.verdict, &answer.log);
        answer.wrong = wrong.into_iter().map(|wrong| wrong.text).collect();
        if answer.wrong.is_empty() {
            return None;
        }
        let reasons = answer.verdict.reasons.iter();
        let rules: Vec<&str> = reasons.map(|reason| reason.rule.as_str()).collect();
        let (wrong, rules) = (answer.wrong.join("; "), rules.join(", "));
        Some(format!("{wrong} (rules: {rules})"))
    }

    /// Notes a failure of the latest answer.
    fn failed(&mut self, failure: String, expected: Vec<String>) {
        if self.failures.len() >= FAILURES {
            self.more_failures += 1;
            return;
        }
        if self.around.len() < TIMELINES {
            let here = self.trail.here();
            self.around.push((self.failures.len(), here, expected));
        }
        self.failures.push(failure);
    }

    fn end(mut self, file: &CaseFile) -> (CaseResult, Seen) {
        if !self.is_cut_off && !self.has_failed {
            for unmet in self.followers.end(self.decisions) {
                if let Some((around, wrong)) = unmet.nearest {
                    let wrong = wrong.into_iter().map(|wrong| wrong.text).collect();
                    self.around.push((self.failures.len(), around, wrong));
                }
                self.failures.push(unmet.failure);
            }
        }
        if self.more_failures > 0 {
            self.failures
                .push(format!("and {} more", self.more_failures));
        }
        let around = self.around.iter().take(TIMELINES);
        let timelines =
            around.map(|(failure, around, expected)| around.timeline(*failure, expected));
        let result = CaseResult {
            file: file.name.clone(),
            line: self.case.line,
            name: self.case.name.clone(),
            decisions: self.decisions,
            duration_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            timelines: timelines.collect(),
            failures: self.failures,
        };
        (result, self.seen)
    }
}

/// An event of a case that was put to a policy.
pub(super) struct Played<'a> {
    pub(super) step: &'a Step,
    /// Which step it is, counted from 0.
    pub(super) number: usize,
    /// How often it happened before.
    pub(super) again: u32,
    pub(super) event: PolicyEvent,
    pub(super) decision: Decision,
    /// The host as it was when it asked.
    pub(super) host: &'a Host,
}

impl Played<'_> {
    pub(super) fn into_numbered_answer(self, number: u64) -> Arc<Answer> {
        Arc::new(Answer {
            number,
            ..self.into_answer()
        })
    }

    fn into_answer(self) -> Answer {
        let context = &self.host.context;
        Answer {
            number: 0,
            place: place(self.number, self.again, self.step.times, &self.event),
            at_ms: context.now_ms - self.host.begin_ms,
            target: context.target.clone(),
            level: context.level,
            event: self.event,
            verdict: self.decision.verdict,
            failure: self.decision.failure,
            log: self.decision.log,
            wrong: Vec::new(),
        }
    }
}

/// Puts events to a policy, and carries on from each to the next what the host does. `each` says whether to
/// go on.
pub(super) fn play(policy: &Policy, events: &Events, each: &mut dyn FnMut(Played<'_>) -> bool) {
    let mut host = Host::new(policy.settings(), events);
    for (number, step) in events.steps.iter().enumerate() {
        for again in 0..step.times {
            let event = host.prepare(step, again);
            let decision = policy.decide(&event, &host.context, &mut host.telemetry);
            let after = Host::after(&event, &decision.verdict);
            let goes_on = each(Played {
                step,
                number,
                again,
                event,
                decision,
                host: &host,
            });
            if !goes_on {
                return;
            }
            host.carry_on(after);
        }
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
