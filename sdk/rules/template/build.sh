#!/bin/sh
# Checks the rules and their cases; the component is the same for all rules.
set -eu
out=${1:-my-policy.wasm}
cp rules.wasm "$out"
"${DBMEDIC:-dbmedic}" policy check rules.wasm --unsigned --set rules=@my-policy.rules.toml
