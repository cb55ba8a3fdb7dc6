#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm]. First the policy is asked natively: mistakes have their line there.
set -eu
node dbmedic-policy/check.mjs policy.js
.tools/node_modules/.bin/componentize-qjs --wit wit --world policy --js dbmedic-policy/component.js \
    --module-root . --sync --stub-wasi --output "${1:-my-policy.wasm}"
