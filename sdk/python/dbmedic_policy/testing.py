"""For a policy's native tests: what the host would answer, events to ask about, and how to ask."""

from __future__ import annotations

from . import host, policy as questions
from .contract import (
    BaselineSummary, Candidate, CascadeLevel, Context, DataLoss, EscalationLevel, Event, Fact, Finding, Maintenance,
    Outcome, OutcomeResult, Point, RepairHistory, Setting, Value, Verdict,
)
from .policy import Policy
from .wire import lower

NOW_MS = 1_000_000


def finding(kind: str, facts: dict[str, Value] | None = None, candidates: list[str] | None = None) -> Finding:
    """A finding of this kind with these facts and repairs: incident `i-1`, subject `main`, severity 0.5, seen once."""
    return Finding(
        incident="i-1", kind=kind, subject="main", summary=kind, severity=0.5,
        first_seen_ms=NOW_MS, last_seen_ms=NOW_MS, sightings=1,
        facts=[Fact(name=name, value=value) for name, value in (facts or {}).items()],
        candidates=[candidate(id) for id in candidates or []],
    )  # fmt: skip


def candidate(id: str, level: CascadeLevel = CascadeLevel.IN_PLACE) -> Candidate:
    """A repair without preconditions that loses nothing and can be taken back."""
    loss = DataLoss(commits=0, percent=0.0)
    return Candidate(id=id, summary=id, level=level, expected_duration_ms=500, expected_loss=loss, undoable=True)


def outcome(kind: str, repair: str, result: OutcomeResult) -> Outcome:
    """The end of a repair of the incident `i-1`."""
    loss = DataLoss(commits=0, percent=0.0)
    return Outcome(
        incident="i-1", kind=kind, subject="main", repair=repair, outcome_result=result, reason="", duration_ms=7,
        loss=loss,
    )  # fmt: skip


def failed(kind: str, repair: str, times: int) -> RepairHistory:
    """A repair that failed this often in a row, and never succeeded."""
    return RepairHistory(kind=kind, repair=repair, successes=0, failures=times, failures_in_a_row=times, last_ms=NOW_MS)


def context(**fields: object) -> Context:
    """A context of a SQLite database at 1 000 000 ms, level normal since 0, and nothing else but these fields."""
    made = Context(
        now_ms=NOW_MS, target="test", target_kind="sqlite", maintenance=Maintenance(), level=EscalationLevel.NORMAL,
        level_since_ms=0,
    )  # fmt: skip
    for name, value in fields.items():
        if name not in Context.__dataclass_fields__:
            raise TypeError(f"a context has no {name}; it has {', '.join(Context.__dataclass_fields__)}")
        setattr(made, name, value)
    return made


def ask(policy: type[Policy], event: Event, context: Context | None = None, **settings: Value) -> Verdict:
    """The policy's verdict, as the host would get it; `settings` are its parameters. Raises what it raises.

    The settings of the context are packed anew. To carry a memory on, put the verdict's `memory` into the next
    context.
    """
    context = context or globals()["context"]()
    given = [Setting(name=name, value=value) for name, value in settings.items()]
    context.settings = questions.configure(policy, given)
    verdict = questions.decide(policy, event, context)
    lower(verdict, "Verdict", "verdict")
    return verdict


def notes() -> list[tuple[str, str]]:
    """Takes the notes that the policy wrote: level and text."""
    taken = host.notes[:]
    host.notes.clear()
    return taken


def set_series(name: str, points: list[tuple[int, float]]) -> None:
    """Sets the points of a series, oldest first: milliseconds since the Unix epoch, and value."""
    host.series[name] = [Point(at_ms=at_ms, value=value) for at_ms, value in points]


def set_baseline(name: str, baseline: BaselineSummary) -> None:
    """Sets what is normal for a series."""
    host.baselines[name] = baseline


def clear() -> None:
    """Forgets every series, baseline and note."""
    host.series.clear()
    host.baselines.clear()
    host.notes.clear()
