//! `policy test --watch`: again whenever something changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{TestArgs, once};
use crate::cli::{Ended, complain, tell_error};
use crate::policy_tests::{folder_beside, is_case_file};

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(300);

/// What is known of the files: when each was changed, and its size.
type Stamps = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Runs the cases now and after each change, until the process is ended.
pub(super) fn run(args: &TestArgs, policy: &Path) -> Ended {
    loop {
        let before = stamps(args, policy);
        if let Err(error) = once(args, policy) {
            // A file that is half written is whole a moment later.
            tell_error(&error);
        }
        complain("waiting for a change; Ctrl-C ends");
        while stamps(args, policy) == before {
            thread::sleep(PAUSE);
        }
        // An editor or a linker may still write.
        let mut last = stamps(args, policy);
        loop {
            thread::sleep(PAUSE);
            let now = stamps(args, policy);
            if now == last {
                break;
            }
            last = now;
        }
    }
}

fn stamps(args: &TestArgs, policy: &Path) -> Stamps {
    let mut all = Stamps::new();
    note(policy, &mut all);
    if args.cases.is_empty() {
        note(&folder_beside(policy), &mut all);
    }
    for path in &args.cases {
        note(path, &mut all);
    }
    all
}

/// A file, or each file of cases in a folder. What is gone is no error: it may come again.
fn note(path: &Path, all: &mut Stamps) {
    let Ok(about) = fs::metadata(path) else {
        return;
    };
    if about.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if is_case_file(&entry.path()) {
                note(&entry.path(), all);
            }
        }
    } else if let Ok(changed) = about.modified() {
        all.insert(path.to_owned(), (changed, about.len()));
    }
}
