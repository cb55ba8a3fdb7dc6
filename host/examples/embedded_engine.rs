//! A toy engine that embeds dbmedic: two workers read and write a map, after some seconds a fault
//! makes the writes slow, and what dbmedic notices is printed.
//!
//! `cargo run --release -p dbmedic --example embedded_engine`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dbmedic::admission::{Admission, Intended};
use dbmedic::config::Config;
use dbmedic::embedded::{Embedded, Surroundings};
use dbmedic::operations::{ErrorKind, OperationId};
use dbmedic::report::Narrator;
use dbmedic::resources::Places;

/// The engine: a map behind a lock.
struct Engine {
    rows: Mutex<BTreeMap<u64, Vec<u8>>>,
    medic: Embedded,
    read: OperationId,
    write: OperationId,
    /// The fault: writes wait, as on a disk that has become slow.
    slow: AtomicBool,
}

impl Engine {
    fn read(&self, key: u64) -> Option<usize> {
        let running = self.medic.begin(self.read);
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = rows.get(&key).map(Vec::len);
        drop(rows);
        running.complete(found.map_or(0, |_| 1), found.unwrap_or(0) as u64);
        found
    }

    fn write(&self, key: u64, value: Vec<u8>) -> Result<(), String> {
        // The engine asks before it begins what needs room.
        let intended = Intended::Write {
            bytes: value.len() as u64,
        };
        if let Admission::Refuse { constraint, reason } =
            self.medic.check_before_operation(intended)
        {
            self.medic.begin(self.write).error(ErrorKind::Full);
            return Err(format!("{constraint}: {reason}"));
        }
        let running = self.medic.begin(self.write);
        let bytes = value.len() as u64;
        // What a disk would take.
        thread::sleep(Duration::from_micros(if self.slow.load(Relaxed) {
            20_000
        } else {
            1000
        }));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert(key, value);
        drop(rows);
        running.complete(1, bytes);
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    // As in production, only faster: a bucket is 50 ms instead of 10 s, so that there are enough of
    // them to say what is normal before the fault.
    config.operations.bucket_ms = 50;
    config.observation.resource_interval_ms = 1000;
    config.observation.tick_interval_ms = 1000;
    let surroundings = Surroundings {
        name: "toy".into(),
        places: Some(Places {
            data: std::env::current_dir()?,
            ..Places::default()
        }),
        ..Surroundings::default()
    };
    let mut narrator = Narrator::default();
    let medic = Embedded::start(&config, surroundings, move |at_ms, effect| {
        for line in narrator.tell(at_ms, effect) {
            println!("{line}");
        }
    })?;
    let (read, write) = (medic.operation("read"), medic.operation("write"));
    let engine = Engine {
        rows: Mutex::default(),
        medic,
        read,
        write,
        slow: AtomicBool::new(false),
    };
    let begun = Instant::now();
    let is_over = || begun.elapsed() > Duration::from_secs(8);
    thread::scope(|scope| {
        for worker in 0..2_u64 {
            let engine = &engine;
            scope.spawn(move || {
                for key in (worker..).step_by(2) {
                    if is_over() {
                        break;
                    }
                    if let Err(refused) = engine.write(key % 1000, vec![0; 100]) {
                        println!("a write was refused: {refused}");
                        thread::sleep(Duration::from_millis(500));
                    }
                    for near in 0..5 {
                        engine.read((key + near) % 1000);
                    }
                }
            });
        }
        thread::sleep(Duration::from_secs(5));
        println!(
            "--- after 5 s the disk becomes slow: {}",
            engine.medic.health()
        );
        engine.slow.store(true, Relaxed);
        thread::sleep(Duration::from_secs(2));
        println!("--- 2 s later: {}", engine.medic.health());
        engine.slow.store(false, Relaxed);
    });
    println!("--- at the end: {}", engine.medic.health());
    engine.medic.stop()
}
