"""What a policy author needs to write a dbmedic policy in Python.

A policy is a class derived from `Policy`; `export_policy` makes the component's `Decision` of it:

    from dbmedic_policy import Classification, Policy, export_policy

    class Patient(Policy):
        name = "patient"
        version = "0.1.0"
        summary = "Calls everything an obstacle."

        def classify(self, situation, memory, answer):
            if situation.finding:
                answer.classify(Classification.OBSTACLE).because("patient.waits", "somebody will look")

    Decision = export_policy(Patient)

A policy is a pure function: no clock, no file, no randomness, and no state but its memory. Natively, in a
test, `dbmedic_policy.testing` plays the host.
"""

from .answer import Answer, Refusal, is_rule_name, percent, reason, seconds
from .component import export_policy
from .contract import (
    Alert, Anomaly, Attribution, Candidate, CascadeLevel, Classification, ConstraintState, ConstraintStatus,
    Context, DataLoss, DetectionMethod, EscalationLevel, Event, Fact, Finding, LocalTime, Maintenance,
    MaintenanceWindow, Metric, OffsetChange, OpenIncident, Outcome, OutcomeResult, Precondition, Reason,
    RepairAnswer, RepairHistory, Setting, Severity, Tick, Urgency, Value, Verbosity, Verdict,
)
from .helpers import Window, come_down, cool_down, failures_in_a_row
from .host import log, telemetry
from .parameters import Parameters, flag, integer, number, text, texts
from .policy import Policy
from .problems import *
from .situation import LocalMoment, Situation
