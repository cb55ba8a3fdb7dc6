"""The component's `Decision`: calls the policy, and puts into the host's log what would be lost otherwise.

`print` goes to the log. A mistake of the policy is written there with its file and line, and then ends the call as
a trap: it must not look like a refusal. What a component has not (a clock, files, late imports) raises an error
that says so, instead of a trap without a word.
"""

from __future__ import annotations

import datetime
import os
import random
import sys
import time
import types
from typing import Any, Callable

from . import policy as questions
from .answer import Refusal
from .host import log
from .policy import Policy, SettingErrors
from .wire import lift, lower

try:
    from componentize_py_types import Err
except ImportError:

    class Err(Exception):
        """What the bindings raise for the contract's error cases."""

        def __init__(self, value: Any) -> None:
            super().__init__(value)
            self.value = value


_SDK = os.path.dirname(__file__)


def export_policy(policy: type[Policy]) -> type:
    """The class that componentize-py looks for under the name `Decision`: `Decision = export_policy(MyPolicy)`."""
    if not (isinstance(policy, type) and issubclass(policy, Policy)):
        raise TypeError(f"export_policy takes a class derived from Policy, not {policy!r}; write it without ()")
    # Says at build time what is missing.
    lower(questions.describe(policy), "Description", "description")
    home = os.path.dirname(getattr(sys.modules[policy.__module__], "__file__", None) or "")

    class Decision:
        """The contract's interface `decision`."""

        def describe(self) -> Any:
            return _guarded(home, lambda: lower(questions.describe(policy), "Description", "description"))

        def configure(self, settings: list[Any]) -> bytes:
            return _guarded(home, lambda: questions.configure(policy, lift(settings)))

        def decide(self, event: Any, context: Any) -> Any:
            def judge() -> Any:
                return lower(questions.decide(policy, lift(event), lift(context)), "Verdict", "verdict")

            return _guarded(home, judge)

    return Decision


def _guarded(home: str, call: Callable[[], Any]) -> Any:
    _prepare(home)
    try:
        return call()
    except SettingErrors as error:
        errors = [lower(each, "SettingError", "setting-error") for each in error.errors]
        raise Err(errors) from None
    except Refusal as refusal:
        raise Err(lower(refusal.reason, "Reason", "reason")) from None
    except BaseException as error:
        log.error(told(error, home))
        # Otherwise the bindings print the whole trace there.
        sys.stderr = None
        raise


def told(error: BaseException, home: str) -> str:
    """An error in one line, with the innermost place in the policy's own files: `KeyError: 'gone' at policy.py:24`."""
    text = f"{type(error).__name__}: {error}"
    places = []
    trace = error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if _is_own(file, home):
            places.append(f"{os.path.relpath(file, home)}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{text} at {places[-1]}" if places else text


def _is_own(file: str, home: str) -> bool:
    return os.path.dirname(file).startswith(home) and os.path.dirname(file) != _SDK and os.path.isabs(file)


class NotInAComponent(RuntimeError):
    """The policy asked for something that a pure function has not."""


_CLOCK = "a policy has no clock; the event's time is `situation.now_ms`"
_CHANCE = "a policy has no source of randomness: the same event must give the same answer"
_MISSING = {
    time: (_CLOCK, "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns localtime gmtime ctime sleep"),
    random: (_CHANCE, "random randint randrange choice choices shuffle sample uniform getrandbits seed randbytes"),
    os: (_CHANCE, "urandom getrandom"),
}
_EVENTS = {
    "open": "a policy has no files; what it must know belongs into its parameters or its source",
    "import": "a module must be imported when the component is built; move the import to the top of the file",
    "os.": "a policy has no operating system",
    "socket.": "a policy has no network",
    "subprocess.": "a policy has no processes",
}


class _NoClock(datetime.datetime):
    """`datetime.datetime` without the present."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        raise NotInAComponent(f"datetime.now: {_CLOCK}")

    utcnow = today = now


class _NoClockDate(datetime.date):
    """`datetime.date` without the present."""

    @classmethod
    def today(cls) -> Any:
        raise NotInAComponent(f"date.today: {_CLOCK}")


_prepared = False


def _prepare(home: str) -> None:
    """Once in each instance: not while the component is built, when nothing may be called."""
    global _prepared
    if _prepared:
        return
    _prepared = True
    sys.stdout = _Lines(log.info)
    sys.stderr = _Lines(log.warn)
    instead = {id(datetime.datetime): _NoClock, id(datetime.date): _NoClockDate}
    for module, (why, names) in _MISSING.items():
        for name in filter(lambda name: hasattr(module, name), names.split()):
            missing = _missing(f"{module.__name__}.{name}: {why}")
            instead[id(getattr(module, name))] = missing
            setattr(module, name, missing)
    datetime.datetime, datetime.date = _NoClock, _NoClockDate
    for module in [each for each in sys.modules.values() if _is_own(getattr(each, "__file__", None) or "", home)]:
        _replace(module, instead)
    sys.addaudithook(_refuse)


def _replace(module: types.ModuleType, instead: dict[int, Any]) -> None:
    """For `from time import time`, which holds the function itself."""
    for name, value in list(vars(module).items()):
        if id(value) in instead:
            setattr(module, name, instead[id(value)])


def _missing(message: str) -> Callable[..., Any]:
    def missing(*_: Any, **__: Any) -> Any:
        raise NotInAComponent(message)

    return missing


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    for prefix, why in _EVENTS.items():
        if event == prefix or (prefix.endswith(".") and event.startswith(prefix)):
            what = f" of {arguments[0]}" if event in ("open", "import") else ""
            raise NotInAComponent(f"{event}{what}: {why}")


class _Lines:
    """A stream whose lines are notes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._write(line)
        return len(text)

    def flush(self) -> None:
        if self._begun:
            self._write(self._begun)
            self._begun = ""
