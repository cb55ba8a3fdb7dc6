// Ends stale locks, waits for fresh ones, calls a person for the rest.
package main

import "policy/sdk"

// What the operator may set.
type parameters struct {
	StaleLockAgeMs int64 `name:"stale_lock_age_ms" default:"300000" minimum:"1000" maximum:"86400000" summary:"Age from which a write lock counts as stale, milliseconds."`
}

// What is carried from one event to the next of the same target.
type memory struct {
	Told sdk.CoolDown `json:"told"`
}

const (
	// The repair that this policy chooses.
	endHolder = "lock.end-holder"
	// Failures in a row after which it is not chosen again.
	mostFailures = 2
	// Nobody is told of a stale lock twice within this time, milliseconds.
	pauseMs = 600_000
)

type situation = sdk.Case[parameters, memory]

// What the policy does not answer itself, Defaults does.
type policy struct {
	sdk.Defaults[parameters, memory]
}

func init() {
	sdk.Export(sdk.About{
		Name:    "my-policy",
		Version: "0.1.0",
		Summary: "Ends stale locks, waits for fresh ones, calls a person for the rest.",
		Layout:  1,
	}, policy{})
}

func (p policy) Classify(at *situation, answer *sdk.Answer) {
	lock := sdk.View[sdk.StaleLock](at)
	if lock == nil || lock.AgeMs == nil {
		p.Defaults.Classify(at, answer)
		return
	}
	limitMs := uint64(at.Parameters.StaleLockAgeMs)
	class, rule := sdk.Obstacle, "lock.stale"
	if *lock.AgeMs < limitMs {
		class, rule = sdk.Hiccup, "lock.too-fresh"
	}
	answer.Classify(class)
	answer.Because(rule, "lock held %s, stale from %s", sdk.Seconds(*lock.AgeMs), sdk.Seconds(limitMs))
}

func (p policy) Choose(at *situation, answer *sdk.Answer) {
	lock := sdk.View[sdk.StaleLock](at)
	if lock == nil || lock.AgeMs == nil || *lock.AgeMs < uint64(at.Parameters.StaleLockAgeMs) {
		return
	}
	failures := at.FailuresInARow(lock.Kind(), endHolder)
	if failures >= mostFailures {
		answer.Because("lock.keeps-failing", "%s failed %d times in a row", endHolder, failures)
	} else if at.Offers(endHolder) {
		answer.Repair(endHolder, 0.9)
	}
	if at.Memory.Told.Ready("lock_stale", at.NowMs(), pauseMs) {
		holder := "a process"
		if lock.HolderName != nil {
			holder = *lock.HolderName
		}
		answer.Alert("lock_stale", sdk.Warning, "%s holds the write lock for %s", holder, sdk.Seconds(*lock.AgeMs))
	}
}

func main() {}
