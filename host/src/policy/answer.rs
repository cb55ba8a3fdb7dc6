//! Checks what a policy answers before anybody believes it. The bounds stand in the contract and
//! in [`super::limits`].
//!
//! Text that people read is made printable, never refused: a policy may quote what a database
//! said. What machines compare must be right as it is.

use super::{
    ITEMS, MEMORY_BYTES, PolicyFailure, RULE_BYTES, SETTING_TEXT_BYTES, SETTINGS_BYTES, TEXT_BYTES,
};
use crate::model::{
    Description, Parameter, PolicyEvent, Reason, Setting, SettingError, Value, Verdict,
};

/// Whole numbers stay below this in magnitude, so that every language keeps them whole: 2^53.
const WHOLE: u64 = 1 << 53;
/// Most items of a list.
const LIST_ITEMS: usize = 256;

/// A verdict, or why it does not count.
pub(super) fn believe(
    answer: Result<Verdict, Reason>,
    event: &PolicyEvent,
) -> Result<Verdict, PolicyFailure> {
    match answer {
        Ok(mut verdict) => {
            check_choice(&verdict, event)?;
            check_verdict(&mut verdict, event).map_err(malformed)?;
            Ok(verdict)
        }
        Err(mut own) => {
            check_reason(&mut own, "refusal").map_err(malformed)?;
            Err(PolicyFailure::Refused(own))
        }
    }
}

fn malformed(what: String) -> PolicyFailure {
    PolicyFailure::MalformedAnswer { what }
}

/// The answer names a candidate that the host offered, or no repair.
fn check_choice(verdict: &Verdict, event: &PolicyEvent) -> Result<(), PolicyFailure> {
    let Some(id) = &verdict.repair else {
        return Ok(());
    };
    let offered = match event {
        PolicyEvent::Finding(finding) => &finding.candidates[..],
        PolicyEvent::Outcome(_) | PolicyEvent::Tick => &[],
    };
    if offered.iter().any(|candidate| candidate.id == *id) {
        Ok(())
    } else {
        Err(PolicyFailure::UnknownCandidate {
            id: cut(id.clone(), RULE_BYTES),
        })
    }
}

fn check_verdict(verdict: &mut Verdict, event: &PolicyEvent) -> Result<(), String> {
    if !(0.0..=1.0).contains(&verdict.confidence) {
        return Err(format!(
            "`confidence` is {}; it must lie between 0 and 1",
            verdict.confidence
        ));
    }
    if let PolicyEvent::Finding(_) = event {
        if verdict.classification.is_none() {
            return Err("`classification` is none; a finding needs one".into());
        }
        if verdict.reasons.is_empty() {
            return Err("`reasons` is empty; a finding needs one".into());
        }
    }
    check_bytes("memory", &verdict.memory, MEMORY_BYTES)?;
    check_items("alerts", &verdict.alerts)?;
    check_items("reasons", &verdict.reasons)?;
    check_items("suggestions", &verdict.suggestions)?;
    for alert in &mut verdict.alerts {
        check_rule(&alert.rule, "alerts.rule")?;
        check_text(&mut alert.message, "alerts.message")?;
    }
    for reason in &mut verdict.reasons {
        check_reason(reason, "reasons")?;
    }
    for suggestion in &mut verdict.suggestions {
        check_text(suggestion, "suggestions")?;
    }
    Ok(())
}

fn check_reason(reason: &mut Reason, field: &str) -> Result<(), String> {
    check_rule(&reason.rule, &format!("{field}.rule"))?;
    check_text(&mut reason.text, &format!("{field}.text"))
}

fn check_items<T>(field: &str, items: &[T]) -> Result<(), String> {
    if items.len() > ITEMS {
        return Err(format!(
            "`{field}` holds {} items; {ITEMS} are the most",
            items.len()
        ));
    }
    Ok(())
}

fn check_bytes(field: &str, bytes: &[u8], most: usize) -> Result<(), String> {
    if bytes.len() > most {
        return Err(format!(
            "`{field}` holds {} bytes; {most} are the most",
            bytes.len()
        ));
    }
    Ok(())
}

fn check_text(text: &mut String, field: &str) -> Result<(), String> {
    check_bytes(field, text.as_bytes(), TEXT_BYTES)?;
    if text.contains(unprintable) {
        *text = printable(text);
    }
    Ok(())
}

fn check_rule(name: &str, field: &str) -> Result<(), String> {
    check_bytes(field, name.as_bytes(), RULE_BYTES)?;
    if name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(format!("`{field}` is {name:?}; it must be one word"));
    }
    Ok(())
}

/// Control characters steer a terminal; line breaks and tabs do no harm.
fn unprintable(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

fn printable(text: &str) -> String {
    text.replace(unprintable, "\u{fffd}")
}

/// Printable and `most` bytes at most, cut between two characters.
pub(super) fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    if text.contains(unprintable) {
        text = printable(&text);
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

/// What `describe` says, made printable, or what is wrong with it.
pub(super) fn check_description(description: &mut Description) -> Result<(), String> {
    check_rule(&description.name, "name")?;
    check_rule(&description.version, "version")?;
    check_text(&mut description.summary, "summary")?;
    // More than a list of an answer: an operator's whole page of settings.
    let most = 4 * ITEMS;
    if description.parameters.len() > most {
        return Err(format!("`parameters` holds more than {most} items"));
    }
    let mut names = std::collections::BTreeSet::new();
    for parameter in &mut description.parameters {
        check_parameter(parameter)?;
        if !names.insert(parameter.name.as_str()) {
            return Err(format!("parameter `{}` stands there twice", parameter.name));
        }
    }
    Ok(())
}

fn check_parameter(parameter: &mut Parameter) -> Result<(), String> {
    check_rule(&parameter.name, "parameters.name")?;
    check_text(&mut parameter.summary, "parameters.summary")?;
    let name = &parameter.name;
    check_value(&parameter.default)
        .map_err(|what| format!("parameter `{name}`: its default {what}"))?;
    let least = parameter.minimum.unwrap_or(f64::MIN);
    let most = parameter.maximum.unwrap_or(f64::MAX);
    if !least.is_finite() || !most.is_finite() || least > most {
        return Err(format!(
            "parameter `{name}`: no number lies between its bounds"
        ));
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "check_value holds it below 2^53, where every integer is exact"
    )]
    let default = match parameter.default {
        Value::Integer(whole) => whole as f64,
        Value::Number(number) => number,
        Value::Boolean(_) | Value::Text(_) | Value::Integers(_) | Value::Texts(_) => return Ok(()),
    };
    if !(least..=most).contains(&default) {
        return Err(format!(
            "parameter `{name}`: its default lies outside of its bounds"
        ));
    }
    Ok(())
}

/// The rules of the contract that hold for every value.
fn check_value(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Number(number) if !number.is_finite() => Err("must be a finite number"),
        Value::Integer(whole) if whole.unsigned_abs() >= WHOLE => Err("must lie below 2^53"),
        Value::Text(text) if text.len() > TEXT_BYTES => Err("must be 4 KiB of text at most"),
        Value::Integers(all) if all.len() > LIST_ITEMS => {
            Err("must be a list of 256 numbers at most")
        }
        Value::Integers(all) if all.iter().any(|whole| whole.unsigned_abs() >= WHOLE) => {
            Err("must be numbers below 2^53")
        }
        Value::Texts(all) if all.len() > LIST_ITEMS => Err("must be a list of 256 texts at most"),
        Value::Texts(all) if all.iter().map(String::len).sum::<usize>() > TEXT_BYTES => {
            Err("must be 4 KiB of text at most")
        }
        Value::Boolean(_)
        | Value::Integer(_)
        | Value::Number(_)
        | Value::Text(_)
        | Value::Integers(_)
        | Value::Texts(_) => Ok(()),
    }
}

/// What the contract promises a policy about its settings; their meaning is the policy's.
pub(super) fn check_settings(settings: &[Setting]) -> Vec<SettingError> {
    let mut errors = Vec::new();
    for (at, Setting { name, value }) in settings.iter().enumerate() {
        let twice = settings[..at].iter().any(|earlier| earlier.name == *name);
        let found = match value {
            Value::Text(text) if text.len() > SETTING_TEXT_BYTES => {
                Some("must be 128 KiB of text at most")
            }
            Value::Text(_) => None,
            other => check_value(other).err(),
        };
        if let Some(message) = found.or(twice.then_some("stands there twice")) {
            errors.push(SettingError {
                name: name.clone(),
                message: message.into(),
            });
        }
    }
    errors
}

/// What `configure` answered: the packed settings, or the policy's errors within bounds.
pub(super) fn check_configured(
    answer: Result<Vec<u8>, Vec<SettingError>>,
) -> Result<Vec<u8>, super::LoadError> {
    match answer {
        Ok(packed) => match check_bytes("settings", &packed, SETTINGS_BYTES) {
            Ok(()) => Ok(packed),
            Err(what) => Err(super::LoadError::MalformedSettings { what }),
        },
        Err(errors) if errors.is_empty() => Err(super::LoadError::MalformedSettings {
            what: "it refuses them and names no error".into(),
        }),
        Err(errors) => Err(super::LoadError::Settings(
            errors
                .into_iter()
                .take(ITEMS)
                .map(|error| SettingError {
                    name: cut(error.name, RULE_BYTES),
                    message: cut(error.message, TEXT_BYTES),
                })
                .collect(),
        )),
    }
}
