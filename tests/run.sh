#!/bin/sh
# Everything that must hold: formatting, lints, rebuilt policies, all tests.
#
# Needs a Rust toolchain (1.95 or later), a C compiler and Linux. It adds what it lacks itself: the
# target wasm32-unknown-unknown, and the components rustfmt and clippy.
set -eu
cd "$(dirname -- "$0")/.."

step() { printf '\n== %s\n' "$*" >&2; }

step "formatting"
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo fmt --all --check

step "lints"
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
cargo clippy --locked --workspace --all-targets --profile tests -- -D warnings

step "policies: the committed components are what their sources give"
sh policies/build.sh --check

step "tests"
cargo test --locked --workspace --profile tests
