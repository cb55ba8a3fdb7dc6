#!/bin/sh
# Builds every Rust policy beside this script into policies/prebuilt/NAME.wasm, and the guests of the
# sandbox tests into tests/guests/NAME/NAME.wasm.
#
#   sh policies/build.sh          rebuilds the components
#   sh policies/build.sh --check  rebuilds them elsewhere; fails when the committed bytes differ
#
# The bytes depend on the sources, Cargo.lock and the toolchain only, not on where the clone lies.
# CARGO_TARGET_DIR says where to build; by default target/policies.
set -eu

target=wasm32-unknown-unknown

# Sets the shadow stack and the whole of memory at the start of a component, bytes. A fresh instance
# serves every decision; its heap lies between the two, so that an ordinary decision never has to grow
# the memory.
sizes_of() {
    stack_bytes=65536
    memory_bytes=327680
    case $1 in
    # It reads conditions, which may be nested, and keeps some hundred rules in memory.
    rules)
        stack_bytes=262144
        memory_bytes=1048576
        ;;
    esac
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$here")
cargo_home=${CARGO_HOME:-$HOME/.cargo}

case "${1-}" in
'') check=false ;;
--check) check=true ;;
*)
    echo "usage: sh policies/build.sh [--check]" >&2
    exit 2
    ;;
esac

cd "$root"
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    echo "adding the target $target to this toolchain"
    rustup target add "$target"
fi

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/policies}
export CARGO_TARGET_DIR
# In the encoded form a space in a path needs no quoting. RUSTFLAGS would take part otherwise.
unset RUSTFLAGS
us=$(printf '\037')
flags=--remap-path-prefix=$root=/dbmedic
# One directory for each registry that this machine ever used, named by its address.
cargo fetch --quiet --locked --target "$target"
for registry in "$cargo_home"/registry/src/*; do
    flags=$flags$us--remap-path-prefix=$registry=/cargo
done

mkdir -p policies/prebuilt
status=0
for manifest in "$here"/*/Cargo.toml "$root"/tests/guests/*/Cargo.toml; do
    directory=$(dirname -- "$manifest")
    name=$(basename -- "$directory")
    case $directory in
    "$here"/*) committed=policies/prebuilt/$name.wasm ;;
    *) committed=tests/guests/$name/$name.wasm ;;
    esac
    package=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$manifest" | head -n 1)
    # Components of the same sizes share what is compiled.
    sizes_of "$name"
    sizes=-Clink-arg=-zstack-size=$stack_bytes$us-Clink-arg=--initial-memory=$memory_bytes
    CARGO_ENCODED_RUSTFLAGS=$flags$us$sizes \
        cargo build --locked --profile policy --target "$target" --package "$package"
    built=$CARGO_TARGET_DIR/$target/policy/$(printf %s "$package" | tr - _).wasm

    # A policy may import nothing but the contract. The names of interfaces stand in the bytes.
    if LC_ALL=C grep -aq 'wasi:' "$built"; then
        echo "$name imports WASI; a policy may import nothing but dbmedic:policy" >&2
        status=1
        continue
    fi
    if ! $check; then
        cp "$built" "$committed"
        echo "$committed: $(wc -c <"$built") bytes"
    elif cmp -s "$built" "$committed"; then
        echo "$committed is what its sources give"
    else
        echo "$committed differs from what its sources give ($(rustc --version));" \
            "run: sh policies/build.sh" >&2
        status=1
    fi
done
exit $status
