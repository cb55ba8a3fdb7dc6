//! What `policy check` says of a policy and a memory that is not its own.

use serde::Serialize;

use super::TOLD;
use crate::cli::say;
use crate::policy::{Policy, Question, Retold, check_memory};

/// Whether a policy copes with a memory that is not its own.
#[derive(Debug, Serialize)]
pub(super) struct MemoryReport {
    /// Events that were asked, each with foreign bytes and with its own, damaged.
    pub(super) events: usize,
    /// Where it fails, or judges otherwise than with an empty memory.
    pub(super) faults: Vec<Fault>,
}

/// An event at which it does not cope, with the first memory of that kind.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    /// Which event, in a few words.
    event: String,
    /// The memory that it was asked with.
    memory: String,
    /// What came of it.
    what: String,
}

impl MemoryReport {
    /// Asks every question with memories that are not the policy's own.
    pub(super) fn of(
        policy: &Policy,
        places: &[String],
        questions: &mut [Question<Retold>],
    ) -> Self {
        let events = questions.len();
        let mut found = check_memory(policy, questions);
        // Of each event the first: the others say the same again.
        found.dedup_by_key(|fault| fault.question);
        let faults = found.into_iter().map(|fault| Fault {
            event: places[fault.question].clone(),
            memory: fault.memory.to_string(),
            what: fault.what.to_string(),
        });
        Self {
            events,
            faults: faults.collect(),
        }
    }

    /// A line, and one for each of the first faults.
    pub(super) fn tell(&self) -> std::io::Result<()> {
        let Self { events, faults } = self;
        if faults.is_empty() {
            return say(&format!(
                "ok     memory      {events} events, each with foreign and with damaged bytes in `memory`"
            ));
        }
        say(&format!(
            "FAILED memory      at {} of {events} events it does not cope with bytes in `memory` that \
             are not its own",
            faults.len()
        ))?;
        for Fault {
            event,
            memory,
            what,
        } in faults.iter().take(TOLD)
        {
            say(&format!("       {event}: with {memory}: {what}"))?;
        }
        let more = faults.len().saturating_sub(TOLD);
        if more > 0 {
            say(&format!("       and {more} more"))?;
        }
        Ok(())
    }
}
