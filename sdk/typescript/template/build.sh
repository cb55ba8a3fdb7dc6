#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm]; with --types it checks the types and stops before. First the policy is
# asked natively: mistakes have their line there.
set -eu
.tools/node_modules/.bin/tsc --project . --pretty false
node dbmedic-policy/strip.mjs .typescript
[ "${1-}" != --types ] || exit 0
node dbmedic-policy/check.mjs .typescript/policy.js
.tools/node_modules/.bin/componentize-qjs --wit wit --world policy --js .typescript/dbmedic-policy/component.js \
    --module-root . --sync --stub-wasi --output "${1:-my-policy.wasm}"
