//! What people say to the pipeline: answers to repairs, acknowledgements, silences and maintenance.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::target::Target;
use super::{Effect, Event, Pipeline};
use crate::incident::{Approval, Incident};
use crate::model::{
    Attribution, Candidate, LocalTime, MaintenanceWindow, RepairAnswer, SilenceScope, utc,
};

impl Pipeline {
    /// What came to its end by the time of an event: silences and maintenance windows, and what they
    /// withheld is told.
    pub(super) fn turn(&mut self, event: &Event) -> Vec<Effect> {
        match event {
            Event::Observed(seen) => self.turn_targets(seen.at_ms, Some(&seen.target), false),
            Event::Tick { at_ms } => self.turn_targets(*at_ms, None, true),
            _ => Vec::new(),
        }
    }

    /// The same for one target or for all of them; `release` asks for what was withheld in any case.
    fn turn_targets(&mut self, at_ms: u64, only: Option<&str>, release: bool) -> Vec<Effect> {
        let over = self.silences.over(at_ms).into_iter();
        let mut effects: Vec<_> = over
            .map(|silence| Effect::SilenceEnded {
                silence,
                removed: None,
            })
            .collect();
        let release = release || !effects.is_empty();
        let range = match only.filter(|_| !release) {
            Some(name) => (Bound::Included(name), Bound::Included(name)),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        for (name, target) in self.targets.range_mut::<str, _>(range) {
            if target.windows.is_idle() && target.held.is_empty() {
                continue;
            }
            let changed = target.windows.turn(name, at_ms);
            let is_changed = changed.is_some();
            effects.extend(changed);
            if release || is_changed {
                effects.extend(target.release_held(&self.silences, name, at_ms));
            }
        }
        effects
    }

    /// The target that an incident is open on.
    fn target_of(&mut self, incident: &str) -> Option<(String, &mut Target)> {
        let mut targets = self.targets.iter_mut();
        let found = targets.find(|(_, target)| target.incidents.get(incident).is_some());
        found.map(|(name, target)| (name.clone(), target))
    }

    pub(super) fn approved(
        &mut self,
        incident: &str,
        repair: Option<&Candidate>,
        said: &Attribution,
    ) -> Vec<Effect> {
        let at_ms = said.at_ms;
        let Some((name, target)) = self.target_of(incident) else {
            return Vec::new();
        };
        let waiting = target.rulings.waiting(incident);
        if let Some(repair) = repair.or(waiting) {
            let answer = RepairAnswer {
                repair: repair.id.clone(),
                granted: true,
                said: said.clone(),
            };
            target.incidents.answered(incident, answer);
        }
        // What an earlier run saw is acted on when it is seen again.
        if !is_seen(target, incident) {
            if let Some(repair) = repair.cloned() {
                let approval = Approval { repair, at_ms };
                target.rulings.approve_unseen(incident, approval);
            }
            return Vec::new();
        }
        target.rulings.approve(incident, repair, at_ms);
        self.put_finding(&name, incident, at_ms, true)
    }

    pub(super) fn denied(
        &mut self,
        incident: &str,
        repair: &str,
        said: &Attribution,
    ) -> Vec<Effect> {
        let Some((name, target)) = self.target_of(incident) else {
            return Vec::new();
        };
        let answer = RepairAnswer {
            repair: repair.to_owned(),
            granted: false,
            said: said.clone(),
        };
        target.incidents.answered(incident, answer);
        target.rulings.deny(incident, repair);
        if is_seen(target, incident) {
            self.put_finding(&name, incident, said.at_ms, true)
        } else {
            Vec::new()
        }
    }

    pub(super) fn acknowledged(&mut self, incident: &str, said: &Attribution) {
        if let Some((_, target)) = self.target_of(incident) {
            target.incidents.acknowledge(incident, said);
            // Who works on it need not be told later what was withheld.
            target.held.retain(|held| held.incident != incident);
        }
    }

    pub(super) fn silenced(
        &mut self,
        scope: &SilenceScope,
        ends_ms: u64,
        said: &Attribution,
    ) -> Vec<Effect> {
        if ends_ms <= said.at_ms {
            return Vec::new();
        }
        let (silence, makes_way) = self.silences.add(scope.clone(), ends_ms, said);
        let mut effects: Vec<_> = makes_way
            .map(|silence| Effect::SilenceEnded {
                silence,
                removed: None,
            })
            .into_iter()
            .collect();
        effects.push(Effect::Silenced { silence });
        effects
    }

    pub(super) fn silence_removed(&mut self, id: &str, said: &Attribution) -> Vec<Effect> {
        let Some(silence) = self.silences.remove(id) else {
            return Vec::new();
        };
        let mut effects = vec![Effect::SilenceEnded {
            silence,
            removed: Some(said.clone()),
        }];
        effects.extend(self.turn_targets(said.at_ms, None, true));
        effects
    }

    pub(super) fn maintenance_started(
        &mut self,
        name: &str,
        ends_ms: u64,
        allow_repairs: bool,
        said: &Attribution,
    ) -> Vec<Effect> {
        if let Some(target) = self.targets.get_mut(name) {
            target.windows.start(ends_ms, allow_repairs, said);
        }
        self.turn_targets(said.at_ms, Some(name), false)
    }

    pub(super) fn maintenance_stopped(&mut self, name: &str, said: &Attribution) -> Vec<Effect> {
        if let Some(target) = self.targets.get_mut(name) {
            target.windows.stop(said.at_ms);
        }
        self.turn_targets(said.at_ms, Some(name), false)
    }

    /// The local time and the windows of the configuration, as the driver computed them.
    pub(super) fn calendar(
        &mut self,
        at_ms: u64,
        local_time: LocalTime,
        windows: &BTreeMap<String, Vec<MaintenanceWindow>>,
    ) -> Vec<Effect> {
        self.local_time = Some(local_time);
        for (name, target) in &mut self.targets {
            target
                .windows
                .plan(windows.get(name).cloned().unwrap_or_default());
        }
        self.turn_targets(at_ms, None, false)
    }
}

fn is_seen(target: &Target, incident: &str) -> bool {
    target
        .incidents
        .get(incident)
        .is_some_and(Incident::is_seen)
}

/// That a repair was denied, in one line for a person.
pub(super) fn denied_line(incident: &str, said: &Attribution) -> String {
    let who = if said.by.is_empty() {
        "a person"
    } else {
        &said.by
    };
    let why = said
        .note
        .as_ref()
        .map_or(String::new(), |note| format!(" ({note})"));
    format!(
        "{who} denied it at {}{why}; `dbmedic approve {incident}` lets it go",
        utc(said.at_ms)
    )
}
