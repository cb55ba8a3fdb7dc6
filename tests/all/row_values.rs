//! A row and its index that disagree: a person sees both values, and nobody else does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{contents, data, dbmedic, files, orders, resting_shop, run, wait_for};

const TRUE: &str = "item-000150";
const DAMAGED: &str = "item-00015q";

/// Damages the row and not its entry: its text in the table's own leaf page.
fn damage_row(path: &Path) {
    const PAGE: usize = 4096;
    const LEAF_TABLE_PAGE: u8 = 0x0d;
    let mut bytes = fs::read(path).unwrap();
    let mut damaged = 0;
    for page in (PAGE..bytes.len()).step_by(PAGE) {
        let found = (bytes[page] == LEAF_TABLE_PAGE)
            .then(|| {
                bytes[page..page + PAGE]
                    .windows(TRUE.len())
                    .position(|w| w == TRUE.as_bytes())
            })
            .flatten();
        if let Some(at) = found {
            bytes[page + at..page + at + DAMAGED.len()].copy_from_slice(DAMAGED.as_bytes());
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    fs::write(path, bytes).unwrap();
}

fn holds_a_value(bytes: &[u8]) -> bool {
    [TRUE, DAMAGED]
        .iter()
        .any(|value| bytes.windows(value.len()).any(|w| w == value.as_bytes()))
}

#[test]
fn the_values_of_a_row_are_for_a_person_alone() {
    let home = tempfile::tempdir().unwrap();
    let (database, state) = (home.path().join("data/shop.db"), home.path().join("state"));
    fs::create_dir(home.path().join("data")).unwrap();
    resting_shop(&database);
    damage_row(&database);
    let before = (contents(&home.path().join("data")), orders(&database));
    let config = home.path().join("dbmedic.toml");
    let text = format!(
        "version = 1\nmode = \"enforce\"\nstate_dir = \"{}\"\n\
         [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 300\n\
         [[targets]]\nname = \"shop\"\nsqlite = \"data/shop.db\"\n",
        state.display()
    );
    fs::write(&config, text).unwrap();
    let recording = home.path().join("today.jsonl");
    let output = home.path().join("output");
    let mut watcher = Command::new(dbmedic())
        .args(["run", "-c"])
        .arg(&config)
        .arg("--record")
        .arg(&recording)
        .env("DBMEDIC_LOG", "trace")
        .stdout(fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state_dir = state.to_str().unwrap();
    let incident = wait_for("the disagreement", || {
        let listed = data(&run(&["incidents", "--state-dir", state_dir]));
        let line = listed
            .lines()
            .find(|l| l.contains("index.disagrees-with-row"))?;
        line.split_whitespace().next().map(str::to_owned)
    });
    let shown = run(&["incidents", &incident, "--values", "--state-dir", state_dir]);
    watcher.kill().unwrap();
    watcher.wait().unwrap();

    let shown = data(&shown);
    for expected in [
        "table orders, row rowid=150;".to_owned(),
        format!("item: the row has '{DAMAGED}'"),
        format!("item: the index has '{TRUE}'"),
    ] {
        assert!(shown.contains(&expected), "{shown}");
    }
    // Nothing was repaired, and both values are still where they were.
    assert_eq!(
        (contents(&home.path().join("data")), orders(&database)),
        before
    );

    // The story, the recording, the output and everything in the state directory but the one file.
    let story = run(&["incidents", &incident, "--state-dir", state_dir]);
    assert!(!holds_a_value(&story.stdout), "{}", data(&story));
    let mut kept = 0;
    for file in files(&state).iter().chain([&recording, &output]) {
        let bytes = fs::read(file).unwrap();
        if bytes.starts_with(b"SQLite format 3") {
            continue;
        }
        if file.starts_with(state.join("values")) {
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
            assert!(holds_a_value(&bytes));
            kept += 1;
        } else {
            assert!(!holds_a_value(&bytes), "{}", file.display());
        }
    }
    assert_eq!(kept, 1);
}
