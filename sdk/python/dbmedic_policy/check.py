"""Asks a policy natively, before it is built, what the host would ask: `python -m dbmedic_policy.check policy`.

An error has its file and line here, an endless loop too. It is a first look: `dbmedic policy check` asks the
component itself.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType

from . import component, testing
from .contract import EscalationLevel, Event, OutcomeResult, Tick, Value
from .problems import KINDS

SECONDS = 5
_FACTS: dict[str, Value] = {"int | None": 400_000, "float | None": 50.0, "bool | None": True, "str | None": "main"}


class EndlessLoop(Exception):
    """A call did not end in time."""


def typical_events() -> list[Event]:
    """A finding of every known kind with all of its facts and with none, an outcome of each end, and a tick."""
    events: list[Event] = [Tick(), testing.finding("disk.on-fire")]
    for kind, view in KINDS.items():
        fields = view.__dataclass_fields__.values()
        facts = {each.name: _FACTS[each.type] for each in fields if each.type in _FACTS}
        events += [testing.finding(kind), testing.finding(kind, facts)]
    events += [testing.outcome("wal.oversized", "wal.checkpoint", result) for result in OutcomeResult]
    return events


def check(module_name: str) -> str | None:
    """What is wrong with the policy in this module; None when nothing is."""
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    home = os.getcwd()
    try:
        module = importlib.import_module(module_name)
        decision = getattr(module, "Decision", None)
        if decision is None:
            return (
                f"{module_name}.py does not export dbmedic:policy/decision;"
                " write `Decision = export_policy(MyPolicy)` at its end"
            )
        _ask(decision())
    except component.Err as error:
        return f"the policy refuses its own defaults: {error.value}"
    except BaseException as error:
        return component.told(error, home)
    finally:
        signal.alarm(0)
    return None


def _ask(decision: object) -> None:
    decision.describe()
    settings = decision.configure([])
    for event in typical_events():
        for level in EscalationLevel:
            try:
                decision.decide(event, testing.context(settings=settings, level=level))
            except component.Err:
                pass


def _late(_: int, __: FrameType | None) -> None:
    raise EndlessLoop(f"a call did not end within {SECONDS} s; the host allows it 50 ms: let the loop end")


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m dbmedic_policy.check MODULE", file=sys.__stderr__)
        return 2
    sys.path.insert(0, os.getcwd())
    fault = check(sys.argv[1])
    for level, text in testing.notes()[-8:]:
        if level in ("info", "warn"):
            print(f"{level}: {text}", file=sys.__stderr__)
    if fault:
        print(fault, file=sys.__stderr__)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
