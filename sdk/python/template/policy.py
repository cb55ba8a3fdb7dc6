"""Ends stale locks, waits for fresh ones, calls a person for the rest."""

from dbmedic_policy import (
    Classification, Parameters, Policy, StaleLock, Urgency, cool_down, export_policy, failures_in_a_row, integer,
    problem_of, seconds,
)  # fmt: skip

END_HOLDER = "lock.end-holder"
"""The repair that this policy chooses."""
FAILURES = 2
"""Failures in a row after which it is not chosen again."""
PAUSE_MS = 600_000
"""Nobody is told of a stale lock twice within this time, milliseconds."""


class MyParameters(Parameters):
    """What the operator may set."""

    stale_lock_age_ms = integer(
        "Age from which a write lock counts as stale, milliseconds.", 300_000, minimum=1_000, maximum=86_400_000
    )


class MyPolicy(Policy):
    """The policy. What it does not answer, the SDK does: see `Policy`."""

    name = "my-policy"
    version = "0.1.0"
    summary = "Ends stale locks, waits for fresh ones, calls a person for the rest."
    parameters = MyParameters
    initial_memory = {"told": {}}

    def classify(self, situation, memory, answer):
        lock = problem_of(situation.finding)
        if not isinstance(lock, StaleLock) or lock.age_ms is None:
            return super().classify(situation, memory, answer)
        limit_ms = situation.parameters.stale_lock_age_ms
        text = f"lock held {seconds(lock.age_ms)}, stale from {seconds(limit_ms)}"
        if lock.age_ms < limit_ms:
            answer.classify(Classification.HICCUP).because("lock.too-fresh", text)
        else:
            answer.classify(Classification.OBSTACLE).because("lock.stale", text)

    def choose(self, situation, memory, answer):
        if answer.so_far.classification is not Classification.OBSTACLE:
            return
        lock = problem_of(situation.finding)
        failures = failures_in_a_row(situation, lock.KIND, END_HOLDER)
        if failures >= FAILURES:
            answer.because("lock.keeps-failing", f"{END_HOLDER} failed {failures} times in a row")
        elif situation.finding.candidate(END_HOLDER):
            answer.repair(END_HOLDER, confidence=0.9)
        if cool_down(memory["told"], "lock_stale", situation.now_ms, PAUSE_MS):
            holder = lock.holder_name or "a process"
            text = f"{holder} holds the write lock for {seconds(lock.age_ms)}"
            answer.alert("lock_stale", Urgency.WARNING, text)


Decision = export_policy(MyPolicy)
