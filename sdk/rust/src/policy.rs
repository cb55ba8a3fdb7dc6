//! The trait that an author implements, and how the contract's three functions follow from it.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Answer, Classification, Context, Description, Event, Parameters, Reason, Setting, SettingError,
    Situation, Verdict,
    blob::{self, Unreadable},
    escalation,
    generated::exports::dbmedic::policy::decision::Guest,
    parameters, reason,
};

/// A policy: three questions about every event, and what it wants to remember.
///
/// All functions are pure: what they may know stands in their arguments or is answered by
/// [`telemetry`](crate::telemetry). An author overrides one question, all three, or
/// [`decide`](Policy::decide) as a whole.
pub trait Policy {
    /// What the operator may set; see [`parameters!`](crate::parameters!).
    type Parameters: Parameters;

    /// What is carried from one event to the next of the same target; 16 KiB packed at most. It is
    /// this policy's own, and that of its later versions by the same key; no other policy sees it.
    /// Bytes that cannot be read are forgotten, and it begins with its default.
    type Memory: Serialize + DeserializeOwned + Default;

    /// Stable name in kebab-case.
    const NAME: &'static str;

    /// Its version, semver.
    const VERSION: &'static str;

    /// One line for a person.
    const SUMMARY: &'static str;

    /// Raise it when the layout of `Memory` or `Parameters` changes: bytes of another layout are
    /// then recognised instead of misread.
    const LAYOUT: u8 = 1;

    /// The first question: what does the problem mean? By itself, a wall: what nobody has judged
    /// needs a person.
    fn classify(
        situation: &Situation<'_, Self::Parameters>,
        memory: &mut Self::Memory,
        answer: &mut Answer,
    ) {
        let _ = memory;
        not_judged(situation, answer);
    }

    /// The second question: which of the offered repairs is to be tried? By itself, none.
    fn choose(
        situation: &Situation<'_, Self::Parameters>,
        memory: &mut Self::Memory,
        answer: &mut Answer,
    ) {
        let _ = (situation, memory, answer);
    }

    /// The third question: who must know? By itself, the level rises with the class, a crisis halts, and a
    /// level without a cause returns step by step; see [`escalation`].
    fn escalate(
        situation: &Situation<'_, Self::Parameters>,
        memory: &mut Self::Memory,
        answer: &mut Answer,
    ) {
        let _ = memory;
        escalation::rise(answer);
        escalation::come_down(situation, answer, escalation::RETURN_MS);
    }

    /// The whole answer; by itself the three questions in the order in which they need each other.
    ///
    /// # Errors
    ///
    /// A reason why the policy cannot judge; the host then decides cautiously.
    fn decide(
        situation: &Situation<'_, Self::Parameters>,
        memory: &mut Self::Memory,
    ) -> Result<Answer, Reason> {
        let mut answer = Answer::at(situation.context.level);
        Self::classify(situation, memory, &mut answer);
        Self::choose(situation, memory, &mut answer);
        Self::escalate(situation, memory, &mut answer);
        Ok(answer)
    }
}

/// What [`Policy::classify`] does by itself: a finding is a wall, because nobody has judged it.
pub fn not_judged<P>(situation: &Situation<'_, P>, answer: &mut Answer) {
    if let Some(finding) = situation.finding() {
        answer.classify(Classification::Wall).because(reason!(
            "policy.not-judged",
            "this policy has no rule for {}",
            finding.kind
        ));
    }
}

/// Says who the policy is and what can be set.
pub fn describe<P: Policy>() -> Description {
    Description {
        name: P::NAME.into(),
        version: P::VERSION.into(),
        summary: P::SUMMARY.into(),
        parameters: P::Parameters::schema(),
    }
}

/// Checks the settings and packs them.
///
/// # Errors
///
/// Everything that is wrong with them, at once.
pub fn configure<P: Policy>(settings: &[Setting]) -> Result<Vec<u8>, Vec<SettingError>> {
    let parameters: P::Parameters = parameters::from_settings(settings)?;
    blob::pack(P::NAME, P::LAYOUT, &parameters).ok_or_else(|| {
        vec![SettingError {
            name: String::new(),
            message: format!("all settings together exceed {} bytes", blob::LIMIT_BYTES),
        }]
    })
}

/// Judges one event: unpacks settings and memory, asks the policy, packs its memory.
///
/// Settings that cannot be read are a refusal: to judge by other numbers than the operator's would
/// be worse than not to judge. A memory that cannot be read is forgotten, with a reason that says so.
///
/// # Errors
///
/// The policy's refusal, or that the settings cannot be read.
pub fn decide<P: Policy>(event: &Event, context: &Context) -> Result<Verdict, Reason> {
    let parameters: P::Parameters =
        blob::unpack(P::NAME, P::LAYOUT, &context.settings).map_err(|why| {
            reason!(
                "settings.unreadable",
                "the settings cannot be read: {}; have `configure` pack them again",
                why.text()
            )
        })?;
    let (mut memory, forgotten) = match blob::unpack(P::NAME, P::LAYOUT, &context.memory) {
        Ok(memory) => (memory, None),
        Err(Unreadable::Empty) => (P::Memory::default(), None),
        Err(why) => (P::Memory::default(), Some(why)),
    };
    let situation = Situation {
        event,
        context,
        parameters: &parameters,
    };
    let mut answer = P::decide(&situation, &mut memory)?;
    // Said in the answer, not in the log: a policy that writes no log then needs no import, and
    // its instances are made of one module instead of three.
    if let Some(why) = forgotten {
        answer.because(reason!(
            "memory.unreadable",
            "what was remembered could not be read, and is begun anew: {}",
            why.text()
        ));
    }
    Ok(answer.finish(blob::pack(P::NAME, P::LAYOUT, &memory)))
}

/// Has a panic say what and where in the policy's log, before the component breaks off.
///
/// The feature `panic-log` asks for it. A policy without it, and without notes of its own, imports no
/// log; its instances are then made of one module instead of three.
fn tell_panics() {
    #[cfg(all(target_arch = "wasm32", feature = "panic-log"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| crate::log::panicked(panic))));
    }
}

impl<P: Policy> Guest for P {
    fn describe() -> Description {
        tell_panics();
        describe::<P>()
    }

    fn configure(settings: Vec<Setting>) -> Result<Vec<u8>, Vec<SettingError>> {
        tell_panics();
        configure::<P>(&settings)
    }

    fn decide(event: Event, context: Context) -> Result<Verdict, Reason> {
        tell_panics();
        decide::<P>(&event, &context)
    }
}

#[cfg(test)]
mod tests;
