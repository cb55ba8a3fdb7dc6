"""Makes the mistake that a parameter names."""

import time

from dbmedic_policy import Classification, Parameters, Policy, Urgency, export_policy, text


class Which(Parameters):
    mistake = text("The mistake to make.", "none")


class Mistakes(Policy):
    name = "mistakes"
    version = "0.1.0"
    summary = "Makes mistakes."
    parameters = Which

    def choose(self, situation, memory, answer):
        match situation.parameters.mistake:
            case "exception":
                memory["gone"]
            case "type":
                answer.repair("lock.end-holder", "high")
            case "field":
                answer.alert("lock_stale", Urgency.WARNING)
            case "enumeration":
                answer.classify(Classification.OBSTACEL)
            case "print":
                print("lock", 7)
            case "clock":
                time.time()


Decision = export_policy(Mistakes)
