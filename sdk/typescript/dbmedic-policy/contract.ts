/**
 * The records and enumerations of the contract, as a policy meets them in QuickJS: whole numbers are numbers, none
 * is null, fields are camelCase, cases keep the contract's spelling.
 *
 * Made by sdk/generate.py from wit/; not to be changed by hand.
 */

/** A typed value. Whole numbers stay below 2^53 in magnitude. */
export type Value =
    | { tag: "boolean"; val: boolean }
    | { tag: "integer"; val: number }
    | { tag: "number"; val: number }
    | { tag: "text"; val: string }
    | { tag: "integers"; val: number[] }
    | { tag: "texts"; val: string[] };

/** Why the policy is asked. */
export type Event =
    | { tag: "finding"; val: Finding }
    | { tag: "outcome"; val: Outcome }
    | { tag: "tick" };

/** One particular of a finding, for example `age_ms = 4200`. */
export interface Fact {
    /** Stable name in snake_case, its unit as suffix. */
    name: string;
    /** What was seen. */
    value: Value;
}

/** The four ways of noticing that something is not normal. */
export type DetectionMethod = "statistical" | "pattern" | "behavior" | "constraint";

/** The score that one method gave. */
export interface MethodScore {
    /** The method. */
    method: DetectionMethod;
    /** 0 is normal, 1 is certainly not normal. */
    score: number;
}

/** How strongly an anomaly deviates. */
export type Severity = "low" | "medium" | "high";

/** Evidence: several metrics that left their normal range together. */
export interface Anomaly {
    /** When it was noticed, milliseconds since the Unix epoch. */
    atMs: number;
    /** The series that carry it, strongest first. */
    series: string[];
    /** The score of each method that ran. */
    scores: MethodScore[];
    /** 0 is certainly normal, 1 is certainly anomalous. */
    confidence: number;
    /** How strongly it deviates. */
    severity: Severity;
    /** What a person reads, for example "`commits_per_s` 0, normal 180 to 240". */
    reasons: string[];
}

/** How deep a repair goes, the fastest and least invasive first. */
export type CascadeLevel = "in-place" | "snapshot" | "replay" | "rebuild";

/** What is lost, announced beforehand or measured afterwards. */
export interface DataLoss {
    /** Committed transactions. */
    commits: number;
    /** Rows; none when they are not counted. */
    rows: number | null;
    /**
     * The moment after which everything that was committed is lost, milliseconds since the Unix
     * epoch; none when the loss is not one of time.
     */
    sinceMs: number | null;
    /** The share of the affected log or object, 0 to 100. */
    percent: number;
}

/** Something that must hold before a repair may run. The host checks it again in the act. */
export interface Precondition {
    /** Stable name, for example `no-other-process`. */
    name: string;
    /** Whether it held at the last look. */
    holds: boolean;
    /** What was seen. */
    detail: string;
}

/** A repair that the host offers for a finding. */
export interface Candidate {
    /** Stable dotted identifier, unique within the finding, for example `lock.end-holder`. */
    id: string;
    /** One line for a person. */
    summary: string;
    /** How deep it goes. */
    level: CascadeLevel;
    /** What must hold. The guard refuses the repair while one of these does not. */
    preconditions: Precondition[];
    /** Expected duration, milliseconds. */
    expectedDurationMs: number;
    /** Expected loss of committed data. */
    expectedLoss: DataLoss;
    /** Whether it can be taken back after it was applied. */
    undoable: boolean;
}

/** A diagnosed problem. */
export interface Finding {
    /** The incident that this finding belongs to, unique within the host's state directory. */
    incident: string;
    /**
     * Open, dotted, stable identifier of the problem, for example `wal.corrupt-frame`.
     * A policy meets kinds that it does not know.
     */
    kind: string;
    /** What is affected, for example an index's name. One incident is one kind on one subject. */
    subject: string;
    /** One line for a person. */
    summary: string;
    /** 0 is harmless, 1 is as bad as it gets; how bad the host's diagnosis rates the evidence. */
    severity: number;
    /** First sight, milliseconds since the Unix epoch. */
    firstSeenMs: number;
    /** Latest sight, milliseconds since the Unix epoch. */
    lastSeenMs: number;
    /** How often it was seen since the incident opened, this time included. */
    sightings: number;
    /** The particulars. */
    facts: Fact[];
    /** The anomalies that point at it, the newest last. */
    evidence: Anomaly[];
    /** The repairs that the host can do. The answer names one of these, or none. */
    candidates: Candidate[];
}

/** How a repair ended. */
export type OutcomeResult = "verified" | "rolled-back" | "refused" | "failed";

/** The end of a repair. */
export interface Outcome {
    /** The incident it was for. */
    incident: string;
    /** The finding's kind. */
    kind: string;
    /** The finding's subject. */
    subject: string;
    /** The candidate's identifier. */
    repair: string;
    /** How it ended. */
    outcomeResult: OutcomeResult;
    /** Why, in one line. */
    reason: string;
    /** How long it took, milliseconds. */
    durationMs: number;
    /** What was lost, measured. */
    loss: DataLoss;
    /**
     * What else a person should know, one line each: the step that failed, where the old state is
     * kept, what could not be proven.
     */
    notes: string[];
}

/** What became of one repair on one kind of problem of this target. */
export interface RepairHistory {
    /** The finding's kind. */
    kind: string;
    /** The candidate's identifier. */
    repair: string;
    /** Repairs that verified, ever. */
    successes: number;
    /** Repairs that failed or were rolled back, ever. */
    failures: number;
    /** Failures since the last success. */
    failuresInARow: number;
    /** When the last one ended, milliseconds since the Unix epoch. */
    lastMs: number;
}

/** Who said something, when, and why. */
export interface Attribution {
    /**
     * The name of a user of the system, or the name that was given with the command; empty when
     * nobody knows.
     */
    by: string;
    /** When, milliseconds since the Unix epoch. */
    atMs: number;
    /** Why, as it was given. */
    note: string | null;
}

/** A person's answer to a repair of an incident. */
export interface RepairAnswer {
    /** The candidate's identifier. */
    repair: string;
    /** Whether it was approved; false when it was denied. */
    granted: boolean;
    /** Who answered, when and why. */
    said: Attribution;
}

/** An incident that is not resolved. */
export interface OpenIncident {
    /** Its identifier. */
    id: string;
    /** The finding's kind. */
    kind: string;
    /** The finding's subject. */
    subject: string;
    /** When it was opened, milliseconds since the Unix epoch. */
    openedMs: number;
    /** How often it was seen. */
    sightings: number;
    /** What the policy called it last, if it was asked. */
    classification: Classification | null;
    /** Who works on it; none when nobody said so, or when it got worse since. */
    acknowledged: Attribution | null;
    /**
     * What people answered to its repairs, oldest first, the latest 32 at most. Of several answers
     * to one repair the last one counts.
     */
    answers: RepairAnswer[];
}

/** Where a constraint stands. */
export type ConstraintStatus = "ok" | "warning" | "critical";

/** A configured bound and where the metric stands. */
export interface ConstraintState {
    /** The constraint's name, for example `wal_size`. */
    name: string;
    /** The metric's name, unit as suffix. */
    metric: string;
    /** The latest value, in the metric's unit. */
    value: number;
    /** The lower bound, in the metric's unit. */
    lower: number | null;
    /** The upper bound, in the metric's unit. */
    upper: number | null;
    /** The share of the room up to the bound that is used; over 1 is a violation. */
    utilization: number;
    /** Where it stands. */
    status: ConstraintStatus;
    /**
     * The times at which it was not ok, milliseconds since the Unix epoch, oldest first, the
     * latest 32 at most.
     */
    violationsMs: number[];
}

/** The latest value of a main metric. */
export interface Metric {
    /** Its name, unit as suffix. */
    name: string;
    /** Its value. */
    value: number;
}

/** A change of the local time, as for daylight saving. */
export interface OffsetChange {
    /** When, milliseconds since the Unix epoch. */
    atMs: number;
    /** Minutes that the local time is ahead of UTC from then on; negative when it is behind. */
    utcOffsetMinutes: number;
}

/** How far the local time is from UTC. */
export interface LocalTime {
    /** Minutes that the local time is ahead of UTC at the event; negative when it is behind. */
    utcOffsetMinutes: number;
    /** The next change; none when no change is known. */
    nextChange: OffsetChange | null;
}

/** A time in which people work on the target. */
export interface MaintenanceWindow {
    /** Its name in the configuration; `command` when a person opened it. */
    name: string;
    /** When it begins, milliseconds since the Unix epoch. */
    beginsMs: number;
    /** When it ends, milliseconds since the Unix epoch. */
    endsMs: number;
    /** Whether repairs may begin meanwhile. */
    allowRepairs: boolean;
    /** Who opened it; none when the configuration did. */
    by: string | null;
    /** Why, as it was given. */
    reason: string | null;
}

/** The maintenance of the target. */
export interface Maintenance {
    /** The window that is open at the event. */
    open: MaintenanceWindow | null;
    /** The next one. */
    next: MaintenanceWindow | null;
}

/** Everything beside the event. */
export interface Context {
    /** The event's time, milliseconds since the Unix epoch. There is no other clock. */
    nowMs: number;
    /** The database's name in the host's configuration. */
    target: string;
    /**
     * What kind of database it is: `sqlite`, `postgresql`, or `metrics` when only numbers are known
     * of it. Open: a policy meets kinds that it does not know.
     */
    targetKind: string;
    /**
     * The local time in the time zone of the host's configuration; none when it is not known, as in
     * a recording of an earlier version.
     */
    localTime: LocalTime | null;
    /** Its maintenance. */
    maintenance: Maintenance;
    /** The escalation level in force for this target. */
    level: EscalationLevel;
    /** Since when, milliseconds since the Unix epoch. */
    levelSinceMs: number;
    /** What became of earlier repairs on this target. */
    repairs: RepairHistory[];
    /** The incidents open on this target, the event's own included. */
    incidents: OpenIncident[];
    /** The constraints of this target. */
    constraints: ConstraintState[];
    /** The main metrics of this target. More through `telemetry`. */
    metrics: Metric[];
    /** What `configure` returned for the parameters in force. */
    settings: Uint8Array;
    /**
     * What the policy's last verdict for this target left in `memory`; empty at first.
     *
     * It is the policy's own: the host keeps it by target, by the policy's place in the line of
     * that target, and there by the name that the policy gives itself and by the key that signed
     * it. A new version with the same name and key takes over what the version before left; so
     * does the very same component that another trusted key signs. Every other policy begins
     * with an empty memory and never sees this one. When the host puts a policy back that was in
     * service before, that policy gets what it had left before the swap, not what came after. A
     * policy that kept failing, and is tried again in the place of another one, begins empty.
     *
     * A policy must cope with any bytes: those of a version with another layout, or damaged ones.
     * What it cannot read it treats like an empty memory; it must neither trap nor judge
     * otherwise because of it. `dbmedic policy check` tries that.
     */
    memory: Uint8Array;
}

/** What a problem means. */
export type Classification = "hiccup" | "obstacle" | "wall" | "crisis";

/** Who must know. */
export type EscalationLevel = "normal" | "watch" | "warn" | "escalate";

/** How much the host writes down. */
export type Verbosity = "normal" | "elevated" | "incident";

/** How urgent an alert is. */
export type Urgency = "info" | "warning" | "critical";

/** Something to tell people. */
export interface Alert {
    /** Stable name of the alert rule. */
    rule: string;
    /** How urgent it is. */
    urgency: Urgency;
    /** One line. */
    message: string;
}

/** Why the policy answered as it did. */
export interface Reason {
    /** Stable dotted name of the rule that spoke, for example `lock.too-fresh`. */
    rule: string;
    /** What a person reads. */
    text: string;
}

/** The answer. */
export interface Verdict {
    /** What the problem means; required for a finding, free for an outcome or a tick. */
    classification: Classification | null;
    /** The escalation level from now on. */
    level: EscalationLevel;
    /** The identifier of the chosen candidate of the event's finding; none: no repair. */
    repair: string | null;
    /**
     * Whether the chosen repair waits for a person although the host's mode would let it begin. The
     * policy is asked again when a person answered; `open-incident.answers` shows what was said.
     */
    needsApproval: boolean;
    /**
     * Stop: the host's guard lets no repair touch this target until a person releases it, and
     * the files are copied aside as they are.
     */
    halt: boolean;
    /** How sure the policy is that its choice is right, 0 to 1. */
    confidence: number;
    /** How much to write down from now on. */
    verbosity: Verbosity;
    /** What to tell people. */
    alerts: Alert[];
    /** Why, the weightiest first. Never empty for a finding. */
    reasons: Reason[];
    /** What a person might do. */
    suggestions: string[];
    /**
     * What the policy wants to be handed back at the next event of this target; 16 KiB at most.
     * Nobody else gets it; see `context.memory`.
     */
    memory: Uint8Array;
}

/** One value of a series. */
export interface Point {
    /** When, milliseconds since the Unix epoch. */
    atMs: number;
    /** The value, in the unit of the series' name. */
    value: number;
}

/** What is normal for one series. Values in the unit of the series' name. */
export interface BaselineSummary {
    /** How many values it rests on. */
    count: number;
    /** Whether it has seen enough to judge by. */
    established: boolean;
    /** The median. */
    median: number;
    /** The median absolute deviation from the median, unscaled. */
    mad: number;
    /** The arithmetic mean. */
    mean: number;
    /** The sample standard deviation. */
    stdev: number;
    /** The 50th percentile. */
    p50: number;
    /** The 95th percentile. */
    p95: number;
    /** The 99th percentile. */
    p99: number;
    /** The smallest value. */
    min: number;
    /** The largest value. */
    max: number;
}

/** One parameter that the operator may set. */
export interface Parameter {
    /** Its name in snake_case, its unit as suffix. */
    name: string;
    /** One line for a person. */
    summary: string;
    /** What holds when nothing is set. Its case is the parameter's type. */
    default: Value;
    /** The smallest number allowed. */
    minimum: number | null;
    /** The largest number allowed. */
    maximum: number | null;
}

/** Who the policy is. */
export interface Description {
    /** Stable name in kebab-case. */
    name: string;
    /** Its version, semver. */
    version: string;
    /** One line for a person. */
    summary: string;
    /** What the operator may set. */
    parameters: Parameter[];
}

/** A value that the operator set. */
export interface Setting {
    /** The parameter's name. */
    name: string;
    /** Its value. */
    value: Value;
}

/** What is wrong with a setting. */
export interface SettingError {
    /** The setting's name, as the operator wrote it. */
    name: string;
    /** What is wrong and what would be right. */
    message: string;
}

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
} as const;

/** The fields of what a policy answers, with their types in the contract. */
export const ANSWERS: { readonly [record: string]: { readonly [field: string]: string } } = {
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
export const INTERFACES: { readonly [item: string]: string } = {
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
