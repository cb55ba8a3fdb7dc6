#!/bin/sh
# Fossil 2.21 (Debian's package, 1:2.21-1+deb12u1) with SQLite 3.53.4 (apsw 3.53.4.0): each new repository, and each
# checkout, has rows without a parent by the foreign keys that its own schema declares.
#
# One guesses that a schema with REFERENCES means them, that a database of a program by the authors of SQLite keeps
# its own rules, and that what PRAGMA foreign_key_check lists is left over from an error: one deletes these rows, or
# switches foreign_keys on. But Fossil never enforces them. In a repository 0 stands for "none" (tagxref.srcid
# REFERENCES blob); in a checkout the parent's table is in another file (vfile.rid REFERENCES blob), where with
# foreign_keys=ON no row could be written at all. `fossil test-integrity` finds nothing wrong. So a tool cannot tell
# an orphan from a convention.
#
# Output seen:
#     repository: integrity_check ok, foreign keys broken: blob by tagxref
#     checkout: integrity_check ok, foreign keys broken: blob by vfile; a row with foreign_keys=ON: no such table: main.blob
#     fossil test-integrity: low-level database integrity-check: ok
#
# Exits with 0 when this is still so, and with 1 when it has changed. Needs python3 with venv, and apt-get for the
# package, which is unpacked into the temporary folder and not installed.
set -eu
script=$(cd "$(dirname -- "$0")" && pwd)/$(basename -- "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "apsw==3.53.4.0"
# apt fetches as another user, who must be able to write there.
mkdir "$work/package" && chmod 777 "$work" "$work/package"
(cd "$work/package" && apt-get download -q "fossil=1:2.21-1+deb12u1" >/dev/null && dpkg -x fossil_*.deb "$work/root")
PATH=$work/root/usr/bin:$PATH
HOME=$work
USER=somebody
export HOME USER PATH
mkdir "$work/tree"
cd "$work/tree"
fossil init ../repository.fossil >/dev/null
fossil open ../repository.fossil >/dev/null
echo text >file
fossil add file >/dev/null
fossil commit --no-warnings -m first >/dev/null 2>&1
cat >"$work/look.py" <<'P'
import sys
import apsw

def look(name, path):
    db = apsw.Connection(path)
    check = db.execute("PRAGMA integrity_check").fetchone()[0]
    broken = sorted({(row[2], row[0]) for row in db.execute("PRAGMA foreign_key_check")})
    said = f"{name}: integrity_check {check}, foreign keys broken: "
    return said + ", ".join(f"{parent} by {table}" for parent, table in broken), db

print(look("repository", sys.argv[1])[0])
said, db = look("checkout", sys.argv[2])
db.execute("PRAGMA foreign_keys=ON")
try:
    db.execute("INSERT INTO vfile(vid, chnged, rid, mrid, pathname) VALUES (1, 0, 1, 1, 'other')")
    answer = "written"
except apsw.SQLError as error:
    answer = str(error).replace("SQLError: ", "")
print(f"{said}; a row with foreign_keys=ON: {answer}")
P
{
    "$work/venv/bin/python" "$work/look.py" "$work/repository.fossil" "$work/tree/.fslckout"
    printf 'fossil test-integrity: '
    fossil test-integrity -R ../repository.fossil | tail -n 1
} >"$work/seen"
cat "$work/seen"
sed -n 's/^#     //p' "$script" >"$work/expected"
cmp -s "$work/expected" "$work/seen" || {
    echo "changed" >&2
    exit 1
}
