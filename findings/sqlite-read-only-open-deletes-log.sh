#!/bin/sh
# SQLite 3.53.4 (apsw 3.53.4.0): a connection that was opened read-only deletes the write-ahead log
# beside a database file of zero bytes.
#
# A file of zero bytes is a valid, empty database, and a log beside it may hold every commit: this is
# what a copy on a full disk or a stray redirect leaves. One guesses that SQLITE_OPEN_READONLY
# (`mode=ro`) changes no file. It does: the first read deletes the log and reports an empty schema,
# without an error. A tool that only looks must therefore look at the sizes of the files before it
# opens any of them.
#
# Output seen:
#     SQLite 3.53.4
#     log before: more than 400000 bytes
#     read-only connection: 0 objects in the schema, no error
#     log after: gone
#
# Exits with 0 when this is still so, and with 1 when it has changed. Needs python3 with venv.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check apsw==3.53.4.0
cd "$work"
"$work/venv/bin/python" - <<'P'
import os, shutil, sys
import apsw

writer = apsw.Connection("app.db")
for statement in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t(v)"):
    writer.execute(statement).fetchall()
for value in range(100):
    writer.execute("INSERT INTO t VALUES (?)", (value,))
# The files as they lie on disk after a crash, the database emptied.
open("copy.db", "w").close()
shutil.copy("app.db-wal", "copy.db-wal")

before = os.path.getsize("copy.db-wal")
reader = apsw.Connection("copy.db", flags=apsw.SQLITE_OPEN_READONLY)
objects = reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
gone = not os.path.exists("copy.db-wal")

print("SQLite", apsw.sqlite_lib_version())
print("log before:", "more than 400000 bytes" if before > 400_000 else f"{before} bytes")
print(f"read-only connection: {objects} objects in the schema, no error")
print("log after:", "gone" if gone else "still there")
sys.exit(0 if before > 400_000 and objects == 0 and gone else 1)
P
