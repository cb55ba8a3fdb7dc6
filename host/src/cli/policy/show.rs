//! The status of a policy, for a person.

use crate::gate::{CandidateState, ComparisonReport, Essence, Known, PolicyReport, Source};
use crate::policy::PolicyStatus;
use crate::report::seconds;
use crate::signing::Provenance;

/// Refused candidates that are shown.
const REFUSED: usize = 3;
/// Pairs and examples of a comparison that are shown.
const SHOWN: usize = 8;

/// Everything about a policy, line by line.
pub(super) fn lines(report: &PolicyReport, now_ms: u64) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {}, {}",
        report.policy,
        known(&report.present),
        if report.running {
            "in service"
        } else {
            "in service when dbmedic stopped"
        }
    )];
    let mut add = |name: &str, text: String| lines.push(format!("  {name:<11} {text}"));
    add("digest", report.present.identity.digest.clone());
    add("signed", provenance(&report.present.provenance));
    if report.require_signature == Some(false) {
        let text = "policies run without a signature: `require_signature = false`";
        add("WARNING", text.to_owned());
    }
    add("since", format!("{} ago", ago(now_ms, report.since_ms)));
    if !report.targets.is_empty() {
        add("decides for", report.targets.join(", "));
    }
    match &report.source {
        Some(Source::File(path)) => add("file", path.display().to_string()),
        Some(Source::Directory(path)) => add("directory", path.display().to_string()),
        Some(Source::BuiltIn) | None => {}
    }
    if report.on_probation {
        add("probation", "it has to prove itself yet".to_owned());
    }
    if let Some(out) = &report.out_of_service {
        let again = match out.until_ms.saturating_sub(now_ms) {
            0 => "tried again now".to_owned(),
            rest_ms => format!("tried again in {}", seconds(rest_ms)),
        };
        let instead = if out.policy == report.present {
            "the host decides meanwhile"
        } else {
            "the last good policy decides meanwhile"
        };
        let since = ago(now_ms, out.since_ms);
        let text = format!(
            "{} since {since}, {again}, {instead}: {}",
            known(&out.policy),
            out.reason
        );
        add("OUT", text);
    }
    if let Some(statistics) = &report.statistics {
        statistics_lines(statistics, &mut add);
    }
    if let Some(last_good) = &report.last_good {
        add("last good", known(last_good));
    }
    match &report.candidate {
        None => {}
        Some(CandidateState::Preparing { digest }) => {
            add("candidate", format!("{digest} is being prepared"));
        }
        Some(CandidateState::Shadow {
            candidate,
            since_ms,
            comparison,
        }) => {
            let since = ago(now_ms, *since_ms);
            add(
                "candidate",
                format!("{}, in the shadow for {since}", known(candidate)),
            );
            add("", candidate.identity.digest.clone());
            compared(comparison, &mut add);
            if let Some(statistics) = &report.candidate_statistics {
                statistics_lines(statistics, &mut add);
            }
        }
        Some(CandidateState::Waiting {
            candidate,
            reason,
            comparison,
            ..
        }) => {
            let text = format!(
                "{}, waits for `dbmedic policy promote`: {reason}",
                known(candidate)
            );
            add("candidate", text);
            compared(comparison, &mut add);
        }
    }
    for refused in report.refused.iter().take(REFUSED) {
        let digest = &refused.digest[..refused.digest.len().min(12)];
        let since = ago(now_ms, refused.at_ms);
        add(
            "refused",
            format!("{digest} {since} ago, {}", refused.refusal),
        );
    }
    lines
}

/// How often it was asked, how it failed, and what it cost.
fn statistics_lines(statistics: &PolicyStatus, add: &mut impl FnMut(&str, String)) {
    let failures: u64 = statistics.failures.values().sum();
    let mut kinds: Vec<_> = statistics.failures.iter().collect();
    kinds.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|(rule, times)| format!("{rule} {times}"))
        .collect();
    let of = if failures == 0 {
        "none failed".to_owned()
    } else {
        format!("{failures} failed: {}", kinds.join(", "))
    };
    add("decisions", format!("{}, {of}", statistics.decisions));
    if statistics.decisions == 0 {
        return;
    }
    add(
        "time",
        format!(
            "half within {:.0} µs, 99 of 100 within {:.0} µs, the longest {:.0} µs",
            statistics.decide_p50_us, statistics.decide_p99_us, statistics.decide_max_us
        ),
    );
    #[allow(clippy::cast_precision_loss, reason = "for display")]
    let mib = statistics.memory_max_bytes as f64 / f64::from(1 << 20);
    let fuel = statistics.fuel_max.map_or_else(
        || "fuel not counted".to_owned(),
        |fuel| format!("{fuel} units of fuel"),
    );
    add("at most", format!("{mib:.2} MiB of memory, {fuel}"));
}

fn compared(report: &ComparisonReport, add: &mut impl FnMut(&str, String)) {
    add(
        "compared",
        format!(
            "{} decisions, {} differ, {} failed, the longest took {} µs",
            report.decisions, report.differences, report.failures, report.longest_us
        ),
    );
    for count in report.matrix.iter().take(SHOWN) {
        let (present, candidate) = (essence(&count.pair.present), essence(&count.pair.candidate));
        let text = if present == candidate {
            format!("{:>6} × {present}, both", count.decisions)
        } else {
            format!("{:>6} × {present} → {candidate}", count.decisions)
        };
        add("", text);
    }
    for example in report.examples.iter().take(SHOWN) {
        let because = example.because.as_deref().unwrap_or("no reason given");
        let (present, candidate) = (
            essence(&example.pair.present),
            essence(&example.pair.candidate),
        );
        add(
            "example",
            format!(
                "{} {}: {present} → {candidate}, because {because}",
                example.target, example.about
            ),
        );
    }
}

/// A verdict in three words.
pub(super) fn essence(essence: &Essence) -> String {
    let class = essence.classification.as_deref().unwrap_or("no problem");
    let repair = match (&essence.repair, essence.halt) {
        (Some(repair), _) => repair.as_str(),
        (None, true) => "halt",
        (None, false) => "no repair",
    };
    format!("{class}/{}/{repair}", essence.level)
}

fn known(known: &Known) -> String {
    format!("{} {}", known.identity.name, known.identity.version)
}

fn provenance(provenance: &Provenance) -> String {
    match provenance {
        Provenance::BuiltIn => "built in".to_owned(),
        Provenance::Unsigned => "NOT SIGNED".to_owned(),
        Provenance::Signed {
            key,
            key_id,
            comment,
        } => format!("by {key} ({key_id}): {comment}"),
    }
}

fn ago(now_ms: u64, then_ms: u64) -> String {
    seconds(now_ms.saturating_sub(then_ms))
}
