package sdk

import (
	"policy/gen/dbmedic_policy_findings"
	"policy/gen/dbmedic_policy_situation"
)

// TestFinding is a finding of this kind for a native test: incident `i-1`, subject `main`, seen once. The
// values of its facts are int, float64, bool or string.
func TestFinding(kind string, facts map[string]any) Finding {
	finding := Finding{Incident: "i-1", Kind: kind, Subject: "main", Summary: kind, Severity: 0.5,
		FirstSeenMs: 1_000_000, LastSeenMs: 1_000_000, Sightings: 1}
	for name, fact := range facts {
		var value Value
		switch fact := fact.(type) {
		case int:
			value = dbmedic_policy_findings.MakeValueInteger(int64(fact))
		case float64:
			value = dbmedic_policy_findings.MakeValueNumber(fact)
		case bool:
			value = dbmedic_policy_findings.MakeValueBoolean(fact)
		case string:
			value = dbmedic_policy_findings.MakeValueText(fact)
		}
		finding.Facts = append(finding.Facts, Fact{Name: name, Value: value})
	}
	return finding
}

// TestDecide is what the exported policy answers to a finding at 1 000 000 ms, with its parameters'
// defaults and an empty memory.
func TestDecide(finding Finding) (Verdict, *Reason) {
	settings, _ := Configure(nil)
	context := Context{NowMs: 1_000_000, Target: "test", TargetKind: "sqlite", Settings: settings}
	return Decide(dbmedic_policy_situation.MakeEventFinding(finding), context)
}
