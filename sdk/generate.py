"""Writes the parts of the Python and TypeScript SDKs that follow from other sources.

    python3 sdk/generate.py          writes them
    python3 sdk/generate.py --check  fails when a committed file differs

The contract's types come from wit/, the typed views of problems from sdk/rust/src/problems.rs.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTERFACES = ["findings", "situation", "verdicts", "telemetry", "decision"]
INDENT = "    "


@dataclass
class Item:
    """A record, an enumeration, or a problem: its name, its documentation, and its fields or cases."""

    kind: str
    name: str
    docs: list[str]
    interface: str
    members: list[tuple[str, str, list[str]]] = field(default_factory=list)


def read_wit() -> list[Item]:
    """The records and enumerations of the contract. Its two variants are written by hand."""
    items: list[Item] = []
    for interface in INTERFACES:
        docs: list[str] = []
        item = None
        for line in (ROOT / "wit" / f"{interface}.wit").read_text().splitlines():
            line = line.strip()
            if line.startswith("///"):
                docs.append(line[3:].strip())
                continue
            begin = re.fullmatch(r"(record|enum|variant) ([a-z0-9-]+) \{", line)
            if begin:
                item = Item(begin[1], begin[2], docs, interface)
                if item.kind != "variant":
                    items.append(item)
            elif line == "}":
                item = None
            elif item and line:
                name, _, wit_type = line.rstrip(",").partition(": ")
                item.members.append((name, wit_type, docs))
            docs = []
    return items


def read_problems() -> list[Item]:
    """The typed views of problems, with their kind in `interface`."""
    text = (ROOT / "sdk/rust/src/problems.rs").read_text()
    body = text.split("\nproblems! {\n", 1)[1].split("\n}\n", 1)[0]
    items: list[Item] = []
    docs: list[str] = []
    for line in map(str.strip, body.splitlines()):
        if line.startswith("///"):
            docs.append(line[3:].strip())
            continue
        begin = re.fullmatch(r'"([a-z.-]+)" => (\w+)(?:<\'a>)? \{(\})?', line)
        member = re.fullmatch(r"(\w+): (u64|f64|bool|&'a str),", line)
        if begin:
            items.append(Item("problem", begin[2], docs, begin[1]))
        elif member:
            items[-1].members.append((member[1], member[2], docs))
        elif line not in ("", "}"):
            raise SystemExit(f"sdk/rust/src/problems.rs: cannot read `{line}`")
        docs = []
    return items


def camel(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split("[-_]", name))


def lower_camel(name: str) -> str:
    whole = camel(name)
    return whole[0].lower() + whole[1:]


def python_docs(docs: list[str], indent: str) -> list[str]:
    text = "\n".join(docs).strip()
    lines = f'"""{text}"""'.splitlines()
    return [f"{indent}{line}".rstrip() for line in lines]


NUMBERS = {"u64": "int", "s64": "int", "u32": "int", "s32": "int", "f64": "float"}


def python_type(wit: str) -> str:
    if wit == "list<u8>":
        return "bytes"
    if found := re.fullmatch(r"(list|option)<(.*)>", wit):
        inner = python_type(found[2])
        return f"list[{inner}]" if found[1] == "list" else f"{inner} | None"
    return NUMBERS.get(wit) or {"bool": "bool", "string": "str"}.get(wit) or camel(wit)


def python_default(wit: str) -> str:
    if wit == "list<u8>":
        return ' = b""'
    if wit.startswith("list<"):
        return " = field(default_factory=list)"
    return " = None" if wit.startswith("option<") else ""


PYTHON_CONTRACT = '''"""The records and enumerations of the contract, as a policy meets them.

Made by sdk/generate.py from wit/; not to be changed by hand. A `value` of the contract is a bool, an int, a
float, a str or a list; an event is a `Finding`, an `Outcome` or a `Tick`.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field


class CasesType(enum.EnumMeta):
    """Says which cases there are where a misspelt one is asked for."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"there is no {cls.__name__}.{name}; there are {', '.join(case.name for case in cls)}")


@functools.total_ordering
class Cases(enum.Enum, metaclass=CasesType):
    """An enumeration: later cases are greater, and `str` is the contract's spelling."""

    def __lt__(self, other: object) -> bool:
        return self.value < other.value if type(self) is type(other) else NotImplemented

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    __hash__ = enum.Enum.__hash__


class Facts:
    """What a finding is asked for by name."""

    def fact(self, name: str) -> Value | None:
        """The value of a fact, whatever its type; None when there is none."""
        return next((fact.value for fact in self.facts if fact.name == name), None)

    def candidate(self, id: str) -> Candidate | None:
        """The repair that the host offers under this identifier."""
        return next((one for one in self.candidates if one.id == id), None)


@dataclass(slots=True)
class Tick:
    """Time passed."""


Value = bool | int | float | str | list[int] | list[str]
'''


def python_contract(items: list[Item]) -> str:
    out = [PYTHON_CONTRACT.rstrip()]
    for item in items:
        name = camel(item.name)
        if item.kind == "enum":
            out += ["", "", f"class {name}(Cases):", *python_docs(item.docs, INDENT)]
            for at, (case, _, docs) in enumerate(item.members):
                out += ["", f"{INDENT}{case.upper().replace('-', '_')} = {at}"]
                out += python_docs(docs, INDENT)
            continue
        base = "(Facts)" if item.name == "finding" else ""
        out += ["", "", "@dataclass(slots=True, kw_only=True)", f"class {name}{base}:"]
        out += [*python_docs(item.docs, INDENT), ""]
        for member, wit, docs in item.members:
            snake = member.replace("-", "_")
            out.append(f"{INDENT}{snake}: {python_type(wit)}{python_default(wit)}")
            out += python_docs(docs, INDENT)
    out += ["", "", "Event = Finding | Outcome | Tick", ""]
    names = {kind: [i for i in items if i.kind == kind] for kind in ("enum", "record")}
    out.append("ENUMERATIONS = {each.__name__: each for each in [")
    out += [f"{INDENT}{camel(item.name)}," for item in names["enum"]]
    out += ["]}", '"""Every enumeration by its name."""', ""]
    out.append("RECORDS = {")
    out += [f'{INDENT}"{camel(i.name)}": ({camel(i.name)}, "{i.interface}"),' for i in names["record"]]
    out += ["}", '"""Every record by its name, with the interface of the contract that it belongs to."""']
    return "\n".join(out) + "\n"


PYTHON_PROBLEMS = '''"""Typed views of the problems that the host knows today.

Made by sdk/generate.py from sdk/rust/src/problems.rs; not to be changed by hand. Every fact may be None, because
kinds and facts come and go without the contract changing. A kind that is not listed is None, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from .contract import Finding


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _flag(value: object) -> bool | None:
    return value if type(value) is bool else None


def _text(value: object) -> str | None:
    return value if type(value) is str else None


_READ = {"int | None": _count, "float | None": _number, "bool | None": _flag, "str | None": _text}


def problem_of(finding: Finding | None) -> Problem | None:
    """The typed view of a finding; None for a kind that is not known here. A fact of another type is None."""
    view = finding and KINDS.get(finding.kind)
    if not view:
        return None
    return view(**{each.name: _READ[each.type](finding.fact(each.name)) for each in fields(view)})
'''

PROBLEM_TYPES = {"u64": "int | None", "f64": "float | None", "bool": "bool | None", "&'a str": "str | None"}


def python_problems(items: list[Item]) -> str:
    out = [PYTHON_PROBLEMS.rstrip()]
    for item in items:
        out += ["", "", "@dataclass(slots=True, frozen=True, kw_only=True)", f"class {item.name}:"]
        out += [*python_docs(item.docs, INDENT), ""]
        out.append(f'{INDENT}KIND: ClassVar[str] = "{item.interface}"')
        for member, rust, docs in item.members:
            out.append(f"{INDENT}{member}: {PROBLEM_TYPES[rust]} = None")
            out += python_docs(docs, INDENT)
    out += ["", "", "Problem = (", INDENT + f"\n{INDENT}| ".join(item.name for item in items), ")", ""]
    out.append("KINDS = {view.KIND: view for view in [")
    out += [f"{INDENT}{item.name}," for item in items]
    out += ["]}", '"""Every view by the kind of problem that it shows."""', ""]
    out.append('__all__ = ["Problem", "problem_of", *(view.__name__ for view in KINDS.values())]')
    return "\n".join(out) + "\n"


def ts_docs(docs: list[str], indent: str) -> list[str]:
    text = [line for line in docs]
    if len(text) == 1:
        return [f"{indent}/** {text[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in text), f"{indent} */"]


def ts_type(wit: str) -> str:
    if wit == "list<u8>":
        return "Uint8Array"
    if found := re.fullmatch(r"(list|option)<(.*)>", wit):
        inner = ts_type(found[2])
        return f"{inner}[]" if found[1] == "list" else f"{inner} | null"
    if wit in NUMBERS:
        return "number"
    return {"bool": "boolean", "string": "string"}.get(wit) or camel(wit)


TS_CONTRACT = """/**
 * The records and enumerations of the contract, as a policy meets them in QuickJS: whole numbers are numbers, none
 * is null, fields are camelCase, cases keep the contract's spelling.
 *
 * Made by sdk/generate.py from wit/; not to be changed by hand.
 */

/** A typed value. Whole numbers stay below 2^53 in magnitude. */
export type Value =
    | { tag: "boolean"; val: boolean }
    | { tag: "integer"; val: number }
    | { tag: "number"; val: number }
    | { tag: "text"; val: string }
    | { tag: "integers"; val: number[] }
    | { tag: "texts"; val: string[] };

/** Why the policy is asked. */
export type Event =
    | { tag: "finding"; val: Finding }
    | { tag: "outcome"; val: Outcome }
    | { tag: "tick" };
"""

TS_ANSWERS = ["verdict", "alert", "reason", "description", "parameter", "setting-error"]


def ts_contract(items: list[Item]) -> str:
    out = [TS_CONTRACT.rstrip()]
    for item in items:
        name = camel(item.name)
        out += ["", *ts_docs(item.docs, "")]
        if item.kind == "enum":
            out.append(f"export type {name} = " + " | ".join(f'"{case}"' for case, _, _ in item.members) + ";")
            continue
        out.append(f"export interface {name} {{")
        for member, wit, docs in item.members:
            out += [*ts_docs(docs, INDENT), f"{INDENT}{lower_camel(member)}: {ts_type(wit)};"]
        out.append("}")
    out += ["", "/** The cases of every enumeration, in the contract's order. */", "export const CASES = {"]
    for item in items:
        if item.kind == "enum":
            cases = ", ".join(f'"{case}"' for case, _, _ in item.members)
            out.append(f'{INDENT}"{item.name}": [{cases}],')
    out += ["} as const;", ""]
    out.append("/** The fields of what a policy answers, with their types in the contract. */")
    out.append("export const ANSWERS: { readonly [record: string]: { readonly [field: string]: string } } = {")
    for item in items:
        if item.name in TS_ANSWERS:
            out.append(f'{INDENT}"{item.name}": {{')
            out += [f'{INDENT * 2}{lower_camel(member)}: "{wit}",' for member, wit, _ in item.members]
            out.append(f"{INDENT}}},")
    out += ["};", "", "/** The interface of the contract that each record and enumeration belongs to. */"]
    out.append("export const INTERFACES: { readonly [item: string]: string } = {")
    out += [f'{INDENT}"{item.name}": "{item.interface}",' for item in items]
    out.append("};")
    return "\n".join(out) + "\n"


TS_PROBLEMS = """/**
 * Typed views of the problems that the host knows today.
 *
 * Made by sdk/generate.py from sdk/rust/src/problems.rs; not to be changed by hand. Every fact may be null, because
 * kinds and facts come and go without the contract changing. A kind that is not listed is null, never an error.
 */

import type { Finding, Value } from "./contract.js";
"""

TS_PROBLEM_OF = """/** The typed view of a finding; null for a kind that is not known here. A fact of another type is null. */
export function problemOf(finding: Finding | null): Problem | null {
    const known = finding === null ? undefined : FACTS[finding.kind];
    if (finding === null || known === undefined) {
        return null;
    }
    const view: { [field: string]: unknown } = { kind: finding.kind };
    for (const [name, type] of Object.entries(known)) {
        const field = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
        const value = finding.facts.find((fact) => fact.name === name)?.value;
        view[field] = value === undefined ? null : READ[type](value);
    }
    return view as unknown as Problem;
}

const READ = {
    count: (value: Value) => (value.tag === "integer" && value.val >= 0 ? value.val : null),
    number: (value: Value) => (value.tag === "integer" || value.tag === "number" ? value.val : null),
    flag: (value: Value) => (value.tag === "boolean" ? value.val : null),
    text: (value: Value) => (value.tag === "text" ? value.val : null),
};
"""

TS_PROBLEM_TYPES = {
    "u64": ("number", "count"),
    "f64": ("number", "number"),
    "bool": ("boolean", "flag"),
    "&'a str": ("string", "text"),
}


def ts_problems(items: list[Item]) -> str:
    out = [TS_PROBLEMS.rstrip()]
    for item in items:
        out += ["", *ts_docs(item.docs, ""), f"export interface {item.name} {{"]
        out.append(f'{INDENT}readonly kind: "{item.interface}";')
        for member, rust, docs in item.members:
            type_name = TS_PROBLEM_TYPES[rust][0]
            out += [*ts_docs(docs, INDENT), f"{INDENT}readonly {lower_camel(member)}: {type_name} | null;"]
        out.append("}")
    out += ["", "/** A finding seen as one of the known problems. */", "export type Problem ="]
    out += [f"{INDENT}| {item.name}" for item in items]
    out[-1] += ";"
    out += ["", "/** The facts of every known kind, with what they are read as. */"]
    out.append("export const FACTS: { readonly [kind: string]: { readonly [fact: string]: keyof typeof READ } } = {")
    for item in items:
        facts = "".join(f'\n{INDENT * 2}{m}: "{TS_PROBLEM_TYPES[t][1]}",' for m, t, _ in item.members)
        out.append(f'{INDENT}"{item.interface}": {{{facts}\n{INDENT}}},' if facts else f'{INDENT}"{item.interface}": {{}},')
    out += ["};", "", TS_PROBLEM_OF.rstrip()]
    return "\n".join(out) + "\n"


def main() -> int:
    contract, problems = read_wit(), read_problems()
    made = {
        "sdk/python/dbmedic_policy/contract.py": python_contract(contract),
        "sdk/python/dbmedic_policy/problems.py": python_problems(problems),
        "sdk/typescript/dbmedic-policy/contract.ts": ts_contract(contract),
        "sdk/typescript/dbmedic-policy/problems.ts": ts_problems(problems),
    }
    status = 0
    for name, text in made.items():
        path = ROOT / name
        if sys.argv[1:] != ["--check"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{name} differs from what its sources give; run: python3 sdk/generate.py", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
