#!/bin/sh
# Builds the policy for this machine and asks it.
set -eu
mkdir -p build
.tools/bin/python -m ziglang cc -std=c11 -g -Wall -Wextra -o build/unit_test unit_test.c policy.c sdk/*.c
build/unit_test
