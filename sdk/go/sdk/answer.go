package sdk

import (
	"fmt"
	"math"
	"regexp"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"policy/gen/dbmedic_policy_verdicts"
)

// Answer is a verdict in the making. It begins without a repair, and with the level as it is.
type Answer struct {
	verdict      Verdict
	asked        Level
	hasVerbosity bool
	refusal      *Reason
}

// SoFar is the verdict as it stands.
func (a *Answer) SoFar() Verdict { return a.verdict }

// Class is what the problem was called; false when it was not yet.
func (a *Answer) Class() (Class, bool) {
	class := a.verdict.Classification
	return class.SomeOr(Hiccup), class.IsSome()
}

// Classify says what the problem means.
func (a *Answer) Classify(class Class) { a.verdict.Classification = witTypes.Some(class) }

// Level sets the level from now on.
func (a *Answer) Level(level Level) { a.verdict.Level = level }

// AtLeast sets the level to this one unless it is higher already.
func (a *Answer) AtLeast(level Level) {
	a.asked = max(a.asked, level)
	a.verdict.Level = max(a.verdict.Level, level)
}

// Repair chooses a repair; confidence says how sure the choice is, 0 to 1.
func (a *Answer) Repair(candidate string, confidence float64) {
	a.verdict.Repair = witTypes.Some(candidate)
	a.verdict.Confidence = confidence
}

// NoRepair chooses none after all.
func (a *Answer) NoRepair() {
	a.verdict.Repair = witTypes.None[string]()
	a.verdict.NeedsApproval = false
	a.verdict.Confidence = 0
}

// NeedsApproval has the chosen repair wait for a person, whatever the host's mode.
func (a *Answer) NeedsApproval() { a.verdict.NeedsApproval = true }

// Halt stops: no repair may touch the target until a person releases it.
func (a *Answer) Halt() {
	a.verdict.Halt = true
	a.NoRepair()
}

// Verbosity sets how much to write down; without it the level says.
func (a *Answer) Verbosity(verbosity Verbosity) {
	a.verdict.Verbosity = verbosity
	a.hasVerbosity = true
}

// Because adds a reason, the weightiest first. The rule's name is dotted, such as `lock.too-fresh`.
func (a *Answer) Because(rule, format string, values ...any) {
	a.verdict.Reasons = append(a.verdict.Reasons, reason(rule, format, values...))
}

// Alert tells people.
func (a *Answer) Alert(rule string, urgency Urgency, format string, values ...any) {
	alert := Alert{Rule: rule, Urgency: urgency, Message: fmt.Sprintf(format, values...)}
	a.verdict.Alerts = append(a.verdict.Alerts, alert)
}

// Suggest suggests something to a person, once.
func (a *Answer) Suggest(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	for _, known := range a.verdict.Suggestions {
		if known == text {
			return
		}
	}
	a.verdict.Suggestions = append(a.verdict.Suggestions, text)
}

// Refuse says that the policy cannot judge; the host then decides cautiously.
func (a *Answer) Refuse(rule, format string, values ...any) {
	if a.refusal == nil {
		refusal := reason(rule, format, values...)
		a.refusal = &refusal
	}
}

// Rise lets the level rise to what the class calls for; a crisis halts.
func (a *Answer) Rise() {
	class, isKnown := a.Class()
	if !isKnown {
		return
	}
	a.AtLeast(calledFor(class))
	if class == Crisis {
		a.Halt()
	}
}

// How long a level stays without a cause before it returns by one step.
const returnMs = 600_000

var levels = []string{"normal", "watch", "warn", "escalate"}

func calledFor(class Class) Level {
	switch class {
	case Hiccup:
		return Watch
	case Obstacle:
		return Warn
	default:
		return Escalated
	}
}

// ComeDown lets the level return by one step when it was entered more than afterMs ago, the answer calls for
// less, and no open incident keeps it.
func (at *Case[P, M]) ComeDown(a *Answer, afterMs uint64) {
	present := at.Context.Level
	quietMs := since(at.Context.NowMs, at.Context.LevelSinceMs)
	if a.asked >= present || quietMs <= afterMs {
		return
	}
	for _, open := range at.Context.Incidents {
		class, isKnown := open.Classification.SomeOr(Hiccup), open.Classification.IsSome()
		if finding := at.Finding(); finding != nil && finding.Incident == open.Id {
			class, isKnown = a.Class()
		}
		kept := Level(Warn)
		if isKnown {
			kept = calledFor(class)
		}
		if kept >= present {
			return
		}
	}
	below := max(present-1, a.asked)
	a.Level(below)
	a.Because("level.returns", "no cause for it for %s: from %s to %s", Seconds(quietMs), levels[present], levels[below])
}

var ruleName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+$`)

func reason(rule, format string, values ...any) Reason {
	if !ruleName.MatchString(rule) {
		panic(fmt.Sprintf("`%s` is not the name of a rule: write it like `lock.too-fresh`", rule))
	}
	return Reason{Rule: rule, Text: fmt.Sprintf(format, values...)}
}

func (a *Answer) remember(memory []byte) {
	if len(memory) > LimitBytes {
		a.Because("memory.too-large", "the policy's memory exceeds %d bytes and was dropped", LimitBytes)
		return
	}
	a.verdict.Memory = memory
}

func (a *Answer) finish() (Verdict, *Reason) {
	if !a.hasVerbosity {
		switch a.verdict.Level {
		case Normal:
			a.verdict.Verbosity = dbmedic_policy_verdicts.VerbosityNormal
		case Escalated:
			a.verdict.Verbosity = dbmedic_policy_verdicts.VerbosityIncident
		default:
			a.verdict.Verbosity = dbmedic_policy_verdicts.VerbosityElevated
		}
	}
	return a.verdict, a.refusal
}

// Seconds is a time as a person reads it: `4.2 s`, tenths cut off, so that a text never says that a
// threshold was reached when it was not.
func Seconds(ms uint64) string { return fmt.Sprintf("%d.%d s", ms/1000, ms%1000/100) }

// Percent is a percentage as a person reads it: `4.2 %`, tenths rounded half up, the same in every language.
func Percent(value float64) string {
	tenths, sign := int64(math.Floor(value*10+0.5)), ""
	if tenths < 0 {
		tenths, sign = -tenths, "-"
	}
	return fmt.Sprintf("%s%d.%d %%", sign, tenths/10, tenths%10)
}
