#!/bin/sh
# SQLite 3.40.1 and 3.53.4 (apsw 3.40.1.0 and 3.53.4.0): an index on date(x), written by the one, is faulty by
# PRAGMA integrity_check of the other, and a query gives another result by that index than without it.
#
# One guesses that a function which SQLite allows in an index gives the same in every version, and that
# integrity_check finds damage of the file. But date('2023-02-29') is '2023-02-29' in SQLite 3.40 and '2023-03-01'
# in 3.53. One day that somebody typed wrong is enough: after an update of the library, or when a tool with a newer
# library looks at the file, rows are "missing from index". Neither is damaged. REINDEX by the newer library makes
# the index faulty for the application that still uses the older one.
#
# Output seen:
#     SQLite 3.40.1 writes: date('2023-02-29') is 2023-02-29; integrity_check: ok; from March: 1 row, by the index 1
#     SQLite 3.53.4 reads: date('2023-02-29') is 2023-03-01; integrity_check: row 2 missing from index march; from March: 2 row, by the index 1
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
import sys
import apsw

db = apsw.Connection(sys.argv[2])
if sys.argv[1] == "writes":
    db.execute(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, day TEXT);"
        "CREATE INDEX march ON t(id) WHERE date(day) >= '2023-03-01';"
        "INSERT INTO t(day) VALUES ('2023-02-28'), ('2023-02-29'), ('2023-03-01')"
    )
one = lambda sql: db.execute(sql).fetchone()[0]
count = lambda how: one(f"SELECT count(*) FROM t {how} WHERE date(day) >= '2023-03-01'")
day = one("SELECT date('2023-02-29')")
check = one("PRAGMA integrity_check")
print(
    f"SQLite {apsw.sqlitelibversion()} {sys.argv[1]}: date('2023-02-29') is {day}; integrity_check: {check}; "
    f"from March: {count('NOT INDEXED')} row, by the index {count('INDEXED BY march')}"
)
P
"$work/3.40.1.0/bin/python" "$work/look.py" writes "$work/days.db" >"$work/seen"
"$work/3.53.4.0/bin/python" "$work/look.py" reads "$work/days.db" >>"$work/seen"
cat "$work/seen"
sed -n 's/^#     //p' "$0" >"$work/expected"
cmp -s "$work/expected" "$work/seen" || {
    echo "changed" >&2
    exit 1
}
