//! Whether an alert is told: not while somebody works on its incident, not in a silence, and not in a
//! maintenance window. What is withheld is counted, and told later where the incident outlasts it.

use serde::{Deserialize, Serialize};

use super::Effect;
use super::silences::Silences;
use super::target::Target;
use crate::model::{Alert, Attribution, Verdict};

/// Alerts of one target that wait for the end of what withholds them. The newest are kept; each is
/// counted all the same.
const MOST_HELD: usize = 64;

/// What an alert is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The incident, unless time alone led to the alert.
    pub(super) incident: Option<&'a str>,
    /// The kind of the problem.
    pub(super) kind: Option<&'a str>,
    /// Whether it tells a crisis or a halt.
    pub(super) is_crisis: bool,
    /// Whether the policy could not judge: that is news beside the incident.
    pub(super) policy_failed: bool,
}

/// Why an alert is withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// Somebody works on its incident.
    Acknowledged {
        /// Who.
        by: String,
    },
    /// A silence covers it.
    Silence {
        /// The silence's identifier.
        id: String,
    },
    /// A maintenance window is open.
    Maintenance {
        /// The window's name.
        window: String,
    },
}

/// An alert that waits for the end of a silence or a maintenance window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldAlert {
    /// The incident that it is about.
    pub incident: String,
    /// The kind of the problem.
    pub kind: String,
    /// Whether it tells a crisis or a halt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_crisis: bool,
    /// The alert.
    pub alert: Alert,
}

impl Target {
    /// Tells the alerts of a verdict, or withholds them. An acknowledgement of an incident that got worse
    /// is over before.
    pub(super) fn alerts(
        &mut self,
        silences: &mut Silences,
        name: &str,
        at_ms: u64,
        subject: Subject<'_>,
        verdict: &Verdict,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        // What the host says in the policy's place says nothing about how bad the problem is.
        let class = verdict.classification.filter(|_| !subject.policy_failed);
        let worse = subject.incident.zip(class).and_then(|(incident, class)| {
            let acknowledged = self.incidents.got_worse(incident, class)?;
            effects.push(Effect::AcknowledgementEnded {
                target: name.to_owned(),
                incident: incident.to_owned(),
                acknowledged: acknowledged.clone(),
                classification: class,
            });
            Some(acknowledged)
        });
        let alerts = verdict.alerts.iter();
        effects.extend(
            alerts.map(|alert| self.alert(silences, name, at_ms, subject, alert, worse.as_ref())),
        );
        effects
    }

    /// Tells an alert, or withholds it. `worse` says who acknowledged its incident before that got worse.
    fn alert(
        &mut self,
        silences: &mut Silences,
        name: &str,
        at_ms: u64,
        subject: Subject<'_>,
        alert: &Alert,
        worse: Option<&Attribution>,
    ) -> Effect {
        let known = subject
            .incident
            .and_then(|id| self.incidents.get(id)?.acknowledged());
        let acknowledged = worse.or(known).cloned();
        let because = match (known, subject.policy_failed) {
            (Some(known), false) => Some(Withheld::Acknowledged {
                by: known.by.clone(),
            }),
            _ => self.withholds(silences, name, at_ms, subject, &alert.rule),
        };
        let Some(because) = because else {
            return Effect::Alerted {
                target: name.to_owned(),
                alert: alert.clone(),
                acknowledged,
            };
        };
        match &because {
            Withheld::Acknowledged { .. } => {}
            Withheld::Silence { id } => silences.withhold(id),
            Withheld::Maintenance { .. } => self.windows.withhold(),
        }
        if !matches!(because, Withheld::Acknowledged { .. }) {
            self.hold(subject, alert);
        }
        Effect::AlertWithheld {
            target: name.to_owned(),
            incident: subject.incident.map(str::to_owned),
            alert: alert.clone(),
            because,
        }
    }

    /// The silence or the window that withholds an alert.
    fn withholds(
        &self,
        silences: &Silences,
        name: &str,
        at_ms: u64,
        subject: Subject<'_>,
        rule: &str,
    ) -> Option<Withheld> {
        if let Some(silence) = silences.covering(name, subject.kind, rule, subject.is_crisis) {
            return Some(Withheld::Silence {
                id: silence.id.clone(),
            });
        }
        let open = self.windows.open(at_ms).filter(|_| !subject.is_crisis)?;
        Some(Withheld::Maintenance {
            window: open.name.clone(),
        })
    }

    /// Keeps an alert for later. What is about no incident is not kept: the policy tells it again.
    fn hold(&mut self, subject: Subject<'_>, alert: &Alert) {
        let (Some(incident), Some(kind)) = (subject.incident, subject.kind) else {
            return;
        };
        self.held
            .retain(|held| held.incident != incident || held.alert.rule != alert.rule);
        if self.held.len() == MOST_HELD {
            self.held.remove(0);
        }
        self.held.push(HeldAlert {
            incident: incident.to_owned(),
            kind: kind.to_owned(),
            is_crisis: subject.is_crisis,
            alert: alert.clone(),
        });
    }

    /// Tells the alerts that nothing withholds any more, of incidents that are open still and that nobody
    /// works on. One of an earlier run waits until it is seen again.
    pub(super) fn release_held(
        &mut self,
        silences: &Silences,
        name: &str,
        at_ms: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let Some(incident) = self.incidents.get(&held.incident) else {
                continue;
            };
            if incident.acknowledged().is_some() {
                continue;
            }
            let subject = Subject {
                incident: Some(&held.incident),
                kind: Some(&held.kind),
                is_crisis: held.is_crisis,
                policy_failed: false,
            };
            let is_seen = incident.is_seen();
            let rule = &held.alert.rule;
            if !is_seen
                || self
                    .withholds(silences, name, at_ms, subject, rule)
                    .is_some()
            {
                self.held.push(held);
                continue;
            }
            effects.push(Effect::Alerted {
                target: name.to_owned(),
                alert: held.alert,
                acknowledged: None,
            });
        }
        effects
    }
}
