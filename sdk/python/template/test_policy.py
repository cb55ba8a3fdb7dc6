"""The policy asked natively: quick, and a debugger can stop in it."""

import pytest

from dbmedic_policy import Classification
from dbmedic_policy.testing import ask, context, failed, finding
from policy import END_HOLDER, MyPolicy


def lock(age_ms):
    return finding("lock.stale-holder", {"age_ms": age_ms, "holder_name": "batch"}, [END_HOLDER])


@pytest.mark.parametrize(
    ("age_ms", "classification"),
    [(299_999, Classification.HICCUP), (300_000, Classification.OBSTACLE)],
)
def test_a_lock_is_stale_from_the_limit_on(age_ms, classification):
    assert ask(MyPolicy, lock(age_ms)).classification is classification


def test_the_limit_is_the_operators():
    verdict = ask(MyPolicy, lock(60_000), stale_lock_age_ms=60_000)
    assert (verdict.repair, verdict.confidence) == (END_HOLDER, 0.9)


def test_after_two_failures_it_is_not_tried_again():
    verdict = ask(MyPolicy, lock(300_000), context(repairs=[failed("lock.stale-holder", END_HOLDER, 2)]))
    assert verdict.repair is None
    assert [reason.rule for reason in verdict.reasons] == ["lock.stale", "lock.keeps-failing"]


def test_a_stale_lock_is_told_once():
    first = ask(MyPolicy, lock(300_000))
    again = ask(MyPolicy, lock(300_000), context(memory=first.memory))
    assert [len(verdict.alerts) for verdict in (first, again)] == [1, 0]
