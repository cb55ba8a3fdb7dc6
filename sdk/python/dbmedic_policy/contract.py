"""The records and enumerations of the contract, as a policy meets them.

Made by sdk/generate.py from wit/; not to be changed by hand. A `value` of the contract is a bool, an int, a
float, a str or a list; an event is a `Finding`, an `Outcome` or a `Tick`.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field


class CasesType(enum.EnumMeta):
    """Says which cases there are where a misspelt one is asked for."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"there is no {cls.__name__}.{name}; there are {', '.join(case.name for case in cls)}")


@functools.total_ordering
class Cases(enum.Enum, metaclass=CasesType):
    """An enumeration: later cases are greater, and `str` is the contract's spelling."""

    def __lt__(self, other: object) -> bool:
        return self.value < other.value if type(self) is type(other) else NotImplemented

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    __hash__ = enum.Enum.__hash__


class Facts:
    """What a finding is asked for by name."""

    def fact(self, name: str) -> Value | None:
        """The value of a fact, whatever its type; None when there is none."""
        return next((fact.value for fact in self.facts if fact.name == name), None)

    def candidate(self, id: str) -> Candidate | None:
        """The repair that the host offers under this identifier."""
        return next((one for one in self.candidates if one.id == id), None)


@dataclass(slots=True)
class Tick:
    """Time passed."""


Value = bool | int | float | str | list[int] | list[str]


@dataclass(slots=True, kw_only=True)
class Fact:
    """One particular of a finding, for example `age_ms = 4200`."""

    name: str
    """Stable name in snake_case, its unit as suffix."""
    value: Value
    """What was seen."""


class DetectionMethod(Cases):
    """The four ways of noticing that something is not normal."""

    STATISTICAL = 0
    """Deviation of a value from its baseline."""

    PATTERN = 1
    """Likeness to a known signature."""

    BEHAVIOR = 2
    """Shift of the recent distribution against the reference."""

    CONSTRAINT = 3
    """Violation of a configured bound."""


@dataclass(slots=True, kw_only=True)
class MethodScore:
    """The score that one method gave."""

    method: DetectionMethod
    """The method."""
    score: float
    """0 is normal, 1 is certainly not normal."""


class Severity(Cases):
    """How strongly an anomaly deviates."""

    LOW = 0
    """Worth noting."""

    MEDIUM = 1
    """Worth a look."""

    HIGH = 2
    """Worth acting on."""


@dataclass(slots=True, kw_only=True)
class Anomaly:
    """Evidence: several metrics that left their normal range together."""

    at_ms: int
    """When it was noticed, milliseconds since the Unix epoch."""
    series: list[str] = field(default_factory=list)
    """The series that carry it, strongest first."""
    scores: list[MethodScore] = field(default_factory=list)
    """The score of each method that ran."""
    confidence: float
    """0 is certainly normal, 1 is certainly anomalous."""
    severity: Severity
    """How strongly it deviates."""
    reasons: list[str] = field(default_factory=list)
    """What a person reads, for example "`commits_per_s` 0, normal 180 to 240"."""


class CascadeLevel(Cases):
    """How deep a repair goes, the fastest and least invasive first."""

    IN_PLACE = 0
    """Mend in place."""

    SNAPSHOT = 1
    """Restore a snapshot."""

    REPLAY = 2
    """Replay a log up to a point."""

    REBUILD = 3
    """Build anew from what is left."""


@dataclass(slots=True, kw_only=True)
class DataLoss:
    """What is lost, announced beforehand or measured afterwards."""

    commits: int
    """Committed transactions."""
    rows: int | None = None
    """Rows; none when they are not counted."""
    since_ms: int | None = None
    """The moment after which everything that was committed is lost, milliseconds since the Unix
    epoch; none when the loss is not one of time."""
    percent: float
    """The share of the affected log or object, 0 to 100."""


@dataclass(slots=True, kw_only=True)
class Precondition:
    """Something that must hold before a repair may run. The host checks it again in the act."""

    name: str
    """Stable name, for example `no-other-process`."""
    holds: bool
    """Whether it held at the last look."""
    detail: str
    """What was seen."""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A repair that the host offers for a finding."""

    id: str
    """Stable dotted identifier, unique within the finding, for example `lock.end-holder`."""
    summary: str
    """One line for a person."""
    level: CascadeLevel
    """How deep it goes."""
    preconditions: list[Precondition] = field(default_factory=list)
    """What must hold. The guard refuses the repair while one of these does not."""
    expected_duration_ms: int
    """Expected duration, milliseconds."""
    expected_loss: DataLoss
    """Expected loss of committed data."""
    undoable: bool
    """Whether it can be taken back after it was applied."""


@dataclass(slots=True, kw_only=True)
class Finding(Facts):
    """A diagnosed problem."""

    incident: str
    """The incident that this finding belongs to, unique within the host's state directory."""
    kind: str
    """Open, dotted, stable identifier of the problem, for example `wal.corrupt-frame`.
    A policy meets kinds that it does not know."""
    subject: str
    """What is affected, for example an index's name. One incident is one kind on one subject."""
    summary: str
    """One line for a person."""
    severity: float
    """0 is harmless, 1 is as bad as it gets; how bad the host's diagnosis rates the evidence."""
    first_seen_ms: int
    """First sight, milliseconds since the Unix epoch."""
    last_seen_ms: int
    """Latest sight, milliseconds since the Unix epoch."""
    sightings: int
    """How often it was seen since the incident opened, this time included."""
    facts: list[Fact] = field(default_factory=list)
    """The particulars."""
    evidence: list[Anomaly] = field(default_factory=list)
    """The anomalies that point at it, the newest last."""
    candidates: list[Candidate] = field(default_factory=list)
    """The repairs that the host can do. The answer names one of these, or none."""


class OutcomeResult(Cases):
    """How a repair ended."""

    VERIFIED = 0
    """Applied and proven."""

    ROLLED_BACK = 1
    """Taken back, the database is as it was before."""

    REFUSED = 2
    """Never begun: the guard or a precondition said no."""

    FAILED = 3
    """Neither proven nor taken back: a person must look."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The end of a repair."""

    incident: str
    """The incident it was for."""
    kind: str
    """The finding's kind."""
    subject: str
    """The finding's subject."""
    repair: str
    """The candidate's identifier."""
    outcome_result: OutcomeResult
    """How it ended."""
    reason: str
    """Why, in one line."""
    duration_ms: int
    """How long it took, milliseconds."""
    loss: DataLoss
    """What was lost, measured."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know, one line each: the step that failed, where the old state is
    kept, what could not be proven."""


@dataclass(slots=True, kw_only=True)
class RepairHistory:
    """What became of one repair on one kind of problem of this target."""

    kind: str
    """The finding's kind."""
    repair: str
    """The candidate's identifier."""
    successes: int
    """Repairs that verified, ever."""
    failures: int
    """Repairs that failed or were rolled back, ever."""
    failures_in_a_row: int
    """Failures since the last success."""
    last_ms: int
    """When the last one ended, milliseconds since the Unix epoch."""


@dataclass(slots=True, kw_only=True)
class Attribution:
    """Who said something, when, and why."""

    by: str
    """The name of a user of the system, or the name that was given with the command; empty when
    nobody knows."""
    at_ms: int
    """When, milliseconds since the Unix epoch."""
    note: str | None = None
    """Why, as it was given."""


@dataclass(slots=True, kw_only=True)
class RepairAnswer:
    """A person's answer to a repair of an incident."""

    repair: str
    """The candidate's identifier."""
    granted: bool
    """Whether it was approved; false when it was denied."""
    said: Attribution
    """Who answered, when and why."""


@dataclass(slots=True, kw_only=True)
class OpenIncident:
    """An incident that is not resolved."""

    id: str
    """Its identifier."""
    kind: str
    """The finding's kind."""
    subject: str
    """The finding's subject."""
    opened_ms: int
    """When it was opened, milliseconds since the Unix epoch."""
    sightings: int
    """How often it was seen."""
    classification: Classification | None = None
    """What the policy called it last, if it was asked."""
    acknowledged: Attribution | None = None
    """Who works on it; none when nobody said so, or when it got worse since."""
    answers: list[RepairAnswer] = field(default_factory=list)
    """What people answered to its repairs, oldest first, the latest 32 at most. Of several answers
    to one repair the last one counts."""


class ConstraintStatus(Cases):
    """Where a constraint stands."""

    OK = 0
    """Within its bounds."""

    WARNING = 1
    """Past the warning threshold."""

    CRITICAL = 2
    """Past the critical threshold or the bound itself."""


@dataclass(slots=True, kw_only=True)
class ConstraintState:
    """A configured bound and where the metric stands."""

    name: str
    """The constraint's name, for example `wal_size`."""
    metric: str
    """The metric's name, unit as suffix."""
    value: float
    """The latest value, in the metric's unit."""
    lower: float | None = None
    """The lower bound, in the metric's unit."""
    upper: float | None = None
    """The upper bound, in the metric's unit."""
    utilization: float
    """The share of the room up to the bound that is used; over 1 is a violation."""
    status: ConstraintStatus
    """Where it stands."""
    violations_ms: list[int] = field(default_factory=list)
    """The times at which it was not ok, milliseconds since the Unix epoch, oldest first, the
    latest 32 at most."""


@dataclass(slots=True, kw_only=True)
class Metric:
    """The latest value of a main metric."""

    name: str
    """Its name, unit as suffix."""
    value: float
    """Its value."""


@dataclass(slots=True, kw_only=True)
class OffsetChange:
    """A change of the local time, as for daylight saving."""

    at_ms: int
    """When, milliseconds since the Unix epoch."""
    utc_offset_minutes: int
    """Minutes that the local time is ahead of UTC from then on; negative when it is behind."""


@dataclass(slots=True, kw_only=True)
class LocalTime:
    """How far the local time is from UTC."""

    utc_offset_minutes: int
    """Minutes that the local time is ahead of UTC at the event; negative when it is behind."""
    next_change: OffsetChange | None = None
    """The next change; none when no change is known."""


@dataclass(slots=True, kw_only=True)
class MaintenanceWindow:
    """A time in which people work on the target."""

    name: str
    """Its name in the configuration; `command` when a person opened it."""
    begins_ms: int
    """When it begins, milliseconds since the Unix epoch."""
    ends_ms: int
    """When it ends, milliseconds since the Unix epoch."""
    allow_repairs: bool
    """Whether repairs may begin meanwhile."""
    by: str | None = None
    """Who opened it; none when the configuration did."""
    reason: str | None = None
    """Why, as it was given."""


@dataclass(slots=True, kw_only=True)
class Maintenance:
    """The maintenance of the target."""

    open: MaintenanceWindow | None = None
    """The window that is open at the event."""
    next: MaintenanceWindow | None = None
    """The next one."""


@dataclass(slots=True, kw_only=True)
class Context:
    """Everything beside the event."""

    now_ms: int
    """The event's time, milliseconds since the Unix epoch. There is no other clock."""
    target: str
    """The database's name in the host's configuration."""
    target_kind: str
    """What kind of database it is: `sqlite`, `postgresql`, or `metrics` when only numbers are known
    of it. Open: a policy meets kinds that it does not know."""
    local_time: LocalTime | None = None
    """The local time in the time zone of the host's configuration; none when it is not known, as in
    a recording of an earlier version."""
    maintenance: Maintenance
    """Its maintenance."""
    level: EscalationLevel
    """The escalation level in force for this target."""
    level_since_ms: int
    """Since when, milliseconds since the Unix epoch."""
    repairs: list[RepairHistory] = field(default_factory=list)
    """What became of earlier repairs on this target."""
    incidents: list[OpenIncident] = field(default_factory=list)
    """The incidents open on this target, the event's own included."""
    constraints: list[ConstraintState] = field(default_factory=list)
    """The constraints of this target."""
    metrics: list[Metric] = field(default_factory=list)
    """The main metrics of this target. More through `telemetry`."""
    settings: bytes = b""
    """What `configure` returned for the parameters in force."""
    memory: bytes = b""
    """What the policy's last verdict for this target left in `memory`; empty at first.

    It is the policy's own: the host keeps it by target, by the policy's place in the line of
    that target, and there by the name that the policy gives itself and by the key that signed
    it. A new version with the same name and key takes over what the version before left; so
    does the very same component that another trusted key signs. Every other policy begins
    with an empty memory and never sees this one. When the host puts a policy back that was in
    service before, that policy gets what it had left before the swap, not what came after. A
    policy that kept failing, and is tried again in the place of another one, begins empty.

    A policy must cope with any bytes: those of a version with another layout, or damaged ones.
    What it cannot read it treats like an empty memory; it must neither trap nor judge
    otherwise because of it. `dbmedic policy check` tries that."""


class Classification(Cases):
    """What a problem means."""

    HICCUP = 0
    """Mends itself, or can be mended with high confidence."""

    OBSTACLE = 1
    """Solvable, but something has to change."""

    WALL = 2
    """Not solvable without a person."""

    CRISIS = 3
    """Going on does damage: stop first, understand later."""


class EscalationLevel(Cases):
    """Who must know."""

    NORMAL = 0
    """Nobody."""

    WATCH = 1
    """The host looks closer."""

    WARN = 2
    """A report is prepared for a person."""

    ESCALATE = 3
    """A person is called."""


class Verbosity(Cases):
    """How much the host writes down."""

    NORMAL = 0
    """Summaries, one operation in a thousand."""

    ELEVATED = 1
    """Detailed context, one operation in a hundred."""

    INCIDENT = 2
    """Everything."""


class Urgency(Cases):
    """How urgent an alert is."""

    INFO = 0
    """To be read some day."""

    WARNING = 1
    """To be read today."""

    CRITICAL = 2
    """To be read now."""


@dataclass(slots=True, kw_only=True)
class Alert:
    """Something to tell people."""

    rule: str
    """Stable name of the alert rule."""
    urgency: Urgency
    """How urgent it is."""
    message: str
    """One line."""


@dataclass(slots=True, kw_only=True)
class Reason:
    """Why the policy answered as it did."""

    rule: str
    """Stable dotted name of the rule that spoke, for example `lock.too-fresh`."""
    text: str
    """What a person reads."""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """The answer."""

    classification: Classification | None = None
    """What the problem means; required for a finding, free for an outcome or a tick."""
    level: EscalationLevel
    """The escalation level from now on."""
    repair: str | None = None
    """The identifier of the chosen candidate of the event's finding; none: no repair."""
    needs_approval: bool
    """Whether the chosen repair waits for a person although the host's mode would let it begin. The
    policy is asked again when a person answered; `open-incident.answers` shows what was said."""
    halt: bool
    """Stop: the host's guard lets no repair touch this target until a person releases it, and
    the files are copied aside as they are."""
    confidence: float
    """How sure the policy is that its choice is right, 0 to 1."""
    verbosity: Verbosity
    """How much to write down from now on."""
    alerts: list[Alert] = field(default_factory=list)
    """What to tell people."""
    reasons: list[Reason] = field(default_factory=list)
    """Why, the weightiest first. Never empty for a finding."""
    suggestions: list[str] = field(default_factory=list)
    """What a person might do."""
    memory: bytes = b""
    """What the policy wants to be handed back at the next event of this target; 16 KiB at most.
    Nobody else gets it; see `context.memory`."""


@dataclass(slots=True, kw_only=True)
class Point:
    """One value of a series."""

    at_ms: int
    """When, milliseconds since the Unix epoch."""
    value: float
    """The value, in the unit of the series' name."""


@dataclass(slots=True, kw_only=True)
class BaselineSummary:
    """What is normal for one series. Values in the unit of the series' name."""

    count: int
    """How many values it rests on."""
    established: bool
    """Whether it has seen enough to judge by."""
    median: float
    """The median."""
    mad: float
    """The median absolute deviation from the median, unscaled."""
    mean: float
    """The arithmetic mean."""
    stdev: float
    """The sample standard deviation."""
    p50: float
    """The 50th percentile."""
    p95: float
    """The 95th percentile."""
    p99: float
    """The 99th percentile."""
    min: float
    """The smallest value."""
    max: float
    """The largest value."""


@dataclass(slots=True, kw_only=True)
class Parameter:
    """One parameter that the operator may set."""

    name: str
    """Its name in snake_case, its unit as suffix."""
    summary: str
    """One line for a person."""
    default: Value
    """What holds when nothing is set. Its case is the parameter's type."""
    minimum: float | None = None
    """The smallest number allowed."""
    maximum: float | None = None
    """The largest number allowed."""


@dataclass(slots=True, kw_only=True)
class Description:
    """Who the policy is."""

    name: str
    """Stable name in kebab-case."""
    version: str
    """Its version, semver."""
    summary: str
    """One line for a person."""
    parameters: list[Parameter] = field(default_factory=list)
    """What the operator may set."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """A value that the operator set."""

    name: str
    """The parameter's name."""
    value: Value
    """Its value."""


@dataclass(slots=True, kw_only=True)
class SettingError:
    """What is wrong with a setting."""

    name: str
    """The setting's name, as the operator wrote it."""
    message: str
    """What is wrong and what would be right."""


Event = Finding | Outcome | Tick

ENUMERATIONS = {each.__name__: each for each in [
    DetectionMethod,
    Severity,
    CascadeLevel,
    OutcomeResult,
    ConstraintStatus,
    Classification,
    EscalationLevel,
    Verbosity,
    Urgency,
]}
"""Every enumeration by its name."""

RECORDS = {
    "Fact": (Fact, "findings"),
    "MethodScore": (MethodScore, "findings"),
    "Anomaly": (Anomaly, "findings"),
    "DataLoss": (DataLoss, "findings"),
    "Precondition": (Precondition, "findings"),
    "Candidate": (Candidate, "findings"),
    "Finding": (Finding, "findings"),
    "Outcome": (Outcome, "findings"),
    "RepairHistory": (RepairHistory, "situation"),
    "Attribution": (Attribution, "situation"),
    "RepairAnswer": (RepairAnswer, "situation"),
    "OpenIncident": (OpenIncident, "situation"),
    "ConstraintState": (ConstraintState, "situation"),
    "Metric": (Metric, "situation"),
    "OffsetChange": (OffsetChange, "situation"),
    "LocalTime": (LocalTime, "situation"),
    "MaintenanceWindow": (MaintenanceWindow, "situation"),
    "Maintenance": (Maintenance, "situation"),
    "Context": (Context, "situation"),
    "Alert": (Alert, "verdicts"),
    "Reason": (Reason, "verdicts"),
    "Verdict": (Verdict, "verdicts"),
    "Point": (Point, "telemetry"),
    "BaselineSummary": (BaselineSummary, "telemetry"),
    "Parameter": (Parameter, "decision"),
    "Description": (Description, "decision"),
    "Setting": (Setting, "decision"),
    "SettingError": (SettingError, "decision"),
}
"""Every record by its name, with the interface of the contract that it belongs to."""
