#!/bin/sh
# SQLite 3.40.1 and 3.53.4 (apsw 3.40.1.0 and 3.53.4.0): a healthy FTS5 table that holds a REAL value, written by
# the one, fails the integrity-check of the other as "fts5: checksum mismatch", without any damage.
#
# One guesses that a full-text index of a file that nobody changed stays right when the library is updated. But
# FTS5 indexes the text of a number, and 3.40 writes 1/3 as 0.333333333333333, 3.53 as 0.33333333333333332: the
# index holds a word that the newer library would not make of the row. PRAGMA integrity_check includes this check,
# so a tool with a newer library calls the whole file faulty, and FTS5's 'rebuild' by it makes the index fail for
# the application that still uses the older one.
#
# Output seen:
#     SQLite 3.40.1: lat as text 0.333333333333333; integrity-check ok; PRAGMA integrity_check ok
#     SQLite 3.53.4: lat as text 0.33333333333333332; integrity-check fts5: checksum mismatch for table "f"; PRAGMA integrity_check fts5: checksum mismatch for table "f"
#
# Exits with 0 when this is still so, and with 1 when it has changed. Needs python3 with venv.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 3.40.1.0 3.53.4.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -q --disable-pip-version-check "apsw==$version"
done
cat >"$work/look.py" <<'P'
import os
import sys
import apsw

is_new = not os.path.exists(sys.argv[1])
db = apsw.Connection(sys.argv[1])
if is_new:
    db.execute("CREATE VIRTUAL TABLE f USING fts5(name, lat)")
    db.execute("INSERT INTO f VALUES ('here', ?)", (1 / 3,))
try:
    db.execute("INSERT INTO f(f) VALUES ('integrity-check')")
    check = "ok"
except apsw.Error as error:
    check = str(error)
text = db.execute("SELECT lat || '' FROM f").fetchone()[0]
whole = db.execute("PRAGMA integrity_check").fetchone()[0]
print(
    f"SQLite {apsw.sqlitelibversion()}: lat as text {text}; integrity-check {check}; "
    f"PRAGMA integrity_check {whole}"
)
P
for version in 3.40.1.0 3.53.4.0; do
    "$work/$version/bin/python" "$work/look.py" "$work/places.db" >>"$work/seen"
done
cat "$work/seen"
sed -n 's/^#     //p' "$0" >"$work/expected"
cmp -s "$work/expected" "$work/seen" || {
    echo "changed" >&2
    exit 1
}
