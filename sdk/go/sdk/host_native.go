//go:build !wasip1

package sdk

import (
	"fmt"
	"os"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"policy/gen/dbmedic_policy_telemetry"
)

// Natively there is no host: notes go to standard error, and series are what a test puts here.
func write(level uint8, message string) { fmt.Fprintln(os.Stderr, "log", level, message) }

// Point is one value of a series.
type Point = dbmedic_policy_telemetry.Point

// Baseline is what is normal for one series.
type Baseline = dbmedic_policy_telemetry.BaselineSummary

// Series and Baselines are what the host measured, by the series' names; tests fill them in.
var (
	Series    = map[string][]Point{}
	Baselines = map[string]Baseline{}
)

// Latest is the latest value of a series of this target.
func Latest(series string) witTypes.Option[Point] {
	points := Series[series]
	if len(points) == 0 {
		return witTypes.None[Point]()
	}
	return witTypes.Some(points[len(points)-1])
}

// Normally is what is normal for a series of this target.
func Normally(series string) witTypes.Option[Baseline] {
	baseline, isThere := Baselines[series]
	if !isThere {
		return witTypes.None[Baseline]()
	}
	return witTypes.Some(baseline)
}

// Recent are the latest points of a series of this target, oldest first.
func Recent(series string, limit uint32) []Point {
	points := Series[series]
	return points[max(0, len(points)-int(min(limit, 512))):]
}
