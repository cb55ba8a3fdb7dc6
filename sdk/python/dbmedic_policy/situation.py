"""What a policy judges by: the event, its context and the parameters in force."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from .contract import (
    ConstraintState, Context, EscalationLevel, Event, Finding, OpenIncident, Outcome, RepairHistory, Tick,
)


class Weekday(enum.IntEnum):
    """A day of the week."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


@dataclass(frozen=True, slots=True)
class LocalMoment:
    """A moment by a local clock."""

    weekday: Weekday
    """The day of the week."""
    minute_of_day: int
    """Minutes since midnight, 0 to 1439."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One event with everything beside it."""

    event: Event
    """Why the policy is asked."""
    context: Context
    """What the host remembers."""
    parameters: Any
    """The parameters in force."""

    @property
    def now_ms(self) -> int:
        """The event's time, milliseconds since the Unix epoch. There is no other clock."""
        return self.context.now_ms

    @property
    def level(self) -> EscalationLevel:
        """The escalation level in force."""
        return self.context.level

    @property
    def finding(self) -> Finding | None:
        """The finding, if the event is one."""
        return self.event if isinstance(self.event, Finding) else None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, if the event is one."""
        return self.event if isinstance(self.event, Outcome) else None

    def history(self, kind: str, repair: str) -> RepairHistory | None:
        """What became of one repair on one kind of problem so far."""
        return next((one for one in self.context.repairs if (one.kind, one.repair) == (kind, repair)), None)

    def metric(self, name: str) -> float | None:
        """The latest value of a main metric."""
        return next((metric.value for metric in self.context.metrics if metric.name == name), None)

    def constraint(self, name: str) -> ConstraintState | None:
        """Where a constraint stands."""
        return next((one for one in self.context.constraints if one.name == name), None)

    def incident(self, id: str) -> OpenIncident | None:
        """An open incident by its identifier."""
        return next((one for one in self.context.incidents if one.id == id), None)

    def own_incident(self) -> OpenIncident | None:
        """The event's own incident, if it is about one."""
        return None if isinstance(self.event, Tick) else self.incident(self.event.incident)

    def approvals(self, repair: str) -> list[str]:
        """Who approves a repair of the event's incident at present, each once, in the order of their answers.

        Of several answers of one person the last one counts; nobody approves what somebody denied since.
        """
        approve: list[str] = []
        own = self.own_incident()
        for answer in own.answers if own else []:
            if answer.repair != repair:
                continue
            if not answer.granted:
                approve.clear()
            elif answer.said.by not in approve:
                approve.append(answer.said.by)
        return approve

    def utc_offset_minutes(self, at_ms: int) -> int:
        """Minutes that the local time is ahead of UTC at a moment; 0 when the local time is not known."""
        local = self.context.local_time
        if local is None:
            return 0
        change = local.next_change
        return change.utc_offset_minutes if change and at_ms >= change.at_ms else local.utc_offset_minutes

    def local(self, at_ms: int) -> LocalMoment:
        """The local weekday and minute of the day at a moment."""
        day, minute = divmod(at_ms // 60_000 + self.utc_offset_minutes(at_ms), 1440)
        # 1 January 1970 was a Thursday.
        return LocalMoment(Weekday((day + 3) % 7), minute)

    def in_maintenance(self) -> bool:
        """Whether people work on the target at the event."""
        return self.context.maintenance.open is not None
