//! The real Litestream at its defaults beside a writer of 600 pages every 0.7 s: it holds a read
//! transaction nearly always, and there is nothing to say about it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::Connection;

use crate::log::Log;
use crate::plan::Interruption;
use crate::process::Neighbour;
use crate::program::ChildArguments;
use crate::promised;
use crate::scene::{Scene, Settings};
use crate::watcher::Watcher;

/// The name of its process, as `ps -o comm` shows it.
const NAME: &str = "litestream";
/// The age at which the policy ends a reader, milliseconds.
const READER_AGE_MS: u64 = 20_000;
/// How often the run looks at its processes, and how often it reports.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// How long Litestream has to make its first copy.
const BEFORE_DBMEDIC: Duration = Duration::from_secs(4);

/// A Litestream that replicates into a directory. It is killed when this is dropped.
struct Litestream {
    child: Child,
    replica: PathBuf,
}

impl Litestream {
    fn start(program: &Path, scene: &Scene) -> anyhow::Result<Self> {
        let replica = scene.dir.join("replica");
        let config = scene.dir.join("litestream.yml");
        fs::write(
            &config,
            format!(
                "dbs:\n  - path: {}\n    replica:\n      type: file\n      path: {}\n",
                scene.database().display(),
                replica.display()
            ),
        )?;
        let output = File::create(scene.dir.join("litestream.out"))?;
        let child = Command::new(program)
            .arg("replicate")
            .arg("-config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, replica })
    }

    /// The bytes of what it has replicated and keeps.
    fn replicated(&self) -> u64 {
        fn bytes(dir: &Path) -> u64 {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(it) if it.is_dir() => bytes(&entry.path()),
                    Ok(it) => it.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        bytes(&self.replica)
    }
}

impl Drop for Litestream {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs it for so long. False when there was an incident, or when it did not live.
pub(crate) fn run(
    program: &Path,
    dbmedic: &Path,
    dir: &Path,
    seed: u64,
    time: Duration,
) -> anyhow::Result<bool> {
    let scene = Scene::create(
        dir,
        Settings {
            journal_mode: "wal",
            threshold_ms: READER_AGE_MS,
            interval_ms: 1000,
            check_interval_ms: 60_000,
        },
    )?;
    let mut litestream = Litestream::start(program, &scene)?;
    std::thread::sleep(BEFORE_DBMEDIC);
    let writer = writer(&scene, seed);
    let mut writer = Neighbour::start(writer, scene.dir.join("writer.err"), false)?;
    let config = configure(&scene)?;
    let mut watcher = Watcher::start(dbmedic, &config, &scene, false, Interruption::None)?;

    let begin = Instant::now();
    let mut next_report = REPORT_EVERY;
    let mut wrong = Vec::new();
    while begin.elapsed() < time && wrong.is_empty() {
        std::thread::sleep(LOOK_EVERY);
        if let Some(status) = litestream.child.try_wait()? {
            wrong.push(format!("litestream ended: {status}"));
        }
        if let Some(how) = watcher.ended()? {
            wrong.push(format!("dbmedic ended: {how}"));
        }
        if begin.elapsed() >= next_report {
            next_report += REPORT_EVERY;
            let minutes = begin.elapsed().as_secs() / 60;
            println!(
                "{minutes} min: {} bytes replicated",
                litestream.replicated()
            );
        }
    }
    wrong.extend(watcher.stop()?.map(|how| format!("dbmedic {how}")));
    wrong.extend(writer.stop()?.map(|how| format!("writer {how}")));

    let log = Log::read(&scene.recording())?;
    let incidents = log.incidents.iter();
    wrong.extend(incidents.map(|(kind, count)| format!("incident {kind}: {count}")));
    wrong.extend(log.approved.iter().map(|repair| format!("repair {repair}")));
    if log.with_locks == 0 {
        wrong.push("no lock was ever seen".into());
    }
    if litestream.replicated() == 0 {
        wrong.push("nothing was replicated".into());
    }
    let database = Connection::open(scene.database())?;
    let kept = promised::compare(&database, &scene.logs(), seed, &[(0, 0)])?;
    wrong.extend(kept.faults);
    println!(
        "\nobserved\n{:.0} s, {} observations, {} with locks, {} commits kept, {} bytes replicated, {} incidents, {} repairs",
        begin.elapsed().as_secs_f64(),
        log.observations,
        log.with_locks,
        kept.rows,
        litestream.replicated(),
        log.incidents.values().sum::<u64>(),
        log.approved.len(),
    );
    for fault in &wrong {
        println!("WRONG  {fault}");
    }
    if wrong.is_empty() {
        println!("right  litestream lives, and nothing was said of it");
    }
    Ok(wrong.is_empty())
}

/// The configuration: the defaults, but for the mode, the age and who may be ended.
fn configure(scene: &Scene) -> anyhow::Result<PathBuf> {
    let path = scene.dir.join("dbmedic.toml");
    let text = format!(
        "version = 1\nmode = \"enforce\"\nstate_dir = \"state\"\n\
         [policy.parameters]\nreader_age_ms = {READER_AGE_MS}\n\
         [[targets]]\nname = \"first\"\nsqlite = \"{}\"\nmay_end = [\"{NAME}\"]\n",
        scene.database().display()
    );
    fs::write(&path, text)?;
    Ok(path)
}

fn writer(scene: &Scene, seed: u64) -> ChildArguments {
    ChildArguments {
        name: "writer".into(),
        database: scene.database(),
        dir: scene.logs(),
        writer: 0,
        seed,
        threshold_ms: READER_AGE_MS,
        journal_mode: "wal".into(),
        kind: None,
        fault: None,
        quiet: false,
        steady: true,
        soak: false,
        once: false,
    }
}
