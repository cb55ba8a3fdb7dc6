"""The SDK itself, natively: `python -m pytest sdk/python`."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

SDK = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SDK))

from dbmedic_policy import (  # noqa: E402
    Answer, Classification, EscalationLevel, Parameters, Policy, Refusal, Urgency, Window, come_down, cool_down,
    export_policy, failures_in_a_row, flag, integer, is_rule_name, log, number, percent, problem_of, reason, seconds,
    telemetry, text, texts,
)  # fmt: skip
from dbmedic_policy import component, contract, policy as questions, testing, wire  # noqa: E402
from dbmedic_policy.contract import LocalTime, OffsetChange, OpenIncident, RepairAnswer, Attribution, Setting  # noqa: E402
from dbmedic_policy.parameters import shown  # noqa: E402
from dbmedic_policy.problems import KINDS, StaleLock  # noqa: E402
from dbmedic_policy.situation import LocalMoment, Situation, Weekday  # noqa: E402
from dbmedic_policy.testing import ask, context, finding  # noqa: E402

NORMAL, WATCH, WARN, ESCALATE = EscalationLevel


class Some(Parameters):
    age_ms = integer("An age.", 300, minimum=100, maximum=1_000)
    share_percent = number("A share.", 5, minimum=0, maximum=100)
    repair = flag("A switch.", True)
    owner = text("A name.", "nobody")
    tables = texts("Tables.", [])


class Counting(Policy):
    """Counts events, so that its memory shows."""

    name = "counting"
    version = "0.1.0"
    summary = "Counts."
    parameters = Some
    initial_memory = {"seen": 0}

    def classify(self, situation, memory, answer):
        memory["seen"] += 1
        super().classify(situation, memory, answer)
        answer.suggest(f"seen {memory['seen']}")


def errors_of(**settings):
    given = [Setting(name=name, value=value) for name, value in settings.items()]
    with pytest.raises(questions.SettingErrors) as raised:
        questions.configure(Counting, given)
    return [(error.name, error.message) for error in raised.value.errors]


def test_all_setting_errors_are_told_at_once_in_the_words_of_every_language():
    assert errors_of(age_mss=200, zzz=1, age_ms=1.5, repair="yes", share_percent=math.nan) == [
        ("age_mss", "there is no such parameter; did you mean `age_ms`?"),
        ("zzz", "there is no such parameter; there are age_ms, share_percent, repair, owner, tables"),
        ("age_ms", "1.5 is not a whole number"),
        ("repair", '"yes" is not true or false'),
        ("share_percent", "NaN is out of bounds; allowed is 0 to 100"),
    ]
    assert errors_of(age_ms=-1) == [("age_ms", "-1 is out of bounds; allowed is 100 to 1000")]
    twice = [Setting(name="age_ms", value=200), Setting(name="age_ms", value=200)]
    with pytest.raises(questions.SettingErrors, match="it is set more than once; keep one"):
        questions.configure(Counting, twice)


def test_what_is_declared_is_described_and_read():
    described = questions.describe(Counting).parameters
    assert [one.name for one in described] == ["age_ms", "share_percent", "repair", "owner", "tables"]
    assert (described[0].default, described[0].minimum, described[0].maximum) == (300, 100.0, 1_000.0)
    assert type(described[1].default) is float and described[2].minimum is None
    read = []

    class Reading(Counting):
        def choose(self, situation, memory, answer):
            read.append(vars(situation.parameters))

    ask(Reading, finding("k"), age_ms=100, owner="ops", share_percent=7)
    assert read == [{"age_ms": 100, "share_percent": 7.0, "repair": True, "owner": "ops", "tables": []}]


@pytest.mark.parametrize("declare", [
    lambda: integer("An age.", 99, minimum=100),
    lambda: integer("An age.", "300"),
    lambda: integer(300, 100),
    lambda: integer("Bytes.", 2**53),
    lambda: texts("Tables.", [1]),
])  # fmt: skip
def test_a_declaration_that_cannot_be_is_refused_at_once(declare):
    with pytest.raises((TypeError, ValueError)):
        declare()


def test_numbers_are_shown_without_exponents():
    numbers = {0.1: "0.1", 5.0: "5", 1e21: "1000000000000000000000", 1e-7: "0.0000001", 1.5e-7: "0.00000015", -2.5: "-2.5"}
    assert {number: shown(number) for number in numbers} == numbers


def test_durations_and_shares_read_the_same_in_every_language():
    assert [seconds(ms) for ms in (0, 4_299, 300_000)] == ["0.0 s", "4.2 s", "300.0 s"]
    shares = {95.04: "95.0 %", 2.25: "2.3 %", 0.05: "0.1 %", -0.26: "-0.3 %", -0.04: "0.0 %", 100: "100.0 %"}
    assert {share: percent(share) for share in shares} == shares


def test_a_rule_name_is_dotted_kebab_case():
    assert all(map(is_rule_name, ["lock.too-fresh", "a.b", "wal.frame.2"]))
    assert not any(map(is_rule_name, ["", "lock", "lock.", ".lock", "Lock.a", "lock..a", "lock a", "lock.-a", None]))
    with pytest.raises(ValueError, match="no rule name"):
        reason("lock", "text")


def test_the_memory_is_carried_on_and_a_strange_one_is_forgotten_with_a_reason():
    first = ask(Counting, finding("k"))
    second = ask(Counting, finding("k"), context(memory=first.memory))
    assert [verdict.suggestions for verdict in (first, second)] == [["seen 1"], ["seen 2"]]
    for memory, why in [
        (b"\xff", "another policy or another version wrote them"),
        (b"\0" * 16_384, "another policy or another version wrote them"),
        (first.memory[:-1], "they are damaged"),
        (first.memory + b"\x80", "they are damaged"),
        (first.memory[:13], "they are damaged"),
    ]:
        verdict = ask(Counting, finding("k"), context(memory=memory))
        assert verdict.suggestions == ["seen 1"]
        assert verdict.reasons[-1].rule == "memory.unreadable" and verdict.reasons[-1].text.endswith(why)


def test_memory_of_another_name_or_layout_is_foreign():
    first = ask(Counting, finding("k"))

    class Other(Counting):
        name = "other"

    class Later(Counting):
        layout = 2

    for policy in (Other, Later):
        assert ask(policy, finding("k"), context(memory=first.memory)).suggestions == ["seen 1"]


def test_the_mark_is_layout_and_fingerprint():
    assert questions._mark(Counting)[0] == 0x81
    # FNV-1a of the empty text is its offset basis, and of "a" a published vector.
    assert questions._fnv1a("") == 0xCBF29CE484222325.to_bytes(8, "little")
    assert questions._fnv1a("a") == 0xAF63DC4C8601EC8C.to_bytes(8, "little")


def test_too_large_a_memory_is_dropped_and_what_json_cannot_keep_is_an_error():
    class Full(Counting):
        def choose(self, situation, memory, answer):
            memory["full"] = "x" * 16_384

    verdict = ask(Full, finding("k"))
    assert verdict.memory == b"" and verdict.reasons[-1].rule == "memory.too-large"
    for odd in ({1: 2}, (1, 2), {1}, math.nan):

        class Odd(Counting):
            def choose(self, situation, memory, answer):
                memory["odd"] = odd

        with pytest.raises(TypeError, match="verdict.memory"):
            ask(Odd, finding("k"))


def test_settings_that_cannot_be_read_are_a_refusal():
    with pytest.raises(Refusal) as raised:
        questions.decide(Counting, finding("k"), context(settings=b"?"))
    assert raised.value.reason.rule == "settings.unreadable"


def decided(**fields):
    """The default policy's verdict for a class."""
    classification = fields.pop("classification", None)

    class Classing(Policy):
        name, version, summary = "classing", "0.1.0", "Classes."

        def classify(self, situation, memory, answer):
            if classification:
                answer.classify(classification).because("test.class", "so")

    return ask(Classing, finding("k"), context(**fields))


def test_the_level_rises_with_the_class_and_only_a_crisis_halts():
    levels = [WATCH, WARN, ESCALATE, ESCALATE]
    for classification, level in zip(Classification, levels):
        verdict = decided(classification=classification)
        assert (verdict.level, verdict.halt) == (level, classification is Classification.CRISIS)
        # What is higher stays for a while.
        kept = decided(classification=classification, level=ESCALATE, level_since_ms=testing.NOW_MS)
        assert kept.level is ESCALATE


def test_a_level_without_a_cause_returns_step_by_step():
    late = 600_001
    since = testing.NOW_MS - late
    for level, below in [(ESCALATE, WARN), (WARN, WATCH), (WATCH, NORMAL)]:
        verdict = decided(level=level, level_since_ms=since)
        assert verdict.level is below
        assert verdict.reasons[-1].text == f"no cause for it for 600.0 s: from {level} to {below}"
    assert decided(level=WARN, level_since_ms=since + 1).level is WARN
    assert decided(level=WARN, level_since_ms=since, classification=Classification.HICCUP).level is WATCH


def test_an_open_incident_keeps_the_level_that_its_class_calls_for():
    def after(level, id, classification, own=None):
        open = OpenIncident(
            id=id, kind="k", subject="main", opened_ms=0, sightings=1, classification=classification
        )  # fmt: skip
        return decided(level=level, level_since_ms=0, incidents=[open], classification=own).level

    assert after(ESCALATE, "i-2", Classification.WALL) is ESCALATE
    assert after(ESCALATE, "i-2", None) is WARN
    assert after(WARN, "i-2", None) is WARN
    assert after(ESCALATE, "i-1", Classification.WALL, own=Classification.HICCUP) is WARN


def test_a_thing_rests_for_its_pause_and_no_other_does():
    last = {}
    answers = [cool_down(last, *ask, 500) for ask in [("a", 1_000), ("a", 1_499), ("b", 1_499), ("a", 1_500), ("a", 1_500)]]
    assert answers == [True, False, True, True, False]
    back = {"a": 9_000}
    assert not cool_down(back, "a", 1_000, 500) and cool_down(back, "a", 1_500, 500)
    for at in range(200):
        assert cool_down(last, str(at), at, 10)
    assert len(last) == 64


def test_a_window_counts_and_is_bounded():
    times = []
    window = Window(times)
    for at in range(200):
        window.add(at)
    assert (len(times), window.count(199, 1_000), window.count(199, 9), window.count(0, 9)) == (64, 64, 10, 64)


def test_failures_in_a_row_are_those_of_the_repair():
    repairs = [testing.failed("k", "r", 2), testing.failed("k", "s", 3)]
    situation = Situation(finding("k"), context(repairs=repairs), None)
    assert [failures_in_a_row(situation, "k", repair) for repair in "rst"] == [2, 3, 0]


def test_who_approves_is_known_by_the_last_answers():
    def approve(*answers):
        said = [
            RepairAnswer(repair=repair, granted=granted, said=Attribution(by=by, at_ms=0))
            for by, repair, granted in answers
        ]
        own = OpenIncident(id="i-1", kind="k", subject="main", opened_ms=0, sightings=1, answers=said)
        return Situation(finding("k"), context(incidents=[own]), None).approvals("r")

    assert approve(("eve", "r", True), ("eve", "r", True), ("bob", "s", True), ("bob", "r", True)) == ["eve", "bob"]
    assert approve(("eve", "r", True), ("bob", "r", False)) == []
    assert approve(("bob", "r", False), ("eve", "r", True)) == ["eve"]


def test_local_time_follows_the_next_change():
    change_ms = 7 * 3_600_000
    change = OffsetChange(at_ms=change_ms, utc_offset_minutes=-360)
    situation = Situation(contract.Tick(), context(local_time=LocalTime(utc_offset_minutes=-420, next_change=change)), None)
    assert situation.local(0) == LocalMoment(Weekday.WEDNESDAY, 17 * 60)
    assert situation.local(change_ms - 1) == LocalMoment(Weekday.WEDNESDAY, 1439)
    assert situation.local(change_ms) == LocalMoment(Weekday.THURSDAY, 60)


def test_facts_are_typed_and_wrong_ones_are_none():
    facts = {"age_ms": 4_200, "holder_name": "batch", "has_recent_snapshot": True, "holder_pid": "12", "snapshot_age_ms": -1}
    lock = problem_of(finding("lock.stale-holder", facts))
    assert isinstance(lock, StaleLock)
    assert (lock.age_ms, lock.holder_name, lock.has_recent_snapshot) == (4_200, "batch", True)
    assert (lock.holder_pid, lock.snapshot_age_ms) == (None, None)
    assert problem_of(finding("disk.on-fire")) is None and problem_of(None) is None
    assert all(type(problem_of(finding(kind))) is view for kind, view in KINDS.items())


def test_what_is_answered_wrongly_names_the_item_and_the_remedy():
    for wrong, told in [
        (lambda answer: answer.classify("hickup"), "verdict.classification: a Classification is expected, not 'hickup'; write Classification.HICCUP"),
        (lambda answer: answer.repair("r", "high"), "verdict.confidence: a number is expected, not 'high'"),
        (lambda answer: answer.repair("r", 1.5), "does not lie between 0 and 1"),
        (lambda answer: answer.repair(None, 0.5), "verdict.repair: a text is expected, not None"),
        (lambda answer: answer.alert("rule", Urgency.INFO, None), "dbmedic:policy/verdicts alert.message: a text is expected, not None"),
        (lambda answer: answer.suggest(7), "verdict.suggestions: a text is expected, not 7"),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError)) as raised:
            wrong(Answer(NORMAL))
        assert told in str(raised.value)
    broken = Answer(NORMAL).finish(b"")
    broken.reasons = "none"
    with pytest.raises(TypeError, match="verdicts verdict.reasons: a list is expected"):
        wire.lower(broken, "Verdict", "verdict")


def test_a_decide_that_returns_nothing_and_a_class_that_says_nothing_are_told():
    class Silent(Counting):
        def decide(self, situation, memory):
            pass

    with pytest.raises(TypeError, match="Silent.decide returned None"):
        ask(Silent, finding("k"))

    class Nameless(Policy):
        pass

    with pytest.raises(TypeError, match='description.name: class Nameless does not say it; write `name = "my-policy"`'):
        export_policy(Nameless)
    with pytest.raises(TypeError, match="write it without"):
        export_policy(Counting())
    with pytest.raises(TypeError, match="`clasify`.*did you mean `classify`"):

        class Misspelt(Policy):
            def clasify(self, situation, memory, answer):
                pass


def test_notes_and_series_come_from_the_tables():
    testing.clear()
    log.info("good")
    log.error("wrong")
    assert testing.notes() == [("info", "good"), ("error", "wrong")] and testing.notes() == []
    testing.set_series("commits_per_s", [(at, float(at)) for at in range(600)])
    assert telemetry.latest("commits_per_s").at_ms == 599
    assert [point.at_ms for point in telemetry.recent("commits_per_s", 2)] == [598, 599]
    assert (len(telemetry.recent("commits_per_s", 9_999)), telemetry.recent("commits_per_s", 0)) == (512, [])
    assert telemetry.latest("nothing") is None and telemetry.baseline("nothing") is None
    testing.clear()


def test_the_generated_parts_are_what_their_sources_give():
    checked = subprocess.run([sys.executable, str(SDK.parent / "generate.py"), "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


MISTAKES = {
    'memory["gone"]': "KeyError: 'gone' at policy.py:6",
    "import time; time.time()": "NotInAComponent: time.time: a policy has no clock; the event's time is `situation.now_ms` at policy.py:6",
    "open('/etc/hostname')": "NotInAComponent: open of /etc/hostname: a policy has no files",
    "import fractions": "NotInAComponent: import of fractions: a module must be imported when the component is built",
    "datetime.now()": "NotInAComponent: datetime.now: a policy has no clock",
    "randint(1, 2)": "NotInAComponent: random.randint: a policy has no source of randomness",
    "while True: pass": "EndlessLoop: a call did not end within 5 s",
}


@pytest.mark.parametrize(("mistake", "told"), MISTAKES.items())
def test_a_mistake_is_told_with_file_and_line_before_anything_is_built(tmp_path, mistake, told):
    (tmp_path / "policy.py").write_text(
        "from datetime import datetime\nfrom random import randint\nfrom dbmedic_policy import Policy, export_policy\n"
        f"class P(Policy):\n    def choose(self, situation, memory, answer):\n        {mistake}\n"
        '    name, version, summary = "p", "0.1.0", "P."\nDecision = export_policy(P)\n'
    )
    checked = subprocess.run(
        [sys.executable, "-B", "-m", "dbmedic_policy.check", "policy"],
        cwd=tmp_path, env={"PYTHONPATH": str(SDK)}, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 1
    assert told in checked.stderr and "at policy.py:6" in checked.stderr


def test_prints_are_notes():
    lines = []
    stream = component._Lines(lines.append)
    print("a", "b", file=stream)
    print("c\nd", end="", file=stream)
    assert lines == ["a b", "c"]
    stream.flush()
    assert lines == ["a b", "c", "d"]
