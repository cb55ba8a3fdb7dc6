"""The two things that a policy may ask its host for: a line in the log, and measurements.

Natively there is no host: notes and series lie in the tables of `dbmedic_policy.testing`.
"""

from __future__ import annotations

from .contract import BaselineSummary, Point

try:
    from wit_world.imports import log as _log
    from wit_world.imports import telemetry as _telemetry

    IN_COMPONENT = True
except ImportError:
    IN_COMPONENT = False

MOST_POINTS = 512

notes: list[tuple[str, str]] = []
series: dict[str, list[Point]] = {}
baselines: dict[str, BaselineSummary] = {}


class log:
    """Writes notes to the host's log; they never change a decision. The host keeps 64 lines of a call."""

    @staticmethod
    def debug(message: str) -> None:
        """A note for the policy's author."""
        _write("debug", message)

    @staticmethod
    def info(message: str) -> None:
        """A note for the operator."""
        _write("info", message)

    @staticmethod
    def warn(message: str) -> None:
        """Something is odd."""
        _write("warn", message)

    @staticmethod
    def error(message: str) -> None:
        """Something is wrong."""
        _write("error", message)


def _write(level: str, message: str) -> None:
    if IN_COMPONENT:
        _log.write(_log.LogLevel[level.upper()], str(message))
    else:
        notes.append((level, str(message)))


class telemetry:
    """The host's measurements of the target, as they stand at the event."""

    @staticmethod
    def latest(name: str) -> Point | None:
        """The latest value of a series; None when there is no such series."""
        if IN_COMPONENT:
            point = _telemetry.latest(name)
            return point and Point(at_ms=point.at_ms, value=point.value)
        points = series.get(name)
        return points[-1] if points else None

    @staticmethod
    def baseline(name: str) -> BaselineSummary | None:
        """What is normal for a series; None when there is no such series."""
        if not IN_COMPONENT:
            return baselines.get(name)
        found = _telemetry.baseline(name)
        fields = BaselineSummary.__dataclass_fields__
        return found and BaselineSummary(**{field: getattr(found, field) for field in fields})

    @staticmethod
    def recent(name: str, limit: int) -> list[Point]:
        """The latest points of a series, oldest first, `limit` and 512 at most."""
        if IN_COMPONENT:
            return [Point(at_ms=each.at_ms, value=each.value) for each in _telemetry.recent(name, limit)]
        most = min(limit, MOST_POINTS)
        return series.get(name, [])[-most:] if most > 0 else []
