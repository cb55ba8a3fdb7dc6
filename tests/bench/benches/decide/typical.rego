package typical

import rego.v1

finding := input.finding

context := input.context

severity := round(finding.severity * 100)

pressed := count([c | some c in context.constraints; round(c.utilization * 100) >= 80])

slow := count([m | some m in context.metrics; endswith(m.name, "_ms"); m.value >= 500])

history := [h | some h in context.repairs; h.kind == finding.kind]

failing := {h.repair | some h in history; h.failures_in_a_row >= 3}

allowed := [c |
	some c in finding.candidates
	every p in c.preconditions { p.holds }
	c.expected_loss.commits <= 100
	not c.id in failing
]

classification := "Crisis" if {
	pressed >= 4
} else := "Wall" if {
	count(allowed) == 0
	severity >= 50
} else := "Obstacle" if {
	count(allowed) == 0
} else := "Obstacle" if {
	finding.sightings >= 5
} else := "Hiccup"

levels := {"Hiccup": "Watch", "Obstacle": "Warn", "Wall": "Escalate", "Crisis": "Escalate"}

default repair := null

repair := allowed[0].id if classification != "Crisis"

successes := sum([h.successes | some h in history; h.repair == repair])

last_reason := sprintf("%s succeeded %d times and takes %d ms", [repair, successes, allowed[0].expected_duration_ms]) if {
	repair != null
} else := "none of the offered repairs may be tried"

verdict := {
	"classification": classification,
	"level": levels[classification],
	"repair": repair,
	"reasons": [
		sprintf("%s on %s was seen %d times, severity %d %%", [finding.kind, finding.subject, finding.sightings, severity]),
		sprintf("%d of %d constraints are pressed, %d of %d metrics are slow", [pressed, count(context.constraints), slow, count(context.metrics)]),
		last_reason,
	],
}
