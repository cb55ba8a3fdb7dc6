//! Documents of rules, asked as the host asks: parameters, event and context in, verdict out.

use dbmedic_policy::{
    CascadeLevel, Classification, Context, EscalationLevel, Event, Finding, OpenIncident, Outcome,
    OutcomeResult, Precondition, Reason, RepairHistory, Setting, Value, Verdict,
    testing::{self, candidate},
};

use crate::{DEFAULT_RULES, RulesPolicy, document};

use Classification::{Hiccup, Obstacle, Wall};
use EscalationLevel::{Escalate, Normal, Warn, Watch};

mod combining;
mod conditions;
mod mistakes;
mod over_time;

/// A context in which these rules hold. `version` is put before them.
fn context(rules: &str) -> Context {
    let settings = [Setting {
        name: "rules".into(),
        value: Value::Text(format!("version = 1\n{rules}")),
    }];
    let settings = dbmedic_policy::configure::<RulesPolicy>(&settings);
    testing::context(settings.unwrap_or_else(|errors| panic!("{errors:#?}")))
}

fn ask(event: &Event, context: &Context) -> Verdict {
    dbmedic_policy::decide::<RulesPolicy>(event, context).unwrap()
}

/// What these rules say about a finding.
fn judge(rules: &str, finding: Finding) -> Verdict {
    ask(&Event::Finding(finding), &context(rules))
}

/// Asks, and carries memory and level on as the host does.
fn step(event: &Event, context: &mut Context) -> Verdict {
    let verdict = ask(event, context);
    context.memory.clone_from(&verdict.memory);
    if verdict.level != context.level {
        context.level = verdict.level;
        context.level_since_ms = context.now_ms;
    }
    verdict
}

fn finding() -> Finding {
    let facts = [
        ("age_ms", Value::Integer(4_200)),
        ("holder_name", Value::Text("batch".into())),
    ];
    testing::finding("lock.stale-holder", &facts)
}

fn offering(id: &str, holds: bool) -> Finding {
    let mut finding = finding();
    let mut offered = candidate(id, CascadeLevel::InPlace);
    offered.preconditions.push(Precondition {
        name: "lone".into(),
        holds,
        detail: "as seen".into(),
    });
    finding.candidates.push(offered);
    finding
}

fn names(reasons: &[Reason]) -> Vec<&str> {
    reasons.iter().map(|reason| reason.rule.as_str()).collect()
}

#[test]
fn the_default_rules_are_right_and_fit_into_the_settings() {
    document::compile(DEFAULT_RULES).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let by_default = dbmedic_policy::configure::<RulesPolicy>(&[]).unwrap();
    assert!(by_default.len() <= 16_384, "{} bytes", by_default.len());
    let named = Setting {
        name: "rules".into(),
        value: Value::Text(DEFAULT_RULES.into()),
    };
    assert_eq!(
        by_default,
        dbmedic_policy::configure::<RulesPolicy>(&[named]).unwrap()
    );
}
