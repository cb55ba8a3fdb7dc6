// Package sdk is what an author needs to write a dbmedic policy in Go.
//
// A policy answers three questions about every event: what does it mean (Classify), which of the offered
// repairs is to be tried (Choose), who must know (Escalate). It embeds [Defaults], which answers what the
// policy does not, and is handed to [Export] in an init function.
//
// A policy keeps nothing between calls but what stands in the case's memory. What it prints goes to its
// log, and so does a panic, with its file and line.
package sdk

import (
	"encoding/json"
	"fmt"

	"policy/gen/dbmedic_policy_decision"
	"policy/gen/dbmedic_policy_findings"
	"policy/gen/dbmedic_policy_situation"
	"policy/gen/dbmedic_policy_verdicts"
)

// The contract's own types.
type (
	Event        = dbmedic_policy_situation.Event
	Context      = dbmedic_policy_situation.Context
	OpenIncident = dbmedic_policy_situation.OpenIncident
	Finding      = dbmedic_policy_findings.Finding
	Outcome      = dbmedic_policy_findings.Outcome
	Candidate    = dbmedic_policy_findings.Candidate
	Fact         = dbmedic_policy_findings.Fact
	Value        = dbmedic_policy_findings.Value
	Verdict      = dbmedic_policy_verdicts.Verdict
	Reason       = dbmedic_policy_verdicts.Reason
	Alert        = dbmedic_policy_verdicts.Alert
	Class        = dbmedic_policy_verdicts.Classification
	Level        = dbmedic_policy_verdicts.EscalationLevel
	Urgency      = dbmedic_policy_verdicts.Urgency
	Verbosity    = dbmedic_policy_verdicts.Verbosity
	Description  = dbmedic_policy_decision.Description
	Parameter    = dbmedic_policy_decision.Parameter
	Setting      = dbmedic_policy_decision.Setting
	SettingError = dbmedic_policy_decision.SettingError
)

// What a problem means, who must know, and how urgent an alert is.
const (
	Hiccup   = dbmedic_policy_verdicts.ClassificationHiccup
	Obstacle = dbmedic_policy_verdicts.ClassificationObstacle
	Wall     = dbmedic_policy_verdicts.ClassificationWall
	Crisis   = dbmedic_policy_verdicts.ClassificationCrisis

	Normal    = dbmedic_policy_verdicts.EscalationLevelNormal
	Watch     = dbmedic_policy_verdicts.EscalationLevelWatch
	Warn      = dbmedic_policy_verdicts.EscalationLevelWarn
	Escalated = dbmedic_policy_verdicts.EscalationLevelEscalate

	Info     = dbmedic_policy_verdicts.UrgencyInfo
	Warning  = dbmedic_policy_verdicts.UrgencyWarning
	Critical = dbmedic_policy_verdicts.UrgencyCritical
)

// LimitBytes is what the contract allows for settings and for memory.
const LimitBytes = 16 * 1024

// Policy is what an author writes: P is the struct of its parameters, M that of its memory.
type Policy[P, M any] interface {
	// Classify says what the problem means.
	Classify(at *Case[P, M], answer *Answer)
	// Choose says which of the offered repairs is to be tried.
	Choose(at *Case[P, M], answer *Answer)
	// Escalate says who must know.
	Escalate(at *Case[P, M], answer *Answer)
}

// Defaults answers all three questions.
type Defaults[P, M any] struct{}

// Classify calls a finding a wall: what nobody has judged needs a person.
func (Defaults[P, M]) Classify(at *Case[P, M], answer *Answer) {
	if finding := at.Finding(); finding != nil {
		answer.Classify(Wall)
		answer.Because("policy.not-judged", "this policy has no rule for %s", finding.Kind)
	}
}

// Choose chooses nothing.
func (Defaults[P, M]) Choose(*Case[P, M], *Answer) {}

// Escalate lets the level rise with the class and return step by step; a crisis halts.
func (Defaults[P, M]) Escalate(at *Case[P, M], answer *Answer) {
	answer.Rise()
	at.ComeDown(answer, returnMs)
}

// About is who a policy is.
type About struct {
	// Name is stable, in kebab-case.
	Name string
	// Version is semver.
	Version string
	// Summary is one line for a person.
	Summary string
	// Layout is raised when P or M changes, so that bytes of another layout are not misread.
	Layout uint8
}

// What Export was given, without its types.
var exported struct {
	about     About
	schema    func() []Parameter
	configure func([]Setting) ([]byte, []SettingError)
	decide    func(*Event, *Context) (*Answer, error)
}

// Export makes a policy the one that this component is.
func Export[P, M any](about About, policy Policy[P, M]) {
	exported.about = about
	exported.schema = schema[P]
	exported.configure = func(settings []Setting) ([]byte, []SettingError) {
		parameters, errors := fromSettings[P](settings)
		if len(errors) > 0 {
			return nil, errors
		}
		return pack(parameters), nil
	}
	exported.decide = func(event *Event, context *Context) (*Answer, error) {
		at := &Case[P, M]{Event: event, Context: context, Memory: new(M)}
		if err := unpack(context.Settings, &at.Parameters); err != nil {
			return nil, err
		}
		forgotten := unpack(context.Memory, at.Memory)
		if forgotten != nil {
			at.Memory = new(M)
		}
		answer := &Answer{verdict: Verdict{Level: context.Level}}
		policy.Classify(at, answer)
		policy.Choose(at, answer)
		policy.Escalate(at, answer)
		if forgotten != nil && len(context.Memory) > 0 {
			answer.Because("memory.unreadable",
				"what was remembered could not be read, and is begun anew: %v", forgotten)
		}
		answer.remember(pack(at.Memory))
		return answer, nil
	}
}

// Describe says who the policy is and what can be set.
func Describe() Description {
	about := exported.about
	return Description{Name: about.Name, Version: about.Version, Summary: about.Summary, Parameters: exported.schema()}
}

// Configure checks the settings and packs them; all errors are told at once.
func Configure(settings []Setting) ([]byte, []SettingError) {
	packed, errors := exported.configure(settings)
	if len(errors) == 0 && len(packed) > LimitBytes {
		return nil, []SettingError{{Message: fmt.Sprintf("all settings together exceed %d bytes", LimitBytes)}}
	}
	return packed, errors
}

// Decide judges one event.
func Decide(event Event, context Context) (Verdict, *Reason) {
	answer, err := exported.decide(&event, &context)
	if err != nil {
		text := fmt.Sprintf("the settings cannot be read: %v; have `configure` pack them again", err)
		return Verdict{}, &Reason{Rule: "settings.unreadable", Text: text}
	}
	return answer.finish()
}

// In front of settings and memory stand the layout and the fingerprint of the policy's name: the bytes may
// be those of another policy.
func mark() []byte {
	owner := Fingerprint(exported.about.Name)
	bytes := []byte{exported.about.Layout}
	for shift := 0; shift < 64; shift += 8 {
		bytes = append(bytes, byte(owner>>shift))
	}
	return bytes
}

func pack(value any) []byte {
	bytes, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return append(mark(), bytes...)
}

func unpack(bytes []byte, value any) error {
	if len(bytes) == 0 {
		return fmt.Errorf("they are empty")
	}
	mark := mark()
	if len(bytes) < len(mark) || string(bytes[:len(mark)]) != string(mark) {
		return fmt.Errorf("another policy or another version wrote them")
	}
	if json.Unmarshal(bytes[len(mark):], value) != nil {
		return fmt.Errorf("they are damaged")
	}
	return nil
}

// Fingerprint is FNV-1a, 64 bits: the same for the same text everywhere and for ever.
func Fingerprint(text string) uint64 {
	hash := uint64(0xcbf29ce484222325)
	for at := 0; at < len(text); at++ {
		hash = (hash ^ uint64(text[at])) * 0x100000001b3
	}
	return hash
}
