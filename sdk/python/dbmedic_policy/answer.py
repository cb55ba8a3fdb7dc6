"""The verdict while it is being made, and the texts in it."""

from __future__ import annotations

import math
import re

from .contract import Alert, Classification, EscalationLevel, Reason, Urgency, Verbosity, Verdict
from .wire import checked

_RULE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+")


class Refusal(Exception):
    """Raise it where the policy cannot judge; the host then decides cautiously. No failure of the policy."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason(rule, text)


class Answer:
    """A verdict in the making. It begins as the cautious one: no repair, no halt, the level as it is."""

    def __init__(self, level: EscalationLevel) -> None:
        self._verdict = Verdict(level=level, needs_approval=False, halt=False, confidence=0.0, verbosity=Verbosity.NORMAL)
        self._verbosity: Verbosity | None = None
        self.asked = EscalationLevel.NORMAL
        """The highest level that `at_least` was called with."""

    @property
    def so_far(self) -> Verdict:
        """The verdict as it stands; to be read, not to be changed."""
        return self._verdict

    def classify(self, classification: Classification) -> Answer:
        """Says what the problem means."""
        self._verdict.classification = checked(classification, "Classification", "verdict.classification")
        return self

    def level(self, level: EscalationLevel) -> Answer:
        """Sets the level from now on."""
        self._verdict.level = checked(level, "EscalationLevel", "verdict.level")
        return self

    def at_least(self, level: EscalationLevel) -> Answer:
        """Sets the level to this one unless it is higher already."""
        self.asked = max(self.asked, checked(level, "EscalationLevel", "verdict.level"))
        self._verdict.level = max(self._verdict.level, level)
        return self

    def repair(self, candidate: str, confidence: float) -> Answer:
        """Chooses a repair by its identifier; `confidence` says how sure the choice is, 0 to 1."""
        self._verdict.repair = checked(candidate, "str", "verdict.repair")
        self._verdict.confidence = _share(confidence)
        return self

    def needs_approval(self) -> Answer:
        """Has the chosen repair wait until a person answered; `Situation.approvals` says who approved."""
        self._verdict.needs_approval = True
        return self

    def no_repair(self) -> Answer:
        """Chooses no repair after all."""
        self._verdict.repair = None
        self._verdict.needs_approval = False
        self._verdict.confidence = 0.0
        return self

    def halt(self) -> Answer:
        """Stops: no repair may touch the target until a person releases it."""
        self._verdict.halt = True
        return self.no_repair()

    def verbosity(self, verbosity: Verbosity) -> Answer:
        """Sets how much to write down; by itself, escalate writes everything, watch and warn the context."""
        self._verbosity = checked(verbosity, "Verbosity", "verdict.verbosity")
        return self

    def because(self, rule: str, text: str) -> Answer:
        """Adds a reason; the weightiest comes first."""
        self._verdict.reasons.append(reason(rule, text))
        return self

    def alert(self, rule: str, urgency: Urgency, message: str) -> Answer:
        """Tells people."""
        alert = Alert(rule=rule, urgency=urgency, message=message)
        self._verdict.alerts.append(checked(alert, "Alert", "alert"))
        return self

    def suggest(self, suggestion: str) -> Answer:
        """Suggests something to a person, once."""
        if checked(suggestion, "str", "verdict.suggestions") not in self._verdict.suggestions:
            self._verdict.suggestions.append(suggestion)
        return self

    def finish(self, memory: bytes | None) -> Verdict:
        """The verdict with what is to be remembered; a memory that is too large is dropped with a reason."""
        by_level = {
            EscalationLevel.NORMAL: Verbosity.NORMAL,
            EscalationLevel.WATCH: Verbosity.ELEVATED,
            EscalationLevel.WARN: Verbosity.ELEVATED,
            EscalationLevel.ESCALATE: Verbosity.INCIDENT,
        }
        self._verdict.verbosity = self._verbosity or by_level[self._verdict.level]
        if memory is None:
            self.because("memory.too-large", "the policy's memory exceeds 16384 bytes and was dropped")
        self._verdict.memory = memory or b""
        return self._verdict


def _share(value: float) -> float:
    share = checked(value, "float", "verdict.confidence")
    if not 0 <= share <= 1:
        raise ValueError(f"dbmedic:policy/verdicts verdict.confidence: {value} does not lie between 0 and 1")
    return share


def reason(rule: str, text: str) -> Reason:
    """A reason: a stable rule name that outlives any rewording, and a text for a person."""
    if not is_rule_name(rule):
        raise ValueError(
            f"dbmedic:policy/verdicts reason.rule: {rule!r} is no rule name; write two or more words of a-z, 0-9 and -,"
            " joined by dots, as in `lock.too-fresh`"
        )
    return Reason(rule=rule, text=checked(text, "str", "reason.text"))


def is_rule_name(name: object) -> bool:
    """Whether this is the name of a rule: dotted kebab-case, two words at least."""
    return type(name) is str and _RULE_NAME.fullmatch(name) is not None


def seconds(ms: int) -> str:
    """Milliseconds as a person reads them: `4.2 s`, tenths cut off, so that no text overstates."""
    return f"{ms // 1_000}.{ms % 1_000 // 100} s"


def percent(value: float) -> str:
    """A percentage as a person reads it: `4.2 %`, half a tenth rounded up."""
    tenths = math.floor(value * 10 + 0.5)
    sign = "-" if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10} %"
