#!/bin/sh
# Builds the guests of the sandbox tests anew; the components stand prebuilt beside their sources,
# so that testing needs no WebAssembly target. Run it after a change of wit/ or of a guest.
set -eu
cd "$(dirname "$0")/../.."

target="${CARGO_TARGET_DIR:-target}"
# A stack of 64 KiB is what a policy needs; the paths are the same from every clone.
RUSTFLAGS="-C link-arg=-zstack-size=65536 \
  --remap-path-prefix=$PWD=dbmedic --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
  cargo build --locked --profile policy --target wasm32-unknown-unknown -p hostile-policy
cp "$target/wasm32-unknown-unknown/policy/hostile_policy.wasm" tests/guests/hostile/hostile.wasm
