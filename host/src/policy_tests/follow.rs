//! Expectations of a whole case: which answers they mean, how many must be as expected, and in which order.

use std::sync::Arc;

use super::expect::Wrong;
use super::trail::{Answer, Around, Trail};
use super::{About, Case, Expected, Often, Which, called};

/// What is not as a whole case expects, with the answer that came nearest.
pub(super) struct Unmet {
    pub(super) failure: String,
    pub(super) nearest: Option<(Around, Vec<Wrong>)>,
    /// Which expectation, counted from 0, and how many answers were as it says.
    pub(super) expected: usize,
    pub(super) met: u64,
}

/// The expectations of a case, while it runs.
pub(super) struct Followers<'a> {
    in_order: bool,
    /// In order: the one that is waited for.
    next: usize,
    /// When the one before was met.
    since_ms: u64,
    all: Vec<Follower<'a>>,
}

struct Follower<'a> {
    expected: &'a Expected,
    meant: u64,
    met: u64,
    /// The answer that came nearest and is not as expected.
    nearest: Option<(Around, Vec<Wrong>)>,
}

impl<'a> Followers<'a> {
    pub(super) fn of(case: &'a Case) -> Self {
        let follower = |expected| Follower {
            expected,
            meant: 0,
            met: 0,
            nearest: None,
        };
        Self {
            in_order: case.in_order,
            next: 0,
            since_ms: 0,
            all: case.expect.iter().map(follower).collect(),
        }
    }

    /// Holds an answer against each expectation that means it. `trail` ends with it.
    pub(super) fn take(&mut self, answer: &Arc<Answer>, trail: &Trail) {
        for follower in &mut self.all {
            if let Some((around, _)) = &mut follower.nearest {
                around.follow(answer);
            }
        }
        if !self.in_order {
            for follower in &mut self.all {
                follower.take(answer, trail, 0);
            }
            return;
        }
        let Some(follower) = self.all.get_mut(self.next) else {
            return;
        };
        let met = follower.met;
        follower.take(answer, trail, self.since_ms);
        let enough = match &follower.expected.often {
            Often::Times(times) => *times.start(),
            Often::Once | Often::Every => 1,
        };
        if follower.met > met && follower.met >= enough {
            self.next += 1;
            self.since_ms = answer.at_ms;
        }
    }

    /// What was not as expected, when the case is over after so many answers.
    pub(super) fn end(self, answers: u64) -> Vec<Unmet> {
        let (in_order, next) = (self.in_order, self.next);
        let all = self.all.into_iter().enumerate();
        let met_before = |number: usize| in_order && number < next;
        let unmet = all.filter(|(number, _)| !met_before(*number));
        let unmet = unmet.filter_map(|(number, follower)| {
            let failure = follower.failure(answers, in_order && number > 0)?;
            Some(Unmet {
                failure,
                met: follower.met,
                nearest: follower.nearest,
                expected: number,
            })
        });
        // In order only the first is told: the others were not waited for.
        unmet.take(if in_order { 1 } else { usize::MAX }).collect()
    }
}

impl Follower<'_> {
    fn take(&mut self, answer: &Answer, trail: &Trail, since_ms: u64) {
        if !self.expected.which.means(answer) {
            return;
        }
        let within_ms = self.expected.within_ms.unwrap_or(u64::MAX);
        let waited_ms = answer.at_ms.saturating_sub(since_ms);
        let wanted = &self.expected.expect;
        self.meant += 1;
        let mut wrong = wanted.wrong(&answer.verdict, &answer.log);
        if waited_ms > within_ms {
            wrong.push(Wrong {
                key: "within_ms",
                text: format!("expected it within {within_ms} ms, it came after {waited_ms} ms"),
            });
        }
        if wrong.is_empty() {
            self.met += 1;
            // One that is not to be: that it is as described is what is wrong.
            if let Often::Times(times) = &self.expected.often
                && self.met > *times.end()
            {
                self.nearest = Some((trail.here(), Vec::new()));
            }
            return;
        }
        // Of every one the first that is otherwise counts, not the one that is least so.
        let nearer = match &self.nearest {
            None => true,
            Some((_, least)) => wrong.len() < least.len() && self.expected.often != Often::Every,
        };
        if nearer {
            self.nearest = Some((trail.here(), wrong));
        }
    }

    fn failure(&self, answers: u64, in_order: bool) -> Option<String> {
        let (meant, met) = (self.meant, self.met);
        let is_good = match &self.expected.often {
            Often::Once => met > 0,
            Often::Times(times) => times.contains(&met),
            Often::Every => meant > 0 && met == meant,
        };
        if is_good {
            return None;
        }
        let which = self.expected.which.in_words();
        let line = self.expected.line;
        let after = if in_order {
            " after the one before it"
        } else {
            ""
        };
        if meant == 0 {
            return Some(format!(
                "line {line}: of {answers} answers none{after} is {which}"
            ));
        }
        let told = match &self.expected.often {
            Often::Once => format!("none of {meant} answers{after} was as the case expects"),
            Often::Every => format!(
                "{} of {meant} answers are not as the case expects",
                meant - met
            ),
            Often::Times(times) if times.start() == times.end() => {
                format!(
                    "{met} of {meant} answers are as described, not {}",
                    times.start()
                )
            }
            Often::Times(times) => format!(
                "{met} of {meant} answers are as described, not {} to {}",
                times.start(),
                times.end()
            ),
        };
        let nearest = match &self.nearest {
            None => String::new(),
            Some((around, wrong)) => {
                let word = match self.expected.often {
                    Often::Every => "the first",
                    Often::Times(_) if wrong.is_empty() => "the one too many",
                    _ => "the nearest",
                };
                let wrong: Vec<&str> = wrong.iter().map(|wrong| &*wrong.text).collect();
                let wrong = if wrong.is_empty() {
                    String::new()
                } else {
                    format!(": {}", wrong.join("; "))
                };
                format!("; {word}, {}{wrong}", around.answer().place)
            }
        };
        let which = if self.expected.which == Which::default() {
            String::new()
        } else {
            format!(" ({which})")
        };
        Some(format!("line {line}: {told}{which}{nearest}"))
    }
}

impl Which {
    fn means(&self, answer: &Answer) -> bool {
        // First what is compared soonest: a long case has thousands of these, most of them of other times.
        let is_then = self.from_ms.is_none_or(|from| answer.at_ms >= from)
            && self.until_ms.is_none_or(|until| answer.at_ms <= until);
        if !is_then {
            return false;
        }
        let is = |wanted: &Option<String>, place: usize| match (wanted, answer.names()) {
            (None, _) => true,
            (Some(wanted), Some(names)) => names[place] == wanted,
            (Some(_), None) => false,
        };
        self.event.is_none_or(|event| event == answer.number)
            && self.about.is_none_or(|about| about == answer.about())
            && self
                .target
                .as_ref()
                .is_none_or(|target| *target == answer.target)
            && is(&self.incident, 0)
            && is(&self.kind, 1)
            && is(&self.subject, 2)
    }

    fn in_words(&self) -> String {
        let mut words = vec![match self.about {
            None => "an answer".to_owned(),
            Some(About::Finding) => "an answer to a finding".to_owned(),
            Some(About::Outcome) => "an answer to an outcome".to_owned(),
            Some(About::Tick) => "an answer to a tick".to_owned(),
        }];
        words.extend(self.event.map(|event| format!("number {event}")));
        words.extend(self.target.as_ref().map(|name| format!("on {name}")));
        words.extend(self.incident.as_ref().map(|name| format!("of {name}")));
        words.extend(self.kind.as_ref().map(|name| format!("about {name}")));
        words.extend(self.subject.as_ref().map(|name| format!("of {name}")));
        words.extend(self.from_ms.map(|ms| format!("from {ms} ms on")));
        words.extend(self.until_ms.map(|ms| format!("until {ms} ms")));
        words.join(" ")
    }
}

/// An answer's place in a case of events.
pub(super) fn place(
    step: usize,
    again: u32,
    times: u32,
    event: &crate::model::PolicyEvent,
) -> String {
    let called = called(event);
    if times == 1 {
        format!("event {} ({called})", step + 1)
    } else {
        format!("event {}, time {} ({called})", step + 1, again + 1)
    }
}
