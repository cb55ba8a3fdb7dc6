// Package export_dbmedic_policy_decision hands the contract's three functions to the SDK.
package export_dbmedic_policy_decision

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"policy/gen/dbmedic_policy_decision"
	"policy/gen/dbmedic_policy_situation"
	"policy/gen/dbmedic_policy_verdicts"
	"policy/sdk"
)

// Describe says who the policy is and what can be set.
func Describe() dbmedic_policy_decision.Description {
	defer sdk.TellPanic()
	return sdk.Describe()
}

// Configure checks the settings and packs them.
func Configure(settings []dbmedic_policy_decision.Setting) witTypes.Result[[]uint8, []dbmedic_policy_decision.SettingError] {
	defer sdk.TellPanic()
	packed, errors := sdk.Configure(settings)
	if len(errors) > 0 {
		return witTypes.Err[[]uint8, []dbmedic_policy_decision.SettingError](errors)
	}
	return witTypes.Ok[[]uint8, []dbmedic_policy_decision.SettingError](packed)
}

// Decide judges one event.
func Decide(event dbmedic_policy_situation.Event, context dbmedic_policy_situation.Context) witTypes.Result[dbmedic_policy_verdicts.Verdict, dbmedic_policy_verdicts.Reason] {
	defer sdk.TellPanic()
	verdict, refusal := sdk.Decide(event, context)
	if refusal != nil {
		return witTypes.Err[dbmedic_policy_verdicts.Verdict, dbmedic_policy_verdicts.Reason](*refusal)
	}
	return witTypes.Ok[dbmedic_policy_verdicts.Verdict, dbmedic_policy_verdicts.Reason](verdict)
}
