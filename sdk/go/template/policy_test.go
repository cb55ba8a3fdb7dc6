package main

import (
	"testing"

	"policy/sdk"
)

// The policy asked natively: quick, and a debugger can stop in it.
func TestALockIsStaleFromTheLimitOn(t *testing.T) {
	for ageMs, expected := range map[int]sdk.Class{299_999: sdk.Hiccup, 300_000: sdk.Obstacle} {
		finding := sdk.TestFinding("lock.stale-holder", map[string]any{"age_ms": ageMs})
		verdict, refusal := sdk.TestDecide(finding)
		if refusal != nil || verdict.Classification.Some() != expected {
			t.Errorf("%d ms: %v, %v", ageMs, verdict, refusal)
		}
	}
}
