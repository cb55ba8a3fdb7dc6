//! dbmedic's default policy: the rules of the specification for self-healing databases, their
//! numbers as parameters.
//!
//! One event goes through four steps, each in its own module: what it means (`judgement` and the
//! rule families behind it), which repair is tried (`repairs`), who must know (`escalation`),
//! and what people are told (`alerts`). The policy chooses no repair that it has no rule for,
//! and none on facts that are missing.

mod alerts;
mod constraints;
mod content;
mod damage;
mod escalation;
mod files;
mod judgement;
mod locks;
mod memory;
mod outcomes;
mod parameters;
mod repairs;
mod suggestions;
mod wal;

use dbmedic_policy::{Answer, Classification, Event, Policy, Reason, Situation, export_policy};

pub use memory::Memory;
pub use parameters::Parameters;

use judgement::Judgement;

/// An event, its context and the parameters in force.
type Case<'a> = Situation<'a, Parameters>;

/// The rules of the specification.
pub struct DefaultPolicy;

impl Policy for DefaultPolicy {
    type Parameters = Parameters;
    type Memory = Memory;
    const NAME: &'static str = "default";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Repairs what is safe to repair, watches what passes, calls a person for the rest.";

    fn decide(case: &Case<'_>, memory: &mut Memory) -> Result<Answer, Reason> {
        memory.up_to(case.now_ms());
        let mut judgement = match case.event {
            Event::Finding(finding) => {
                let mut judgement = judgement::judge(finding, case);
                repairs::settle(&mut judgement, finding, case);
                repairs::recurring(&mut judgement, finding, case, memory);
                judgement
            }
            Event::Outcome(outcome) => outcomes::judge(outcome, case, memory),
            Event::Tick => Judgement::quiet(),
        };
        let mut answer = Answer::at(case.context.level);
        alerts::tell(&judgement, case, memory, &mut answer);
        alerts::disk(&mut judgement, case);
        answer.level(escalation::settle(&mut judgement, case, memory));
        if let Some(class) = judgement.class {
            answer.classify(class);
        }
        if let Some(wish) = judgement.wish {
            answer.repair(wish.candidate, wish.confidence);
        }
        if judgement.class == Some(Classification::Crisis) {
            answer.halt();
        }
        for reason in judgement.reasons {
            answer.because(reason);
        }
        for suggestion in judgement.suggestions {
            answer.suggest(suggestion);
        }
        Ok(answer)
    }
}

export_policy!(DefaultPolicy);

#[cfg(test)]
mod tests;
