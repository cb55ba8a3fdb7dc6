"""Weighs what waiting costs: an hour without the database costs so much by day and so much by night, and a repair so much."""

from dbmedic_policy import (
    Classification, EscalationLevel, Parameters, Policy, StaleLock, export_policy, number, problem_of, seconds,
)  # fmt: skip

HOUR_MS = 3_600_000
DAY = range(8, 20)
"""The hours in which the shop sells, by the local clock."""
PERSON_COSTS = 50.0
"""What it costs to call somebody."""


class MyParameters(Parameters):
    """What the operator may set."""

    day_costs_per_hour = number("What an hour without commits costs by day.", 1_200.0, minimum=0.0, maximum=1e9)
    night_costs_per_hour = number("What an hour without commits costs by night.", 30.0, minimum=0.0, maximum=1e9)
    repair_costs = number("What it costs to end a process that holds the lock.", 40.0, minimum=0.0, maximum=1e9)


class CostOfDowntime(Policy):
    """The policy. What it does not answer, the SDK does."""

    name = "cost-of-downtime"
    version = "0.1.0"
    summary = "Ends a lock's holder when waiting has cost more than that, by the hour of the day."
    parameters = MyParameters

    @staticmethod
    def lost(situation, age_ms):
        """What the lock has cost so far."""
        hour = situation.local(situation.now_ms).minute_of_day // 60
        costs = situation.parameters
        per_hour = costs.day_costs_per_hour if hour in DAY else costs.night_costs_per_hour
        return per_hour * age_ms / HOUR_MS

    def classify(self, situation, memory, answer):
        lock = problem_of(situation.finding)
        if not isinstance(lock, StaleLock) or lock.age_ms is None:
            return super().classify(situation, memory, answer)
        lost = self.lost(situation, lock.age_ms)
        limit = situation.parameters.repair_costs
        text = f"locked for {seconds(lock.age_ms)}: {lost:.2f} lost, a repair costs {limit:.2f}"
        if lost < limit:
            answer.classify(Classification.HICCUP).because("cost.waits", text)
        else:
            answer.classify(Classification.OBSTACLE).because("cost.acts", text)

    def choose(self, situation, memory, answer):
        if answer.so_far.classification is Classification.OBSTACLE and situation.finding.candidate("lock.end-holder"):
            answer.repair("lock.end-holder", confidence=0.8)

    def escalate(self, situation, memory, answer):
        super().escalate(situation, memory, answer)
        lock = problem_of(situation.finding)
        if isinstance(lock, StaleLock) and lock.age_ms is not None and answer.so_far.repair is None:
            if self.lost(situation, lock.age_ms) >= situation.parameters.repair_costs + PERSON_COSTS:
                answer.at_least(EscalationLevel.ESCALATE)
                answer.because("cost.person", "it has cost more than calling somebody")


Decision = export_policy(CostOfDowntime)
