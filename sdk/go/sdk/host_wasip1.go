package sdk

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"policy/gen/dbmedic_policy_log"
	"policy/gen/dbmedic_policy_telemetry"
)

func write(level uint8, message string) { dbmedic_policy_log.Write(level, message) }

// Point is one value of a series.
type Point = dbmedic_policy_telemetry.Point

// Baseline is what is normal for one series.
type Baseline = dbmedic_policy_telemetry.BaselineSummary

// Latest is the latest value of a series of this target.
func Latest(series string) witTypes.Option[Point] { return dbmedic_policy_telemetry.Latest(series) }

// Normally is what is normal for a series of this target.
func Normally(series string) witTypes.Option[Baseline] {
	return dbmedic_policy_telemetry.Baseline(series)
}

// Recent are the latest points of a series of this target, oldest first.
func Recent(series string, limit uint32) []Point {
	return dbmedic_policy_telemetry.Recent(series, limit)
}
