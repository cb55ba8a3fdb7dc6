// One policy for a primary and its replicas: a replica may be repaired freely and wakes nobody, on the
// primary a person says yes.
package main

import (
	"strings"

	"policy/sdk"
)

// What the operator may set.
type parameters struct {
	ReplicaSuffix string `name:"replica_suffix" default:"-replica" summary:"How the names of replicas end."`
	ReaderAgeMs   int64  `name:"reader_age_ms" default:"600000" minimum:"1000" maximum:"86400000" summary:"Age from which a reader that keeps the log from being used again counts as stale, milliseconds."`
}

type memory struct{}

type situation = sdk.Case[parameters, memory]

type policy struct {
	sdk.Defaults[parameters, memory]
}

func init() {
	sdk.Export(sdk.About{
		Name:    "replicas-differ",
		Version: "0.1.0",
		Summary: "Repairs replicas freely, and the primary when a person says yes.",
		Layout:  1,
	}, policy{})
}

func isReplica(at *situation) bool {
	return strings.HasSuffix(at.Context.Target, at.Parameters.ReplicaSuffix)
}

func (p policy) Classify(at *situation, answer *sdk.Answer) {
	reader := sdk.View[sdk.CheckpointStarved](at)
	if reader == nil || reader.ReaderAgeMs == nil {
		p.Defaults.Classify(at, answer)
		return
	}
	if *reader.ReaderAgeMs < uint64(at.Parameters.ReaderAgeMs) {
		answer.Classify(sdk.Hiccup)
		answer.Because("reader.young", "a reader is at work for %s", sdk.Seconds(*reader.ReaderAgeMs))
		return
	}
	answer.Classify(sdk.Obstacle)
	answer.Because("reader.stale", "a reader keeps the log for %s", sdk.Seconds(*reader.ReaderAgeMs))
}

func (p policy) Choose(at *situation, answer *sdk.Answer) {
	if class, known := answer.Class(); !known || class != sdk.Obstacle || !at.Offers("wal.release-reader") {
		return
	}
	if isReplica(at) {
		answer.Repair("wal.release-reader", 0.9)
		return
	}
	// On the primary nobody is ended who may be there on purpose, and a person says yes.
	reader := sdk.View[sdk.CheckpointStarved](at)
	if reader.ReaderOnPurpose == nil || *reader.ReaderOnPurpose {
		answer.Because("primary.on-purpose", "the reader may be there on purpose")
		return
	}
	answer.Repair("wal.release-reader", 0.7)
	answer.NeedsApproval()
}

func (p policy) Escalate(at *situation, answer *sdk.Answer) {
	if !isReplica(at) {
		p.Defaults.Escalate(at, answer)
		return
	}
	// A replica is made again from the primary: nobody gets up for it.
	if class, known := answer.Class(); known && class == sdk.Obstacle {
		answer.AtLeast(sdk.Watch)
		return
	}
	p.Defaults.Escalate(at, answer)
}

func main() {}
