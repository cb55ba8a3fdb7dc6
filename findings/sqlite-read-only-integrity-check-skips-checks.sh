#!/bin/sh
# SQLite 3.53.4 (apsw 3.53.4.0): PRAGMA integrity_check finds a row that violates a CHECK constraint
# on a connection that may write, and says "ok" of the same file on a read-only one.
#
# One guesses that a check that only reads gives the same answer however the file was opened. But a
# connection opened with SQLITE_OPEN_READONLY does not load CHECK constraints, so integrity_check and
# quick_check cannot evaluate them and say nothing of it. A connection that may write and has
# PRAGMA query_only = 1 does load them. Whoever checks backups over read-only connections never sees
# such rows.
#
# Output seen:
#     SQLite 3.53.4
#     read-only:  integrity_check ok; quick_check ok
#     read-write: integrity_check CHECK constraint failed in t; quick_check CHECK constraint failed in t
#     query_only: integrity_check CHECK constraint failed in t; quick_check CHECK constraint failed in t
#
# Exits with 0 when this is still so, and with 1 when it has changed. Needs python3 with venv.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check apsw==3.53.4.0
cd "$work"
"$work/venv/bin/python" - <<'P'
import sys
import apsw

made = apsw.Connection("checked.db")
made.execute("CREATE TABLE t(a CHECK (a > 0))")
# A row from before the constraint was added, as ALTER TABLE tricks and imports leave it.
made.execute("PRAGMA ignore_check_constraints = 1; INSERT INTO t VALUES (-1)")
made.close()

def answers(flags, prepare=None):
    db = apsw.Connection("checked.db", flags=flags)
    if prepare:
        db.execute(prepare)
    return [db.execute(f"PRAGMA {check}").fetchone()[0] for check in ("integrity_check", "quick_check")]

read_only = answers(apsw.SQLITE_OPEN_READONLY)
read_write = answers(apsw.SQLITE_OPEN_READWRITE)
query_only = answers(apsw.SQLITE_OPEN_READWRITE, "PRAGMA query_only = 1")
print("SQLite", apsw.sqlite_lib_version())
for name, seen in (("read-only:", read_only), ("read-write:", read_write), ("query_only:", query_only)):
    print(f"{name:<11} integrity_check {seen[0]}; quick_check {seen[1]}")
failed = ["CHECK constraint failed in t"] * 2
sys.exit(0 if read_only == ["ok", "ok"] and read_write == failed and query_only == failed else 1)
P
