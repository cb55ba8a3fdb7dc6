//! A policy for people who do not program: its rules stand in its parameters.
//!
//! `configure` reads the document (`document`), checks every condition (`syntax`, `check`) and keeps the
//! checked tree (`compiled`) in the settings. A decision reads the rules from top to bottom, evaluates
//! the conditions of those that are about the event (`evaluate`), and puts together what they say
//! (`said`). See `docs/rules.md`.
//!
//! The conditions are read and evaluated here and not by the crate `cel`: its tree cannot be serialised, so
//! each decision, which has a fresh instance, would have to parse all rules anew. The tests hold both
//! against each other.

mod check;
mod compiled;
mod document;
mod evaluate;
mod expression;
mod memory;
mod record;
mod said;
mod scope;
mod settings;
mod syntax;
mod value;
pub mod vocabulary;

use std::borrow::Cow;

use dbmedic_policy::{
    Alert, Answer, Classification, Policy, Reason, Situation, export_policy, reason,
};

use compiled::{Body, Document, URGENCIES};
use expression::Template;
use record::{CLASSES, LEVELS, NONE};
use said::{Said, Wish};
use scope::Scope;
use value::Trouble;

pub use memory::Memory;
pub use settings::{DEFAULT_RULES, Rules};

/// Judges by the rules of its parameters.
pub struct RulesPolicy;

impl Policy for RulesPolicy {
    type Parameters = Rules;
    type Memory = Memory;
    const NAME: &'static str = "rules";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Judges by rules that stand in its parameters.";

    fn decide(situation: &Situation<'_, Rules>, memory: &mut Memory) -> Result<Answer, Reason> {
        let unreadable = || reason!("rules.unreadable", "the compiled rules cannot be read");
        let bytes = situation.parameters.bytes().ok_or_else(unreadable)?;
        let document = Document::read(&bytes).ok_or_else(unreadable)?;
        memory.up_to(situation.now_ms());
        let mut said = Said::default();
        let mut faults = Vec::new();
        for (number, head) in document.rules.iter().enumerate() {
            if !head.is_about(situation.event) {
                continue;
            }
            let body = head.body().ok_or_else(unreadable)?;
            let scope = Scope {
                event: situation.event,
                context: situation.context,
                memory,
                said: &said,
                rules: &document.rules,
                own: number,
            };
            let words = match speak(&body, &scope) {
                Ok(Some(words)) => words,
                Ok(None) | Err(Trouble::Missing) => continue,
                Err(Trouble::Wrong(what)) => {
                    faults.push(reason!("rules.fault", "rule {}: {what}", head.name));
                    continue;
                }
            };
            words.add_to(&mut said, &body, head.name);
            said.spoke.push(number);
            if head.remembered > 0 {
                let key = head.key(situation.event);
                memory.spoke(key, situation.now_ms(), usize::from(head.remembered));
            }
            if body.last {
                break;
            }
        }
        Ok(answer(said, faults, situation, memory, document.lowers))
    }
}

export_policy!(RulesPolicy);

/// What one rule says, with its values.
struct Words<'a> {
    class: Option<Classification>,
    level: Option<dbmedic_policy::EscalationLevel>,
    repair: Option<Cow<'a, str>>,
    reason: Option<String>,
    alert: Option<Alert>,
    suggestions: Vec<String>,
}

/// What a rule says at this event; none where its condition does not hold.
fn speak<'a>(body: &Body<'a>, scope: &Scope<'a, '_>) -> Result<Option<Words<'a>>, Trouble> {
    if let Some(when) = &body.when
        && !evaluate::holds(when, scope)?
    {
        return Ok(None);
    }
    let render = |template: &Template<'a>| evaluate::render(template, scope);
    let word = |template: &Option<Template<'a>>| template.as_ref().map(render).transpose();
    let text = |template: &Template<'a>| Ok(render(template)?.into_owned());
    let alert = match &body.alert {
        Some(alert) => Some(Alert {
            rule: alert.name.to_owned(),
            urgency: URGENCIES[usize::from(alert.urgency).min(URGENCIES.len() - 1)].1,
            message: text(&alert.message)?,
        }),
        None => None,
    };
    let suggestions: Result<_, Trouble> = body.suggest.iter().map(text).collect();
    Ok(Some(Words {
        class: named(
            word(&body.class)?,
            &CLASSES,
            "the class is none that there is",
        )?,
        level: named(
            word(&body.level)?,
            &LEVELS,
            "the level is none that there is",
        )?,
        repair: word(&body.repair)?,
        reason: body.reason.as_ref().map(text).transpose()?,
        alert,
        suggestions: suggestions?,
    }))
}

/// What a word names; nothing where it is `none`.
fn named<T: Copy>(
    word: Option<Cow<'_, str>>,
    known: &[(&str, T)],
    what: &'static str,
) -> Result<Option<T>, Trouble> {
    let Some(word) = word.filter(|word| *word != NONE) else {
        return Ok(None);
    };
    let found = known.iter().find(|(name, _)| *name == word);
    found
        .map(|(_, found)| Some(*found))
        .ok_or(Trouble::Wrong(what))
}

impl<'a> Words<'a> {
    fn add_to(self, said: &mut Said<'a>, body: &Body<'a>, rule: &'a str) {
        let class = self.class;
        let graver = class.is_some_and(|class| said.classify(class, rule));
        let by_class = self.class.map(|class| said::level_of(Some(class)));
        if let Some(level) = self.level.or(by_class) {
            said.call_for(level);
        }
        let lower = body.lower.and_then(|at| LEVELS.get(usize::from(at)));
        said.lower = said.lower.max(lower.map(|(_, level)| *level));
        match self.repair {
            Some(repair) if repair == NONE => said.forbids = true,
            Some(repair) if said.wish.is_none() => {
                said.wish = Some(Wish {
                    repair,
                    confidence: body.confidence,
                });
            }
            _ => {}
        }
        said.needs_approval |= body.needs_approval;
        said.halt |= body.halt || self.class == Some(Classification::Crisis);
        if let Some(text) = self.reason {
            // What made it graver weighs more than what stood there before.
            let at = if graver { 0 } else { said.reasons.len() };
            let rule = body.called.unwrap_or(rule).to_owned();
            said.reasons.insert(at, Reason { rule, text });
        }
        said.alerts.extend(self.alert);
        said.suggestions.extend(self.suggestions);
    }
}

/// The whole answer of what was said.
fn answer(
    mut said: Said<'_>,
    faults: Vec<Reason>,
    situation: &Situation<'_, Rules>,
    memory: &mut Memory,
    lowers: bool,
) -> Answer {
    let mut answer = Answer::at(situation.context.level);
    said.judge_the_rest(situation);
    let wish = said.choose(situation);
    memory.called(said.called(), situation.now_ms());
    answer.level(said.settle(situation, lowers));
    if let Some(class) = said.class {
        answer.classify(class);
    }
    if let Some(wish) = wish {
        answer.repair(&wish.repair, wish.confidence);
        if said.needs_approval {
            answer.needs_approval();
        }
    }
    if said.halt {
        answer.halt();
    }
    for reason in said.reasons.into_iter().chain(faults) {
        answer.because(reason);
    }
    for alert in said.alerts {
        answer.alert(&alert.rule, alert.urgency, alert.message);
    }
    for suggestion in &said.suggestions {
        answer.suggest(suggestion);
    }
    answer
}

#[cfg(test)]
mod tests;
