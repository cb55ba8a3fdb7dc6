//! What people asked for and what came of it, in a line each.

use super::{alert_line, class_name};
use crate::model::utc;
use crate::pipeline::{Effect, Withheld};

/// The label and the text of such an effect; empty for any other.
pub(super) fn line(effect: &Effect) -> (&'static str, String) {
    match effect {
        Effect::AlertWithheld { alert, because, .. } => {
            let why = match because {
                Withheld::Acknowledged { by } if by.is_empty() => "acknowledged".to_owned(),
                Withheld::Acknowledged { by } => format!("acknowledged by {by}"),
                Withheld::Silence { id } => format!("silenced by {id}"),
                Withheld::Maintenance { window } => format!("in maintenance ({window})"),
            };
            let text = format!("withheld, {why}: {}", alert_line(alert));
            ("alert", text)
        }
        Effect::AcknowledgementEnded {
            incident,
            acknowledged,
            classification,
            ..
        } => {
            let text = format!(
                "{incident} got worse ({}) since it was acknowledged{acknowledged}: it is told again",
                class_name(*classification)
            );
            ("ack", text)
        }
        Effect::Silenced { silence } => {
            let text = format!(
                "{}: {} are withheld until {}",
                silence.id,
                silence.scope,
                utc(silence.ends_ms)
            );
            ("silence", text)
        }
        Effect::SilenceEnded { silence, removed } => {
            let how = match removed {
                Some(said) => format!("was removed{said}"),
                None => "is over".to_owned(),
            };
            let text = format!(
                "{} {how}: {}; {} were withheld",
                silence.id, silence.scope, silence.withheld
            );
            ("silence", text)
        }
        Effect::MaintenanceBegan { target, window } => {
            let repairs = if window.allow_repairs {
                "repairs are allowed"
            } else {
                "no repair begins"
            };
            let text = format!("{target}: {window}; {repairs}, alerts but those of crises wait");
            ("maintain", text)
        }
        Effect::MaintenanceEnded {
            target, withheld, ..
        } => {
            let text = format!("{target}: maintenance is over; {withheld} alerts were withheld");
            ("maintain", text)
        }
        _ => ("", String::new()),
    }
}
