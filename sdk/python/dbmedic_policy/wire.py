"""Between the SDK's records and the bindings: lifts what the host hands in, checks and lowers what is answered.

Natively, without bindings, lowering only checks.
"""

from __future__ import annotations

import math
from typing import Any

from .contract import ENUMERATIONS, RECORDS, Tick

try:
    from wit_world.exports import decision as _decision
    from wit_world.imports import findings as _findings
    from wit_world.imports import verdicts as _verdicts

    _BINDINGS = {"decision": _decision, "findings": _findings, "verdicts": _verdicts}
except ImportError:
    _BINDINGS = {}

_INTERFACES = {name: "verdicts" for name in ("Classification", "EscalationLevel", "Verbosity", "Urgency")}
_PLAIN = {"str": "a text", "bool": "True or False", "bytes": "bytes"}


def lift(raw: Any) -> Any:
    """A value of the bindings as the SDK's own."""
    if type(raw) is list:
        return [lift(each) for each in raw]
    name = type(raw).__name__
    if name in RECORDS:
        record = RECORDS[name][0]
        return record(**{field: lift(getattr(raw, field)) for field in record.__dataclass_fields__})
    if name in ENUMERATIONS:
        return ENUMERATIONS[name](raw.value)
    if name == "Event_Tick":
        return Tick()
    if name.startswith(("Value_", "Event_")):
        return lift(raw.value)
    return raw


def checked(value: Any, kind: str, item: str) -> Any:
    """The value, if it is of this kind; otherwise an error that names the contract's item and the remedy."""
    return _lower(value, kind, item, bind=False)


def lower(value: Any, kind: str, item: str) -> Any:
    """The same, as a value of the bindings where there are any."""
    return _lower(value, kind, item, bind=bool(_BINDINGS))


def _lower(value: Any, kind: str, item: str, bind: bool) -> Any:
    if kind.endswith(" | None"):
        return None if value is None else _lower(value, kind.removesuffix(" | None"), item, bind)
    if kind.startswith("list["):
        if type(value) is not list:
            raise _wrong(value, "a list", item, "write it in square brackets")
        return [_lower(each, kind[5:-1], f"{item}[{at}]", bind) for at, each in enumerate(value)]
    if kind in ENUMERATIONS:
        return _case(value, kind, item, bind)
    if kind in RECORDS:
        return _record(value, kind, item, bind)
    if kind == "Value":
        return _value(value, item, bind)
    if kind == "float":
        return _number(value, item)
    if type(value).__name__ != kind:
        raise _wrong(value, _PLAIN[kind], item)
    return value


def _record(value: Any, kind: str, item: str, bind: bool) -> Any:
    record, interface = RECORDS[kind]
    if type(value) is not record:
        raise _wrong(value, f"a {kind}", item, f"write `{kind}(...)`")
    fields = record.__dataclass_fields__.items()
    lowered = {name: _lower(getattr(value, name), each.type, f"{item}.{name}", bind) for name, each in fields}
    return getattr(_BINDINGS[interface], kind)(**lowered) if bind else value


def _case(value: Any, kind: str, item: str, bind: bool) -> Any:
    cases = ENUMERATIONS[kind]
    if type(value) is not cases:
        raise _wrong(value, f"a {kind}", item, f"write {kind}.{', '.join(case.name for case in cases)}")
    return getattr(getattr(_BINDINGS[_INTERFACES[kind]], kind), value.name) if bind else value


def _number(value: Any, item: str) -> float:
    if type(value) not in (int, float):
        raise _wrong(value, "a number", item)
    if not math.isfinite(value):
        raise _wrong(value, "a finite number", item)
    return float(value)


def _value(value: Any, item: str, bind: bool) -> Any:
    of_list = type(value[0]) if type(value) is list and value else str
    names = {bool: "Boolean", int: "Integer", float: "Number", str: "Text"}
    name = {int: "Integers", str: "Texts"}.get(of_list) if type(value) is list else names.get(type(value))
    if not name:
        raise _wrong(value, "True, False, a number, a text, or a list of whole numbers or texts", item)
    return getattr(_BINDINGS["findings"], f"Value_{name}")(value) if bind else value


def _wrong(value: Any, expected: str, item: str, remedy: str = "") -> TypeError:
    record = item.partition(".")[0].partition("[")[0]
    names = {name.lower(): interface for name, (_, interface) in RECORDS.items()}
    interface = names.get(record.replace("-", ""), "decision")
    got = repr(value)
    got = got if len(got) <= 60 else got[:60] + "..."
    tail = f"; {remedy}" if remedy else ""
    return TypeError(f"dbmedic:policy/{interface} {item}: {expected} is expected, not {got}{tail}")
