"""The class that an author derives from, and how the contract's three functions follow from it."""

from __future__ import annotations

import binascii
import difflib
import json
from typing import Any, ClassVar

from .answer import Answer, Refusal
from .contract import Classification, Context, Description, Event, Setting, SettingError, Verdict
from .helpers import LEVEL_OF, come_down
from .parameters import Parameters
from .situation import Situation

LIMIT_BYTES = 16 * 1024
# Tells these bytes from those of a policy of the same name in a language that does not write JSON.
_JSON = 0x80
_EMPTY = "they are empty"
_FOREIGN = "another policy or another version wrote them"
_DAMAGED = "they are damaged"
_QUESTIONS = ["classify", "choose", "escalate", "decide"]


class Policy:
    """A policy: three questions about every event, and what it wants to remember.

    An author overrides one question, all three, or `decide` as a whole. Every decision gets a new object of the
    class: what is to be carried on goes into `memory`.
    """

    name: ClassVar[str]
    """Stable name in kebab-case."""
    version: ClassVar[str]
    """Its version, semver."""
    summary: ClassVar[str]
    """One line for a person."""
    parameters: ClassVar[type[Parameters]] = Parameters
    """What the operator may set."""
    initial_memory: ClassVar[dict[str, Any]] = {}
    """What is remembered at first; dicts with text keys, lists, texts, numbers, True, False and None."""
    layout: ClassVar[int] = 1
    """Raise it, up to 127, when the meaning of the memory changes: older bytes are then forgotten, not misread."""

    def __init_subclass__(cls) -> None:
        for name in [name for name, each in vars(cls).items() if callable(each) and name not in _QUESTIONS]:
            if near := difflib.get_close_matches(name, _QUESTIONS, n=1, cutoff=0.85):
                raise TypeError(f"class {cls.__name__} defines `{name}`, which nobody asks; did you mean `{near[0]}`?")

    def classify(self, situation: Situation, memory: dict[str, Any], answer: Answer) -> None:
        """The first question: what does the problem mean? By itself, a wall: nobody has judged it."""
        if situation.finding:
            kind = situation.finding.kind
            answer.classify(Classification.WALL)
            answer.because("policy.not-judged", f"this policy has no rule for {kind}")

    def choose(self, situation: Situation, memory: dict[str, Any], answer: Answer) -> None:
        """The second question: which of the offered repairs is to be tried? By itself, none."""

    def escalate(self, situation: Situation, memory: dict[str, Any], answer: Answer) -> None:
        """The third question: who must know? By itself, the level rises with the class, a crisis halts, and
        the level comes down step by step when nothing asks for it."""
        classification = answer.so_far.classification
        answer.at_least(LEVEL_OF[classification])
        if classification is Classification.CRISIS:
            answer.halt()
        come_down(situation, answer)

    def decide(self, situation: Situation, memory: dict[str, Any]) -> Answer:
        """The whole answer; by itself the three questions in the order in which they need each other."""
        answer = Answer(situation.level)
        self.classify(situation, memory, answer)
        self.choose(situation, memory, answer)
        self.escalate(situation, memory, answer)
        return answer


class SettingErrors(Exception):
    """Everything that is wrong with the settings."""

    def __init__(self, errors: list[SettingError]) -> None:
        super().__init__("; ".join(f"{error.name}: {error.message}" for error in errors))
        self.errors = errors


def describe(policy: type[Policy]) -> Description:
    """Says who the policy is and what can be set."""
    for field, example in (("name", "my-policy"), ("version", "0.1.0"), ("summary", "Calls a person.")):
        if type(getattr(policy, field, None)) is not str:
            raise TypeError(
                f"dbmedic:policy/decision description.{field}: class {policy.__name__} does not say it;"
                f' write `{field} = "{example}"` in the class'
            )
    parameters = policy.parameters.schema()
    return Description(name=policy.name, version=policy.version, summary=policy.summary, parameters=parameters)


def configure(policy: type[Policy], settings: list[Setting]) -> bytes:
    """Checks the settings and packs them; raises `SettingErrors`."""
    values, errors = policy.parameters.check(settings)
    packed = b"" if errors else _pack(policy, values)
    if packed is None:
        errors = [SettingError(name="", message=f"all settings together exceed {LIMIT_BYTES} bytes")]
    if errors:
        raise SettingErrors(errors)
    return packed


def decide(policy: type[Policy], event: Event, context: Context) -> Verdict:
    """Judges one event: unpacks settings and memory, asks the policy, packs its memory; raises `Refusal`.

    Settings that cannot be read are a refusal: to judge by other numbers than the operator's would be worse
    than not to judge. A memory that cannot be read is forgotten, with a reason that says so.
    """
    values, why = _unpack(policy, context.settings)
    if why:
        raise Refusal("settings.unreadable", f"the settings cannot be read: {why}; have `configure` pack them again")
    remembered, forgotten = _unpack(policy, context.memory)
    memory = {**json.loads(json.dumps(policy.initial_memory)), **(remembered or {})}
    answer = policy().decide(Situation(event, context, policy.parameters(values)), memory)
    if type(answer) is not Answer:
        raise TypeError(
            f"dbmedic:policy/decision decide: {policy.__name__}.decide returned {answer!r};"
            " make an `Answer(situation.level)` and return it"
        )
    if forgotten not in (None, _EMPTY):
        text = f"what was remembered could not be read, and is begun anew: {forgotten}"
        answer.because("memory.unreadable", text)
    return answer.finish(_pack(policy, memory))


def _fnv1a(text: str) -> bytes:
    value = 0xCBF2_9CE4_8422_2325
    for byte in text.encode():
        value = (value ^ byte) * 0x0000_0100_0000_01B3 % 2**64
    return value.to_bytes(8, "little")


def _mark(policy: type[Policy]) -> bytes:
    if not 1 <= policy.layout < _JSON:
        raise ValueError(f"class {policy.__name__}: layout is {policy.layout}; write a number from 1 to 127")
    return bytes([_JSON | policy.layout]) + _fnv1a(policy.name)


def _pack(policy: type[Policy], values: dict[str, Any]) -> bytes | None:
    try:
        body = json.dumps(values, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
        if json.loads(body) != values:
            raise TypeError("it is not the same when it is read back; use lists for tuples, and texts as keys")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"dbmedic:policy/verdicts verdict.memory: {error}; keep dicts with text keys, lists, texts, finite numbers,"
            " True, False and None in it"
        ) from None
    packed = _mark(policy) + binascii.crc32(body).to_bytes(4, "little") + body
    return packed if len(packed) <= LIMIT_BYTES else None


def _unpack(policy: type[Policy], packed: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """What was packed, or why it cannot be read."""
    if not packed:
        return None, _EMPTY
    if packed[:9] != _mark(policy):
        return None, _FOREIGN
    body = packed[13:]
    if packed[9:13] != binascii.crc32(body).to_bytes(4, "little"):
        return None, _DAMAGED
    return json.loads(body), None
