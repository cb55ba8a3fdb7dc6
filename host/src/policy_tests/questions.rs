//! The events of cases as questions to a policy, each with what it would be handed in that case: for
//! whoever asks them again, in another order.

use std::path::Path;

use super::follow::place;
use super::host::Host;
use super::run::feed_recording;
use super::{Case, CaseFile, CasesError, Events, Story, called, parse};
use crate::policy::{Overheard, Policy, PolicyFailure, Question, Retold};

/// Questions that are taken from one case; a recording may hold more.
const FROM_ONE: usize = 2_000;
/// Questions that are taken from all cases.
const FROM_ALL: usize = 20_000;

/// The cases of the built-in policy: events of every kind that the host knows.
const TYPICAL: [(&str, &str); 5] = [
    (
        "constraints",
        include_str!("../../../policies/default/cases/constraints.toml"),
    ),
    (
        "damage",
        include_str!("../../../policies/default/cases/damage.toml"),
    ),
    (
        "locks",
        include_str!("../../../policies/default/cases/locks.toml"),
    ),
    (
        "repairs",
        include_str!("../../../policies/default/cases/repairs.toml"),
    ),
    (
        "wal",
        include_str!("../../../policies/default/cases/wal.toml"),
    ),
];

/// More of them, for what is made of cases: kinds of problems that are seldom.
const SELDOM: [(&str, &str); 3] = [
    (
        "content",
        include_str!("../../../policies/default/cases/content.toml"),
    ),
    (
        "files",
        include_str!("../../../policies/default/cases/files.toml"),
    ),
    (
        "repair choice",
        include_str!("../../../policies/default/cases/repair-choice.toml"),
    ),
];

/// A question, and where it comes from.
pub struct Asked {
    /// Case and event, in a few words.
    pub place: String,
    /// The question.
    pub question: Question<Retold>,
    /// How the policy failed when it was asked first.
    pub failure: Option<PolicyFailure>,
    /// The last line of its log then; empty where it did not fail.
    pub last_words: String,
}

/// Answers that do not come in time, after which a policy is asked nothing more.
const PATIENCE: usize = 3;

/// Typical events of every kind, put to a policy with the parameters that it has.
///
/// # Errors
/// Never, as long as the cases of the built-in policy can be read.
pub fn typical(policy: &Policy) -> Result<Vec<Asked>, CasesError> {
    let (mut all, mut late) = (Vec::new(), 0);
    for file in parsed(&TYPICAL)? {
        for case in &file.cases {
            if let Story::Events(events) = &case.story {
                all.extend(named(&file, case, of_events(policy, events, &mut late)));
            }
        }
    }
    Ok(all)
}

/// The cases of the built-in policy, those of seldom problems among them.
pub(super) fn typical_cases() -> Result<Vec<CaseFile>, CasesError> {
    let mut all = parsed(&TYPICAL)?;
    all.extend(parsed(&SELDOM)?);
    Ok(all)
}

fn parsed(files: &[(&str, &str)]) -> Result<Vec<CaseFile>, CasesError> {
    let read =
        |(name, text): &(&str, &str)| Ok(parse(text, &format!("typical events, {name}"), None)?);
    files.iter().map(read).collect()
}

/// Every event of the cases with what comes with it. What a policy left for the next event in its
/// `memory` is what this policy leaves, asked once in the order of each case.
pub fn questions(policy: &Policy, files: &[CaseFile]) -> Vec<Asked> {
    let (mut all, mut late) = (Vec::new(), 0);
    for file in files {
        for case in &file.cases {
            // Parameters that it refuses, or a recording that is gone, fail the case where it is run.
            let Ok(policy) = policy.with_settings(&case.parameters) else {
                continue;
            };
            let of_case = match &case.story {
                Story::Events(events) => of_events(&policy, events, &mut late),
                Story::Recording(path) => of_recording(&policy, case, path),
            };
            all.extend(named(file, case, of_case).take(FROM_ONE));
            if all.len() >= FROM_ALL {
                all.truncate(FROM_ALL);
                return all;
            }
        }
    }
    all
}

fn named<'a>(
    file: &'a CaseFile,
    case: &'a Case,
    asked: Vec<Asked>,
) -> impl Iterator<Item = Asked> + use<'a> {
    let name = |asked: Asked| Asked {
        place: format!("{}: {}: {}", file.name, case.name, asked.place),
        ..asked
    };
    asked.into_iter().map(name)
}

/// `late` counts answers that did not come in time.
fn of_events(policy: &Policy, events: &Events, late: &mut usize) -> Vec<Asked> {
    let mut host = Host::new(policy.settings(), events);
    let mut all = Vec::new();
    for (number, step) in events.steps.iter().enumerate() {
        for again in 0..step.times {
            if *late >= PATIENCE || all.len() >= FROM_ONE {
                return all;
            }
            let event = host.prepare(step, again);
            let mut listening = Overheard::new(std::mem::take(&mut host.telemetry));
            let decision = policy.decide(&event, &host.context, &mut listening);
            let (telemetry, heard) = listening.finish();
            host.telemetry = telemetry;
            let after = Host::after(&event, &decision.verdict);
            let failure = decision.failure.as_ref();
            *late += usize::from(failure.is_some_and(PolicyFailure::depends_on_machine));
            all.push(Asked {
                place: place(number, again, step.times, &event),
                question: Question {
                    event,
                    context: host.context.clone(),
                    telemetry: Retold::new(heard.heard),
                },
                last_words: decision.last_words().to_owned(),
                failure: decision.failure,
            });
            host.carry_on(after);
        }
    }
    all
}

fn of_recording(policy: &Policy, case: &Case, path: &Path) -> Vec<Asked> {
    let mut all = Vec::new();
    let fed = feed_recording(policy, case, path, &mut |number, _, made| {
        for made in made {
            for (part, heard) in made.parts.into_iter().zip(made.heard) {
                all.push(Asked {
                    place: format!("event {number} of the recording ({})", called(&made.event)),
                    question: Question {
                        event: made.event.clone(),
                        context: part.context,
                        telemetry: Retold::new(heard.heard),
                    },
                    last_words: part.decision.last_words().to_owned(),
                    failure: part.decision.failure,
                });
            }
        }
        all.len() < FROM_ONE
    });
    // What was read before it broke off can be asked; that it broke off fails the case.
    drop(fed);
    all
}
