//! Whether a policy is the pure function that the contract asks for: the same question gets the
//! same answer, whatever was asked before.

use serde_json::Value;

use super::{Decision, Isolation, Policy, PolicyFailure, Telemetry, lend};
use crate::model::{Context, PolicyEvent};

/// Something to ask a policy.
#[derive(Debug, Clone)]
pub struct Question<T> {
    /// What happened.
    pub event: PolicyEvent,
    /// What the host remembers. Its settings must be those of the policy.
    pub context: Context,
    /// What the policy may read.
    pub telemetry: T,
}

/// A question whose answer depends on what was asked before.
#[derive(Debug, Clone, PartialEq)]
pub struct Impurity {
    /// The question, counted from 0.
    pub question: usize,
    /// How many questions the instance had answered before; 0 when a second new instance answered
    /// otherwise than the first.
    pub after: usize,
    /// The first place where the answers differ, as a JSON pointer into the [`Decision`].
    pub at: String,
    /// What an instance answered first that was asked nothing before.
    pub fresh: Decision,
    /// What this instance answered.
    pub again: Decision,
}

/// Asks every question in an instance of its own, then all of them of one and the same instance: in
/// their order, once more, and backwards; and at last, backwards, in an instance of its own again.
/// Returns the answers that differ; none for a policy that keeps nothing outside of its `memory`.
///
/// A failure that depends on the machine, such as a deadline, is compared with nothing, and its
/// question not asked again. After any failure the instance is a new one, as always.
pub fn check_purity<T: Telemetry + Default>(
    policy: &Policy,
    questions: &mut [Question<T>],
) -> Vec<Impurity> {
    let alone = policy.with_isolation(Isolation::Fresh);
    let answers: Vec<Decision> = questions
        .iter_mut()
        .map(|q| alone.decide(&q.event, &q.context, &mut q.telemetry))
        .collect();
    let together = policy.with_isolation(Isolation::Reused {
        recycle_after: u32::MAX,
    });
    let mut found = Vec::new();
    let mut compare = |number: usize, after: usize, again: &Decision| {
        let fresh = &answers[number];
        if let Some(at) = difference(fresh, again).filter(|_| !is_by_machine(again)) {
            found.push(Impurity {
                question: number,
                after,
                at,
                fresh: fresh.clone(),
                again: again.clone(),
            });
        }
    };
    let forwards: Vec<usize> = (0..questions.len())
        .filter(|number| !is_by_machine(&answers[*number]))
        .collect();
    let backwards = || forwards.iter().rev();
    let order = forwards.iter().chain(&forwards).chain(backwards());
    let mut after = 0;
    for &number in order {
        let Question {
            event,
            context,
            telemetry,
        } = &mut questions[number];
        // One instance for all targets: what it knows of one must not show for another.
        let again = lend(telemetry, |lent| {
            together.decide_in("", event, context, lent)
        });
        compare(number, after, &again);
        after = if again.failure.is_some() {
            0
        } else {
            after + 1
        };
    }
    for &number in backwards() {
        let q = &mut questions[number];
        let again = alone.decide(&q.event, &q.context, &mut q.telemetry);
        compare(number, 0, &again);
    }
    found
}

fn is_by_machine(decision: &Decision) -> bool {
    let failure = decision.failure.as_ref();
    failure.is_some_and(PolicyFailure::depends_on_machine)
}

/// Where two answers differ; what a policy logs is no part of its answer.
fn difference(one: &Decision, other: &Decision) -> Option<String> {
    let answer = |decision: &Decision| {
        let answer = (&decision.verdict, &decision.failure);
        // Serialises to maps and lists of text and finite numbers: cannot fail.
        serde_json::to_value(answer).unwrap_or_default()
    };
    let at = first_difference(&answer(one), &answer(other))?;
    Some(match at.strip_prefix("/0") {
        Some(rest) => format!("/verdict{rest}"),
        None => at.replacen("/1", "/failure", 1),
    })
}

fn first_difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            keys.filter(|key| one.get(*key) != other.get(*key))
                .map(|key| {
                    let (one, other) = (&one.get(key), &other.get(key));
                    let inside = one.zip(*other).and_then(|(a, b)| first_difference(a, b));
                    format!("/{key}{}", inside.unwrap_or_default())
                })
                .next()
        }
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other).enumerate();
            let inside =
                pairs.find_map(|(n, (a, b))| Some(format!("/{n}{}", first_difference(a, b)?)));
            let shorter = one.len().min(other.len());
            inside.or_else(|| (one.len() != other.len()).then(|| format!("/{shorter}")))
        }
        _ => (one != other).then(String::new),
    }
}
