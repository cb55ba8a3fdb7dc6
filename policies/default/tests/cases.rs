//! The component that these sources give, held against its own cases by dbmedic itself.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

fn run(program: &OsStr, set_up: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = Command::new(program);
    let output = set_up(&mut command).output().expect("it can be started");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "builds the component and asks the dbmedic that DBMEDIC names: sh tests/mutants.sh"]
fn the_component_passes_its_cases() {
    let dbmedic = env::var_os("DBMEDIC").expect("DBMEDIC names the binary");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("component");
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    run(&cargo, |command| {
        // Quick to build, and small enough to be compiled by dbmedic in a moment.
        command
            .args(["build", "--locked", "--target", TARGET, "--target-dir"])
            .arg(&build)
            .args(["--package", env!("CARGO_PKG_NAME")])
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .current_dir(here)
    });
    let component = build.join(TARGET).join("debug/default_policy.wasm");
    run(&dbmedic, |command| {
        command
            .args(["policy", "test"])
            .arg(component)
            .arg(here.join("cases"))
    });
}
