//! How healthy the targets of a live run are: rolled up, told when it changes, kept for others.

use std::collections::BTreeMap;

use super::{Listener, Live, Told};
use crate::clock::now_ms;
use crate::health::{self, CheckKind, CheckReport, CheckState, Health, Level, Sign, Status};
use crate::state_dir::HealthOfTargets;

impl Live {
    /// Keeps what a check came to, and tells when the target's health changed with it.
    pub(super) fn checked(&mut self, target: &str, report: CheckReport, tell: &mut Listener<'_>) {
        let reports = self.reports.entry(target.to_owned()).or_default();
        let before = reports.get(&report.check);
        // Once, not with each check.
        let is_new = before.is_none_or(|before| before.state != report.state);
        let is_told = !matches!(report.state, CheckState::Passed | CheckState::Failed(_))
            // After each start, and in rollback mode, the full check is what counts.
            && report.check != CheckKind::Incremental;
        if is_new && is_told {
            let text = format!("{target}: {} check {}", report.check.name(), report.state);
            tell(now_ms(), Told::Note("check", &text));
        }
        if report.check == CheckKind::Full
            && let Some(proved) = &report.proved
        {
            #[expect(clippy::cast_precision_loss, reason = "for a person")]
            let took_s = report.took_ms as f64 / 1000.0;
            let text = format!("{target}: full check passed in {took_s:.1} s: {proved}");
            tell(now_ms(), Told::Note("check", &text));
        }
        for note in &report.notes {
            if before.is_none_or(|before| !before.notes.contains(note)) {
                tell(now_ms(), Told::Note("note", &format!("{target}: {note}")));
            }
        }
        let is_kept = matches!(report.check, CheckKind::Full | CheckKind::Snapshot);
        reports.insert(report.check, report);
        self.tell_health(target, tell);
        // When it was checked last is worth knowing although nothing changed.
        self.health_is_new |= is_kept;
    }

    /// Notes that no look at a target has ended since then, milliseconds since the Unix epoch.
    pub(super) fn is_late(&mut self, target: &str, since_ms: u64, tell: &mut Listener<'_>) {
        self.late.insert(target.to_owned(), since_ms);
        self.tell_health(target, tell);
    }

    /// Keeps the health of the targets for others to read, where it is new.
    pub(super) fn keep_health(&mut self, tell: &mut Listener<'_>) {
        if std::mem::take(&mut self.health_is_new) {
            let health = self.health_of_targets();
            self.written.save_health(&health, tell);
        }
    }

    /// What others may know of the targets.
    pub(super) fn health_of_targets(&self) -> HealthOfTargets {
        let of_target = |(target, reports): (&String, &BTreeMap<CheckKind, CheckReport>)| {
            (target.clone(), reports.values().cloned().collect())
        };
        HealthOfTargets {
            written_ms: now_ms(),
            targets: self.health.clone(),
            checks: self.reports.iter().map(of_target).collect(),
        }
    }

    /// How healthy a target is, given the latest run of each check on it; none when there is no
    /// such target.
    pub fn health(
        &self,
        target: &str,
        reports: &BTreeMap<CheckKind, CheckReport>,
    ) -> Option<Health> {
        let at_ms = now_ms();
        let context = self.pipeline.context(target, at_ms)?;
        let series = self.pipeline.series(target)?;
        let mut signs: Vec<Sign> = health::signs_of_checks(&self.pace.plans(), reports, at_ms);
        let latest = |name: &str| Some(series.get(name)?.latest()?.value);
        signs.extend(health::signs_of_limits(
            Level::Subsystem,
            &self.resource_limits,
            &latest,
        ));
        signs.extend(health::signs_of_context(&context));
        signs.extend(self.late.get(target).map(|since_ms| {
            let late_s = at_ms.saturating_sub(*since_ms) / 1000;
            Sign {
                level: Level::Subsystem,
                subject: "look".into(),
                status: Status::Degraded,
                reason: format!(
                    "no look has ended for {late_s} s: its disk does not answer, and nothing else is \
                     known of it until it does"
                ),
            }
        }));
        if self.pipeline.is_halted(target) {
            signs.push(Sign {
                level: Level::System,
                subject: "halted".into(),
                status: Status::Unhealthy,
                reason: "no repair touches it until a person releases it, or what it is halted for is over".into(),
            });
        }
        let mut health = health::roll_up(signs);
        health.notes = health::notes_of_checks(reports);
        health.notes.extend(health::note_of_maintenance(&context));
        health.maintenance = context.maintenance;
        Some(health)
    }

    /// Tells the health of each target that changed, and keeps it for others to read.
    pub(super) fn tell_health_of_all(&mut self, tell: &mut Listener<'_>) {
        let names: Vec<_> = self.sites.keys().cloned().collect();
        for name in &names {
            self.tell_health(name, tell);
        }
    }

    /// Tells a target's health when it changed, and keeps it for others to read.
    pub(super) fn tell_health(&mut self, target: &str, tell: &mut Listener<'_>) {
        let none = BTreeMap::new();
        let reports = self.reports.get(target).unwrap_or(&none);
        let Some(health) = self.health(target, reports) else {
            return;
        };
        let before = self.health.get(target);
        if before == Some(&health) {
            return;
        }
        let is_told = before.is_some_and(|before| before.status == health.status);
        // Numbers move all the time; written down is which signs there are.
        let is_kept = is_told
            && before.is_some_and(|before| {
                let subjects = |health: &Health| -> Vec<_> {
                    let signs = health.signs.iter();
                    signs
                        .map(|sign| (sign.subject.clone(), sign.status, of_person(sign)))
                        .collect()
                };
                subjects(before) == subjects(&health)
                    && before.notes == health.notes
                    && before.maintenance == health.maintenance
            });
        if !is_told {
            let text = format!("{target}: {health}");
            tell(now_ms(), Told::Note("health", &text));
        }
        self.health.insert(target.to_owned(), health);
        self.health_is_new |= !is_kept;
    }
}

/// What of a sign people change: who works on an incident, and what they said of its repairs.
fn of_person(sign: &Sign) -> Option<String> {
    (sign.level == Level::System).then(|| sign.reason.clone())
}
