//! `replay`: a recording through the same pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{Ended, PolicyArgs, complain, say, say_json};
use crate::assemble::{DEFAULT_POLICY as DEFAULT_COMPONENT, RULES_POLICY, merge_settings};
use crate::decision_log::patient;
use crate::gate;
use crate::model::Setting;
use crate::pipeline::{Effect, Event, Policies};
use crate::policy::{Limits, Policy, PolicyIdentity, Runtime};
use crate::recording::RecordingReader;
use crate::replay::replay;
use crate::report::Narrator;
use crate::signing::Verified;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording
    recording: PathBuf,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Where policies are that came into service, by their digests: the state directory of the run
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one line of JSON for each event that had effects
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    effects: &'a [Effect],
}

/// Where the components of a replay come from.
struct Components {
    kept: Option<gate::Components>,
    /// The one that was named.
    file: Option<Verified>,
}

impl Components {
    /// The component with this digest; none when it is not at hand.
    fn find(&self, digest: &str) -> anyhow::Result<Option<Verified>> {
        for built_in in [DEFAULT_COMPONENT, RULES_POLICY] {
            let built_in = Verified::built_in(built_in);
            if built_in.digest() == digest {
                return Ok(Some(built_in));
            }
        }
        if let Some(file) = self.file.as_ref().filter(|file| file.digest() == digest) {
            return Ok(Some(file.clone()));
        }
        let Some(store) = &self.kept else {
            return Ok(None);
        };
        // A replay decides about no database: nobody has to vouch for what was in service once.
        let kept = store.read_component(digest)?;
        Ok(kept.map(Verified::unsigned_hashed))
    }

    /// The policy that a recording speaks of.
    fn recorded(
        &self,
        name: &str,
        runtime: &Runtime,
        identity: &PolicyIdentity,
        settings: &[Setting],
    ) -> anyhow::Result<Policy> {
        let component = self.find(&identity.digest)?.with_context(|| {
            format!(
                "policy `{name}` was {} {} (SHA-256 {}), which is not at hand; name the state \
                 directory that has it with --state-dir",
                identity.name, identity.version, identity.digest
            )
        })?;
        Ok(runtime.load(&component, settings)?)
    }
}

pub(crate) fn run(args: &ReplayArgs) -> Ended {
    let recording = RecordingReader::open(&args.recording)?;
    let header = recording.header().clone();
    let settings = merge_settings(header.settings.clone(), &args.policy.set)?;
    let file = match &args.policy.policy {
        Some(path) => Some(Verified::unsigned(super::policy::read(path)?)),
        None => None,
    };
    let components = Components {
        kept: args
            .state_dir
            .as_deref()
            .map(gate::Components::at)
            .transpose()?,
        file,
    };
    // What was named decides; else what was recorded, where it is at hand; else the built-in one.
    let component = match &components.file {
        Some(file) => file.clone(),
        None => components
            .find(&header.policy.digest)?
            .unwrap_or_else(|| Verified::built_in(DEFAULT_COMPONENT)),
    };
    let start = |limits: Limits| Runtime::new(limits).context("starting the policy runtime");
    // What was cut off by the clock is in the recording; on a busy machine nothing else may be.
    let runtime = start(if component.digest() == header.policy.digest {
        patient(&header.limits)
    } else {
        header.limits.clone()
    })?;
    let policy = runtime
        .load(&component, &settings)
        .context("loading the policy")?;
    let same_policy = policy.digest() == header.policy.digest && settings == header.settings;
    if !same_policy {
        complain(&format!(
            "replaying with {} {}; recorded was {} {}",
            policy.name(),
            policy.version(),
            header.policy.name,
            header.policy.version
        ));
    }
    let (mut named, mut runtimes) = (BTreeMap::new(), BTreeMap::new());
    for (name, recorded) in &header.named {
        if let Some(limits) = &recorded.limits {
            runtimes.insert(name.as_str(), start(patient(limits))?);
        }
        let runtime = runtimes.get(name.as_str()).unwrap_or(&runtime);
        let (identity, settings) = (&recorded.identity, &recorded.settings);
        let policy = components.recorded(name, runtime, identity, settings)?;
        named.insert(name.clone(), policy);
    }
    let other_component = policy.digest() != header.policy.digest;
    let came_into_service = |name: &str, to: &PolicyIdentity| {
        let settings = match header.named.get(name) {
            Some(named) => &named.settings,
            // Another policy than the recorded one decides to the end.
            None if other_component => return Ok(None),
            None => &settings,
        };
        let runtime = runtimes.get(name).unwrap_or(&runtime);
        components.recorded(name, runtime, to, settings).map(Some)
    };
    let mut narrator = Narrator::default();
    let policies = Policies::new(policy, named);
    let summary = replay(
        recording,
        policies,
        came_into_service,
        |event: &Event, effects: &[Effect]| {
            let at_ms = event.at_ms();
            if args.json {
                if !effects.is_empty() {
                    say_json(&Line { at_ms, effects })?;
                }
                return Ok(());
            }
            for effect in effects {
                for line in narrator.tell(at_ms, effect) {
                    say(&line)?;
                }
            }
            anyhow::Ok(())
        },
    )?;
    complain(&format!(
        "{} events, {} decisions",
        summary.events, summary.decisions
    ));
    let Some(first) = summary.first_difference else {
        complain("every effect is as recorded, byte for byte");
        return Ok(ExitCode::SUCCESS);
    };
    complain(&format!(
        "{} events had other effects than recorded, the first is event {first}",
        summary.differing_events
    ));
    Ok(if same_policy {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
