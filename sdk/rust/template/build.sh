#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm]. The versions of all crates stand in Cargo.lock.
set -eu
cargo build --locked --release --target wasm32-unknown-unknown
cp "${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/release/policy.wasm" "${1:-my-policy.wasm}"
