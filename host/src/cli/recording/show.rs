//! `recording show`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::ShowArgs;
use crate::cli::{Ended, complain, say, say_json};
use crate::model::utc;
use crate::policy::PolicyIdentity;
use crate::recording::{Recorded, RecordingReader, incident_spans_until};

/// What is in a recording.
#[derive(Debug, Serialize)]
struct Shown {
    v: u32,
    dbmedic: String,
    policy: PolicyIdentity,
    targets: BTreeMap<String, String>,
    from_ms: u64,
    until_ms: u64,
    events: u64,
    /// Events by their kind.
    kinds: BTreeMap<String, u64>,
    incidents: BTreeMap<String, Lasted>,
    /// What is wrong behind the last event, where it is damaged.
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct Lasted {
    target: String,
    from_ms: u64,
    until_ms: Option<u64>,
}

pub(super) fn run(args: &ShowArgs) -> Ended {
    let mut reader = RecordingReader::open(&args.recording)?;
    let header = reader.header();
    let targets = header.options.targets.iter();
    let mut shown = Shown {
        v: 1,
        dbmedic: header.dbmedic.clone(),
        policy: header.policy.clone(),
        targets: targets
            .map(|(name, target)| (name.clone(), target.kind.clone()))
            .collect(),
        from_ms: header.started_ms,
        until_ms: header.started_ms,
        events: 0,
        kinds: BTreeMap::new(),
        incidents: BTreeMap::new(),
        damage: None,
    };
    let (spans, damage) = incident_spans_until(&mut reader, &mut |recorded| {
        shown.events += 1;
        shown.until_ms = shown.until_ms.max(recorded.event.at_ms());
        *shown.kinds.entry(kind(recorded)).or_default() += 1;
    });
    shown.damage = damage.map(|damage| damage.to_string());
    let spans = spans.into_iter().map(|(incident, span)| {
        let lasted = Lasted {
            target: span.target,
            from_ms: span.from_ms,
            until_ms: span.until_ms,
        };
        (incident, lasted)
    });
    shown.incidents = spans.collect();
    if args.json {
        say_json(&shown)?;
    } else {
        tell(&shown)?;
    }
    if let Some(damage) = &shown.damage {
        complain(&format!("damaged: {damage}"));
    }
    Ok(if shown.damage.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// An event's kind, as it stands in the recording.
fn kind(recorded: &Recorded) -> String {
    let value = serde_json::to_value(&recorded.event).unwrap_or_default();
    match value {
        serde_json::Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
        serde_json::Value::String(name) => name,
        _ => String::new(),
    }
}

fn tell(shown: &Shown) -> std::io::Result<()> {
    let PolicyIdentity {
        name,
        version,
        digest,
    } = &shown.policy;
    say(&format!("dbmedic    {}", shown.dbmedic))?;
    say(&format!(
        "policy     {name} {version} ({})",
        &digest[..digest.len().min(12)]
    ))?;
    for (target, kind) in &shown.targets {
        say(&format!("target     {target} ({kind})"))?;
    }
    say(&format!(
        "time       {} to {}",
        utc(shown.from_ms),
        utc(shown.until_ms)
    ))?;
    let kinds = shown
        .kinds
        .iter()
        .map(|(kind, times)| format!("{kind} {times}"));
    let kinds: Vec<String> = kinds.collect();
    say(&format!(
        "events     {}: {}",
        shown.events,
        kinds.join(", ")
    ))?;
    for (incident, lasted) in &shown.incidents {
        let since_begin = |at_ms: u64| at_ms.saturating_sub(shown.from_ms) / 1_000;
        let until = lasted.until_ms.map_or("to the end".to_owned(), |until| {
            format!("until {} s", since_begin(until))
        });
        say(&format!(
            "incident   {incident} on {}, from {} s {until}",
            lasted.target,
            since_begin(lasted.from_ms)
        ))?;
    }
    Ok(())
}
