#!/bin/sh
# Builds the component: sh build.sh [FILE.wasm].
set -eu
rm -rf build && mkdir build
compile() {
    .tools/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c11 -Os -Wall -Wextra "$@"
}
# Every file here but the unit test. Undefined behaviour breaks off with file and line in the policy's log.
for file in *.c; do
    [ "$file" = unit_test.c ] && continue
    compile -fsanitize=undefined -fno-sanitize-recover=undefined -c -o "build/${file%.c}.o" "$file"
done
compile -Wl,-z,stack-size=65536 -Wl,--strip-all -o build/core.wasm build/*.o sdk/*.c sdk/gen/*.c
"${DBMEDIC:-dbmedic}" policy component build/core.wasm -o "${1:-my-policy.wasm}"
