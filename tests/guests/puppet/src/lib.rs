//! A policy that answers whatever its memory says, as postcard bytes: so arbitrary verdicts pass
//! through a real component. Written straight on the contract: the SDK would only make good ones.

#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/"
)]
mod contract {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "policy",
        generate_all,
        additional_derives: [serde::Deserialize],
    });
}

use contract::dbmedic::policy::situation::{Context, Event};
use contract::dbmedic::policy::verdicts::{Reason, Verdict};
use contract::exports::dbmedic::policy::decision::{Description, Guest, Setting, SettingError};

struct Puppet;

impl Guest for Puppet {
    fn describe() -> Description {
        Description {
            name: "puppet".into(),
            version: "0.1.0".into(),
            summary: "Answers what its memory says.".into(),
            parameters: Vec::new(),
        }
    }

    fn configure(_settings: Vec<Setting>) -> Result<Vec<u8>, Vec<SettingError>> {
        Ok(Vec::new())
    }

    fn decide(_event: Event, context: Context) -> Result<Verdict, Reason> {
        postcard::from_bytes(&context.memory).map_err(|error| Reason {
            rule: "puppet.unreadable".into(),
            text: error.to_string(),
        })
    }
}

contract::export!(Puppet with_types_in contract);
