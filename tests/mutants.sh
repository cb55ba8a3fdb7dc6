#!/bin/sh
# Changes what decides, one piece at a time, and reports every change that no test notices.
#
#   sh tests/mutants.sh            the policy, the SDK and the guard, some hours
#   sh tests/mutants.sh policy     the default policy, by its native tests and its cases
#   sh tests/mutants.sh cases      the default policy, by its cases alone
#   sh tests/mutants.sh sdk        the Rust SDK, by its tests and those of the default policy
#   sh tests/mutants.sh guard      the guard, by its own tests, without the rest of dbmedic
#
# Needs cargo-mutants (cargo install cargo-mutants --locked) beside what tests/run.sh needs. Two tools
# make the changes: cargo-mutants, and tests/mutants, which changes numbers by one, thresholds by their
# border and levels and classes by one step. What survives it and is equivalent stands with its reason in
# tests/mutants/equivalent.txt. Nothing in the sources is changed: both work in a copy.
# CARGO_TARGET_DIR is not heeded.
set -eu
cd "$(dirname -- "$0")/.."
unset CARGO_TARGET_DIR

target=wasm32-unknown-unknown
status=0
step() { printf '\n== %s\n' "$*" >&2; }

# cargo-mutants over a package or a file, then the numbers and borders of the sources.
# standard NAME ARGUMENTS... : cargo-mutants; its results lie in target/mutants/NAME
standard() {
    name=$1
    shift
    mkdir -p "target/mutants/$name"
    cargo mutants --output "target/mutants/$name" --baseline skip --timeout 300 --build-timeout 900 \
        --no-shuffle "$@" || status=1
}
# borders SOURCES... -- COMMAND... : tests/mutants
borders() {
    cargo run --quiet --locked --package dbmedic-mutants -- \
        --allow tests/mutants/equivalent.txt "$@" || status=1
}

# The dbmedic that the cases are run by.
dbmedic() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target"
    cargo build --locked --package dbmedic
    DBMEDIC=$PWD/target/debug/dbmedic
    export DBMEDIC
}
policy() {
    step "the default policy, by its native tests and its cases"
    dbmedic
    standard policy --package default-policy -- --lib --test cases -- --include-ignored
    borders policies/default/src -- cargo test --quiet --locked --package default-policy \
        --lib --test cases -- --include-ignored
}
cases() {
    step "the default policy, by its cases alone"
    dbmedic
    standard cases --package default-policy -- --test cases -- --ignored
    borders policies/default/src -- \
        cargo test --quiet --locked --package default-policy --test cases -- --ignored
}
sdk() {
    step "the Rust SDK, by its tests and those of the default policy"
    standard sdk --package dbmedic-policy --test-package dbmedic-policy,default-policy
    borders sdk/rust/src -- \
        cargo test --quiet --locked --package dbmedic-policy --package default-policy --lib
}
guard() {
    step "the guard"
    standard guard --package dbmedic-core --file host/core/src/guard.rs -- --lib guard::
    borders host/core/src/guard.rs -- cargo test --quiet --locked --package dbmedic-core --lib guard::
}

cargo mutants --version >/dev/null 2>&1 || {
    echo "cargo-mutants is missing: cargo install cargo-mutants --locked" >&2
    exit 2
}
[ $# -gt 0 ] || set -- policy sdk guard
for part in "$@"; do
    case $part in
    policy | cases | sdk | guard) "$part" ;;
    *)
        echo "usage: sh tests/mutants.sh [policy] [cases] [sdk] [guard]" >&2
        exit 2
        ;;
    esac
done
exit $status
