#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm].
set -eu
mkdir -p build
# A failed assertion, and undefined behaviour, break off with file and line in the policy's log.
.tools/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c11 -Os -Wall -Wextra \
    -fsanitize=undefined -fno-sanitize-recover=undefined -Wl,-z,stack-size=65536 -Wl,--strip-all \
    -o build/core.wasm policy.c sdk/*.c sdk/gen/*.c
"${DBMEDIC:-dbmedic}" policy component build/core.wasm -o "${1:-my-policy.wasm}"
