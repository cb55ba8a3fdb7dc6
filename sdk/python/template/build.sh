#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm]. First the policy is asked natively: mistakes have their line there.
set -eu
.tools/bin/python -B -m dbmedic_policy.check policy
.tools/bin/componentize-py -d wit -w policy componentize --stub-wasi policy -o "${1:-my-policy.wasm}"
