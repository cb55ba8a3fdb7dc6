"""What the operator may set, declared once: name, type, default, bounds, and one line for a person."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, cast

from .contract import Parameter, Setting, SettingError, Value

MOST = 2**53
EXPECTED = {
    "integer": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "text": "a text",
    "texts": "a list of texts",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """One parameter as it is declared."""

    kind: str
    summary: str
    default: Value
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if type(self.summary) is not str:
            raise TypeError(f"the summary of a parameter comes first and is a text, not {self.summary!r}")
        if fault := self.fault(self.default):
            raise ValueError(f"the default of a parameter: {fault}")

    def fault(self, value: object) -> str | None:
        """What is wrong with a value; None when nothing is."""
        if not self.is_of_kind(value):
            return f"{shown(value)} is not {EXPECTED[self.kind]}"
        if self.kind not in ("integer", "number"):
            return None
        if self.kind == "integer" and abs(value) >= MOST:
            return f"{value} is 2^53 or more in magnitude, which the contract does not carry; use a smaller unit"
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if not low <= value <= high:
            return f"{shown(value)} is out of bounds; allowed is {shown(low)} to {shown(high)}"
        return None

    def is_of_kind(self, value: object) -> bool:
        """Whether a value has the declared type."""
        if self.kind == "texts":
            return type(value) is list and all(type(each) is str for each in value)
        types = {"integer": (int,), "number": (int, float), "flag": (bool,), "text": (str,)}
        return type(value) in types[self.kind]


def integer(summary: str, default: int, minimum: int | None = None, maximum: int | None = None) -> int:
    """Declares a whole number."""
    return cast(int, Declared("integer", summary, default, minimum, maximum))


def number(summary: str, default: float, minimum: float | None = None, maximum: float | None = None) -> float:
    """Declares a number."""
    return cast(float, Declared("number", summary, default, minimum, maximum))


def flag(summary: str, default: bool) -> bool:
    """Declares a switch."""
    return cast(bool, Declared("flag", summary, default))


def text(summary: str, default: str) -> str:
    """Declares a text."""
    return cast(str, Declared("text", summary, default))


def texts(summary: str, default: list[str]) -> list[str]:
    """Declares a list of texts."""
    return cast("list[str]", Declared("texts", summary, default))


class Parameters:
    """A set of parameters. Derive from it, and declare each parameter as an attribute:

    class Mine(Parameters):
        stale_lock_age_ms = integer("Age from which a write lock counts as stale, milliseconds.", 300_000)
    """

    declared: dict[str, Declared] = {}

    def __init_subclass__(cls) -> None:
        own = {name: each for name, each in vars(cls).items() if isinstance(each, Declared)}
        cls.declared = {**cls.declared, **own}

    def __init__(self, values: dict[str, Any]) -> None:
        for name, declared in self.declared.items():
            value = values.get(name, declared.default)
            setattr(self, name, float(value) if declared.kind == "number" else value)

    @classmethod
    def schema(cls) -> list[Parameter]:
        """What can be set, for `describe`."""
        return [
            Parameter(
                name=name,
                summary=each.summary,
                default=float(each.default) if each.kind == "number" else each.default,
                minimum=None if each.minimum is None else float(each.minimum),
                maximum=None if each.maximum is None else float(each.maximum),
            )
            for name, each in cls.declared.items()
        ]

    @classmethod
    def check(cls, settings: list[Setting]) -> tuple[dict[str, Any], list[SettingError]]:
        """The values that are set, and everything that is wrong with them."""
        values: dict[str, Any] = {}
        errors = []
        for setting in settings:
            if setting.name in values:
                fault = "it is set more than once; keep one"
            elif setting.name in cls.declared:
                fault = cls.declared[setting.name].fault(setting.value)
            else:
                fault = cls._unknown(setting.name)
            if fault:
                errors.append(SettingError(name=setting.name, message=fault))
            values[setting.name] = setting.value
        return values, errors

    @classmethod
    def _unknown(cls, name: str) -> str:
        if near := difflib.get_close_matches(name, cls.declared, n=1, cutoff=0.7):
            return f"there is no such parameter; did you mean `{near[0]}`?"
        if not cls.declared:
            return "there is no such parameter; there are none"
        return f"there is no such parameter; there are {', '.join(cls.declared)}"


def shown(value: object) -> str:
    """A value as it stands in a message: the same text in every language of the SDK."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


def plain(value: float) -> str:
    """A number without an exponent and without `.0`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value):
        return str(int(value))
    digits, _, exponent = repr(value).partition("e")
    return digits if not exponent else f"{value:.{len(digits) - int(exponent)}f}".rstrip("0")
