//! `policy test --capture`: an incident becomes a case.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::load;
use crate::cli::{Ended, StateArgs, complain, say};
use crate::decision_log::{self, newest_begin};
use crate::model::Setting;
use crate::policy::Policy;
use crate::policy_tests::capture::{CaptureError, Happened, capture, from_recording, incident_of};
use crate::policy_tests::{self, CaseFile, FILE_BYTES, write};

/// What is captured, and from where.
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// Write a case of what happened in this incident
    #[arg(long = "capture", id = "capture", value_name = "INC-3")]
    incident: Option<String>,
    /// Take it from a recording
    #[arg(long, value_name = "REC", requires = "capture", conflicts_with = "log")]
    recording: Option<PathBuf>,
    /// Take it from a decision log (default: the one in the state directory)
    #[arg(long, value_name = "LOG", requires = "capture")]
    log: Option<PathBuf>,
    #[command(flatten)]
    state: StateArgs,
    /// The file to write (default: standard output); an existing one is not overwritten
    #[arg(short, long, value_name = "FILE", requires = "capture")]
    output: Option<PathBuf>,
}

impl CaptureArgs {
    pub(super) fn incident(&self) -> Option<&str> {
        self.incident.as_deref()
    }
}

pub(super) fn run(args: &CaptureArgs, path: &Path) -> Ended {
    let Some(incident) = args.incident() else {
        bail!("name an incident");
    };
    let (policy, _) = load(path)?;
    let (happened, settings) = if let Some(recording) = &args.recording {
        from_recording(recording, incident, &policy)?
    } else {
        let log = match &args.log {
            Some(log) => log.clone(),
            None => args.state.existing()?.join("decisions"),
        };
        from_log(&log, incident)?
    };
    let parameters = known(&policy, settings);
    let name = format!("{incident}: {}", subject_of(&happened));
    let mut case = capture(&name, incident, parameters, &happened)?;
    let mut text = write::file(std::slice::from_ref(&case));
    if text.len() > FILE_BYTES {
        case.forget_metrics();
        text = write::file(std::slice::from_ref(&case));
        complain(
            "with all metrics it would be larger than a file of cases may be; they are left out",
        );
    }
    if text.len() > FILE_BYTES {
        bail!(
            "{incident} would be a case of {} bytes, more than is read; make the recording itself a case, \
             with `recording = \"FILE\"`",
            text.len()
        );
    }
    match &args.output {
        Some(file) => {
            super::super::write_new(file, text.as_bytes(), 0o644)?;
            complain(&format!("wrote {}", file.display()));
        }
        None => text.lines().try_for_each(say)?,
    }
    let file = policy_tests::parse(&text, "the case", None)
        .context("the case that was written cannot be read; this is a mistake in dbmedic")?;
    tell_whether_it_passes(&policy, file);
    Ok(ExitCode::SUCCESS)
}

/// A policy may answer otherwise than the one that answered then.
fn tell_whether_it_passes(policy: &Policy, file: CaseFile) {
    let report = policy_tests::run(policy, &[file], None);
    let decisions = report.cases.first().map_or(0, |case| case.decisions);
    let called = format!("{} {}", policy.name(), policy.version());
    match report.failure() {
        None => complain(&format!(
            "{decisions} decisions; {called} answers as it was answered"
        )),
        Some(failure) => complain(&format!("{called} answers otherwise: {failure}")),
    }
}

/// The parameters that a policy knows; of the others is told.
fn known(policy: &Policy, settings: Vec<Setting>) -> Vec<Setting> {
    let parameters = &policy.description().parameters;
    let (known, unknown): (Vec<_>, Vec<_>) = settings
        .into_iter()
        .partition(|setting| parameters.iter().any(|known| known.name == setting.name));
    for setting in unknown {
        complain(&format!(
            "{} has no parameter `{}`; it is left out",
            policy.name(),
            setting.name
        ));
    }
    known
}

fn subject_of(happened: &[Happened]) -> String {
    let first = happened.iter().find_map(|happened| match &happened.event {
        crate::model::PolicyEvent::Finding(finding) => {
            Some(format!("{} on {}", finding.kind, finding.subject))
        }
        _ => None,
    });
    first.unwrap_or_else(|| "what happened".to_owned())
}

/// The decisions of a log on the target of an incident while it lasted, and the parameters in force.
fn from_log(log: &Path, incident: &str) -> anyhow::Result<(Vec<Happened>, Vec<Setting>)> {
    let begin = newest_begin(log)?;
    let (mut seen, mut span) = (Vec::new(), None::<Span>);
    decision_log::decisions(log, &mut |decided| {
        let Some(id) = incident_of(&decided.event) else {
            return;
        };
        if id == incident {
            let last_ms = decided.at_ms;
            match &mut span {
                Some(span) => span.last_ms = last_ms,
                None => {
                    span = Some(Span {
                        target: decided.target.into_owned(),
                        policy: decided.policy.into_owned(),
                        first_ms: last_ms,
                        last_ms,
                    });
                }
            }
        } else if !seen.iter().any(|known| known == id) {
            seen.push(id.to_owned());
        }
    })?;
    let Some(span) = span else {
        return Err(CaptureError::Unknown {
            incident: incident.to_owned(),
            place: log.display().to_string(),
            known: seen,
        }
        .into());
    };
    let mut all = Vec::new();
    let mut cut = 0_u64;
    decision_log::decisions(log, &mut |decided| {
        let lasts = (span.first_ms..=span.last_ms).contains(&decided.at_ms);
        if !lasts || decided.target != span.target || decided.policy != span.policy {
            return;
        }
        let answer: Result<decision_log::Answer<'_>, _> =
            serde_json::from_str(decided.answer.get());
        let Ok(answer) = answer else {
            return;
        };
        cut += u64::from(decided.telemetry_cut);
        all.push(Happened {
            event: decided.event.into_owned(),
            context: decided.context.into_owned(),
            heard: decided.telemetry,
            verdict: answer.verdict.into_owned(),
        });
    })?;
    if cut > 0 {
        complain(&format!(
            "{cut} decisions read more telemetry than the log holds; the case has what is there"
        ));
    }
    let settings = begin.parameters.get(&span.policy).cloned();
    Ok((all, settings.unwrap_or_default()))
}

/// Whose decisions, and when.
struct Span {
    target: String,
    policy: String,
    first_ms: u64,
    last_ms: u64,
}
