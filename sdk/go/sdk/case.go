package sdk

import (
	"reflect"

	"policy/gen/dbmedic_policy_findings"
	"policy/gen/dbmedic_policy_situation"
)

// Case is what a policy judges by: one event with everything beside it.
type Case[P, M any] struct {
	Event      *Event
	Context    *Context
	Parameters P
	Memory     *M
}

// NowMs is the event's time, milliseconds since the Unix epoch.
func (at *Case[P, M]) NowMs() uint64 { return at.Context.NowMs }

// Finding is the finding that the event is; nil when it is none.
func (at *Case[P, M]) Finding() *Finding {
	if at.Event.Tag() != dbmedic_policy_situation.EventFinding {
		return nil
	}
	finding := at.Event.Finding()
	return &finding
}

// Outcome is the outcome that the event is; nil when it is none.
func (at *Case[P, M]) Outcome() *Outcome {
	if at.Event.Tag() != dbmedic_policy_situation.EventOutcome {
		return nil
	}
	outcome := at.Event.Outcome()
	return &outcome
}

// Offers says whether the host offers this repair for the finding.
func (at *Case[P, M]) Offers(repair string) bool {
	if finding := at.Finding(); finding != nil {
		for _, candidate := range finding.Candidates {
			if candidate.Id == repair {
				return true
			}
		}
	}
	return false
}

// FailuresInARow is how often a repair of one kind of problem failed since it last succeeded.
func (at *Case[P, M]) FailuresInARow(kind, repair string) uint32 {
	for _, history := range at.Context.Repairs {
		if history.Kind == kind && history.Repair == repair {
			return history.FailuresInARow
		}
	}
	return 0
}

// Problem is a typed view of a finding: one of the structs of this package.
type Problem interface{ Kind() string }

// View is the finding of a case as a known problem; nil when it is none, or another one.
func View[V Problem, P, M any](at *Case[P, M]) *V {
	view := new(V)
	finding := at.Finding()
	if finding == nil || finding.Kind != (*view).Kind() {
		return nil
	}
	fields := reflect.ValueOf(view).Elem()
	for at := range fields.NumField() {
		field := fields.Field(at)
		name := fields.Type().Field(at).Tag.Get("fact")
		switch into := field.Addr().Interface().(type) {
		case **uint64:
			*into = Count(finding, name)
		case **float64:
			*into = Number(finding, name)
		case **bool:
			*into = Flag(finding, name)
		case **string:
			*into = Text(finding, name)
		}
	}
	return view
}

func factOf(finding *Finding, name string) *Value {
	for at := range finding.Facts {
		if finding.Facts[at].Name == name {
			return &finding.Facts[at].Value
		}
	}
	return nil
}

// Count is a fact that is a whole number and not negative; nil when there is none such.
func Count(finding *Finding, name string) *uint64 {
	value := factOf(finding, name)
	if value == nil || value.Tag() != dbmedic_policy_findings.ValueInteger || value.Integer() < 0 {
		return nil
	}
	count := uint64(value.Integer())
	return &count
}

// Number is a fact that is a number, whole or not; nil when there is none such.
func Number(finding *Finding, name string) *float64 {
	value := factOf(finding, name)
	if value == nil {
		return nil
	}
	var number float64
	switch value.Tag() {
	case dbmedic_policy_findings.ValueNumber:
		number = value.Number()
	case dbmedic_policy_findings.ValueInteger:
		number = float64(value.Integer())
	default:
		return nil
	}
	return &number
}

// Flag is a fact that is true or false; nil when there is none such.
func Flag(finding *Finding, name string) *bool {
	value := factOf(finding, name)
	if value == nil || value.Tag() != dbmedic_policy_findings.ValueBoolean {
		return nil
	}
	flag := value.Boolean()
	return &flag
}

// Text is a fact that is a text; nil when there is none such.
func Text(finding *Finding, name string) *string {
	value := factOf(finding, name)
	if value == nil || value.Tag() != dbmedic_policy_findings.ValueText {
		return nil
	}
	text := value.Text()
	return &text
}
