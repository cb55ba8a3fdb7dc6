/**
 * The records and enumerations of the contract, as a policy meets them in QuickJS: whole numbers are numbers, none
 * is null, fields are camelCase, cases keep the contract's spelling.
 *
 * Made by sdk/generate.py from wit/; not to be changed by hand.
 */
/** The cases of every enumeration, in the contract's order. */
export const CASES = {
    "detection-method": ["statistical", "pattern", "behavior", "constraint"],
    "severity": ["low", "medium", "high"],
    "cascade-level": ["in-place", "snapshot", "replay", "rebuild"],
    "outcome-result": ["verified", "rolled-back", "refused", "failed"],
    "constraint-status": ["ok", "warning", "critical"],
    "classification": ["hiccup", "obstacle", "wall", "crisis"],
    "escalation-level": ["normal", "watch", "warn", "escalate"],
    "verbosity": ["normal", "elevated", "incident"],
    "urgency": ["info", "warning", "critical"],
};
/** The fields of what a policy answers, with their types in the contract. */
export const ANSWERS = {
    "alert": {
        rule: "string",
        urgency: "urgency",
        message: "string",
    },
    "reason": {
        rule: "string",
        text: "string",
    },
    "verdict": {
        classification: "option<classification>",
        level: "escalation-level",
        repair: "option<string>",
        needsApproval: "bool",
        halt: "bool",
        confidence: "f64",
        verbosity: "verbosity",
        alerts: "list<alert>",
        reasons: "list<reason>",
        suggestions: "list<string>",
        memory: "list<u8>",
    },
    "parameter": {
        name: "string",
        summary: "string",
        default: "value",
        minimum: "option<f64>",
        maximum: "option<f64>",
    },
    "description": {
        name: "string",
        version: "string",
        summary: "string",
        parameters: "list<parameter>",
    },
    "setting-error": {
        name: "string",
        message: "string",
    },
};
/** The interface of the contract that each record and enumeration belongs to. */
export const INTERFACES = {
    "fact": "findings",
    "detection-method": "findings",
    "method-score": "findings",
    "severity": "findings",
    "anomaly": "findings",
    "cascade-level": "findings",
    "data-loss": "findings",
    "precondition": "findings",
    "candidate": "findings",
    "finding": "findings",
    "outcome-result": "findings",
    "outcome": "findings",
    "repair-history": "situation",
    "attribution": "situation",
    "repair-answer": "situation",
    "open-incident": "situation",
    "constraint-status": "situation",
    "constraint-state": "situation",
    "metric": "situation",
    "offset-change": "situation",
    "local-time": "situation",
    "maintenance-window": "situation",
    "maintenance": "situation",
    "context": "situation",
    "classification": "verdicts",
    "escalation-level": "verdicts",
    "verbosity": "verdicts",
    "urgency": "verdicts",
    "alert": "verdicts",
    "reason": "verdicts",
    "verdict": "verdicts",
    "point": "telemetry",
    "baseline-summary": "telemetry",
    "parameter": "decision",
    "description": "decision",
    "setting": "decision",
    "setting-error": "decision",
};
