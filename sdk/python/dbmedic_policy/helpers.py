"""What most policies need over time: cool-downs, counts in a window, coming down, repairs that keep failing.

Cool-downs and windows live in the policy's memory, as dicts and lists that JSON can hold.
"""

from __future__ import annotations

from .answer import Answer, seconds
from .contract import Classification, EscalationLevel, OpenIncident
from .situation import Situation

COME_DOWN_MS = 600_000
MOST_TIMES = 64

LEVEL_OF = {
    None: EscalationLevel.NORMAL,
    Classification.HICCUP: EscalationLevel.WATCH,
    Classification.OBSTACLE: EscalationLevel.WARN,
    Classification.WALL: EscalationLevel.ESCALATE,
    Classification.CRISIS: EscalationLevel.ESCALATE,
}
"""The level that a class calls for."""


def cool_down(last: dict[str, int], rule: str, now_ms: int, pause_ms: int) -> bool:
    """Whether a rule may speak: it never did, or at least `pause_ms` ago. If so, the time is noted in `last`.

    `last` is a dict in the policy's memory; it keeps the latest 64. Where a clock was set back, the pause begins again.
    """
    if rule in last:
        last[rule] = min(last[rule], now_ms)
        if now_ms - last[rule] < pause_ms:
            return False
        del last[rule]
    for oldest in list(last)[: 1 - MOST_TIMES]:
        del last[oldest]
    last[rule] = now_ms
    return True


class Window:
    """Times of something, to be counted: a view of a list in the policy's memory. Keeps the latest 64."""

    def __init__(self, times: list[int]) -> None:
        self.times = times

    def add(self, now_ms: int) -> None:
        """It happened now."""
        self.times[:] = [*self.times[1 - MOST_TIMES :], now_ms]

    def count(self, now_ms: int, span_ms: int) -> int:
        """How often it happened within the span that ends now."""
        return sum(1 for at_ms in self.times if now_ms - at_ms <= span_ms)


def failures_in_a_row(situation: Situation, kind: str, repair: str) -> int:
    """How often a repair of this kind of problem failed since it last succeeded."""
    history = situation.history(kind, repair)
    return history.failures_in_a_row if history else 0


def come_down(situation: Situation, answer: Answer, after_ms: int = COME_DOWN_MS) -> None:
    """Takes the level one step down when it has been in force for long enough, the event asks for less, and no
    open incident keeps it."""
    present = situation.level
    asked = answer.asked
    since_ms = max(situation.now_ms - situation.context.level_since_ms, 0)
    if asked >= present or since_ms <= after_ms:
        return
    if any(_gravity(one, situation, answer) >= present for one in situation.context.incidents):
        return
    below = max(EscalationLevel(present.value - 1), asked)
    answer.level(below)
    answer.because("level.returns", f"no cause for it for {seconds(since_ms)}: from {present} to {below}")


def _gravity(incident: OpenIncident, situation: Situation, answer: Answer) -> EscalationLevel:
    finding = situation.finding
    own = finding is not None and finding.incident == incident.id
    classification = answer.so_far.classification if own else incident.classification
    # What nobody has classified might be anything that is not worth a call yet.
    return EscalationLevel.WARN if classification is None else LEVEL_OF[classification]
