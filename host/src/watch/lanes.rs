//! Which lane looks at which target.
//!
//! Nearly all looks take much less than a millisecond, and go to one lane, many in one go. A look that takes
//! longer because somebody's lock is followed, or because a log is read to its end, goes to a lane
//! beside it the next time. One that does not end keeps its lane; a new lane takes its place, and
//! whatever else lies on the same disk goes to lanes for that disk until it answers again: so a disk
//! that is gone holds up its own targets, and two lanes.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::lane::{Equipment, Job, Lane};
use super::{Disk, Heard, Target};

/// A lane that is at one look for longer is stuck, milliseconds.
pub(super) const STUCK_MS: u64 = 400;
/// A look that takes longer goes to another lane the next time, milliseconds.
const QUICK_MS: u64 = 25;
/// Looks that are asked for in one go, at most.
const MOST_IN_ONE_GO: usize = 256;
/// Lanes for one disk: where one waits for it, another one finds out whether other targets get answers.
const LANES_OF_DISK: usize = 2;
/// Lanes beside the first one, at most.
const MOST_BESIDE: usize = 12;

/// The lanes.
pub(super) struct Lanes {
    equipment: Equipment,
    orders: Sender<Heard>,
    started: u64,
    /// For looks that end at once.
    first: Lane,
    beside: Vec<(Disk, Lane)>,
}

/// Where a target's next look is made from now on, after one took so long.
pub(super) fn route(target: &mut Target, took_ms: u64) {
    let is_quick = took_ms < QUICK_MS;
    if target.full {
        target.is_long = !is_quick;
        target.disk = None;
    } else {
        target.disk = (!is_quick).then_some(Disk::Long);
    }
}

impl Lanes {
    /// The first lane.
    pub(super) fn new(equipment: Equipment, orders: Sender<Heard>) -> std::io::Result<Self> {
        let first = start(0, &equipment, &orders)?;
        Ok(Self {
            equipment,
            orders,
            started: 1,
            first,
            beside: Vec::new(),
        })
    }

    /// A lane has made the looks that it was given.
    pub(super) fn idle(&mut self, number: u64) {
        let beside = self.beside.iter_mut().map(|(_, lane)| lane);
        for lane in beside.chain([&mut self.first]) {
            if lane.number == number {
                lane.is_busy = false;
            }
        }
    }

    /// Whether looks are being made on a disk that answers.
    pub(super) fn are_busy(&self) -> bool {
        let answers = |(disk, lane): &(Disk, Lane)| *disk == Disk::Long && lane.is_busy;
        self.first.is_busy || self.beside.iter().any(answers)
    }

    /// Whether a look at a target would begin now.
    pub(super) fn may_begin(&self, target: &Target, now: u64) -> bool {
        match target.needs(now) {
            None => !self.first.is_busy,
            Some(disk) => self.beside.len() < MOST_BESIDE || self.has_idle(disk),
        }
    }

    fn has_idle(&self, disk: Disk) -> bool {
        let mut beside = self.beside.iter();
        beside.any(|(of, lane)| *of == disk && !lane.is_busy)
    }

    /// Gives the looks that are due to lanes. `awake_ms` is for how long this process was awake.
    ///
    /// # Errors
    ///
    /// A thread cannot be started; what was not given stays due.
    pub(super) fn dispatch(
        &mut self,
        targets: &mut [Target],
        now: u64,
        awake_ms: u64,
    ) -> std::io::Result<()> {
        let mut due: Vec<(u64, usize, Option<Disk>)> = (0..)
            .zip(targets.iter())
            .filter(|(_, target)| target.is_due(now))
            .map(|(at, target)| (target.look_ms, at, target.needs(now)))
            .collect();
        due.sort_unstable_by_key(|(look_ms, at, _)| (*look_ms, *at));
        if !self.first.is_busy {
            let quick = due.iter().filter(|(_, _, disk)| disk.is_none());
            let jobs: Vec<Job> = quick
                .take(MOST_IN_ONE_GO)
                .filter_map(|(_, at, _)| begin(targets, *at, self.first.number, now, awake_ms))
                .collect();
            if !jobs.is_empty() {
                self.first.give(jobs);
            }
        }
        for (_, at, disk) in due {
            let Some(disk) = disk else { continue };
            if let Some(target) = targets.get_mut(at) {
                target.waiting.since_ms.get_or_insert(awake_ms);
            }
            let Some(lane) = self.lane_for(disk)? else {
                continue;
            };
            if let Some(job) = begin(targets, at, lane.number, now, awake_ms) {
                lane.give(vec![job]);
            }
        }
        let is_needed = |disk: Disk| targets.iter().any(|target| target.needs(now) == Some(disk));
        self.beside
            .retain(|(disk, lane)| lane.is_busy || is_needed(*disk));
        Ok(())
    }

    /// A lane for a disk that has nothing to do; none when there are enough.
    fn lane_for(&mut self, disk: Disk) -> std::io::Result<Option<&mut Lane>> {
        let of_disk = self.beside.iter().filter(|(of, _)| *of == disk).count();
        if !self.has_idle(disk) {
            let most = if disk == Disk::Long { 1 } else { LANES_OF_DISK };
            if of_disk >= most || self.beside.len() >= MOST_BESIDE {
                return Ok(None);
            }
            let lane = self.start()?;
            self.beside.push((disk, lane));
        }
        let mut beside = self.beside.iter_mut();
        let idle = beside.find(|(of, lane)| *of == disk && !lane.is_busy);
        Ok(idle.map(|(_, lane)| lane))
    }

    /// Finds the lanes that do not get on, and gives what they were to do to others.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub(super) fn replace_stuck(&mut self, targets: &mut [Target]) -> std::io::Result<()> {
        let longer_than = Duration::from_millis(STUCK_MS);
        if let Some(at) = self.first.stuck_at(longer_than) {
            let next = self.start()?;
            let stuck = std::mem::replace(&mut self.first, next);
            let number = stuck.number;
            for (other, target) in (0..).zip(targets.iter_mut()) {
                if other != at && target.out == Some(number) {
                    target.take_look_back();
                }
            }
            if let Some(disk) = waits_for_disk(targets, at) {
                self.beside.push((disk, stuck));
            }
        }
        for (disk, lane) in &mut self.beside {
            if *disk == Disk::Long
                && let Some(at) = lane.stuck_at(longer_than)
                && let Some(own) = waits_for_disk(targets, at)
            {
                *disk = own;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> std::io::Result<Lane> {
        let lane = start(self.started, &self.equipment, &self.orders)?;
        self.started += 1;
        Ok(lane)
    }
}

fn start(number: u64, equipment: &Equipment, orders: &Sender<Heard>) -> std::io::Result<Lane> {
    let orders = orders.clone();
    Lane::start(number, equipment, move |told| {
        orders.send(Heard::FromLane(told)).is_ok()
    })
}

fn begin(targets: &mut [Target], at: usize, lane: u64, now: u64, awake_ms: u64) -> Option<Job> {
    let target = targets.get_mut(at)?;
    target.waiting.since_ms.get_or_insert(awake_ms);
    Some((at, target.begin_look(lane, now)))
}

/// The look at a target does not end: it and all that lies on its disk go to lanes for that disk.
fn waits_for_disk(targets: &mut [Target], at: usize) -> Option<Disk> {
    let stuck = targets.get(at)?;
    let disk = stuck.own_disk();
    // To read a long log takes its time, on a disk that answers.
    let is_alone = stuck.full && stuck.is_long;
    for (other, target) in (0..).zip(targets.iter_mut()) {
        if other == at || !is_alone && target.own_disk() == disk {
            target.disk = Some(disk);
        }
    }
    Some(disk)
}
