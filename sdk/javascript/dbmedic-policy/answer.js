/** The verdict while it is being made, and the texts in it. */
import { checked } from "./checked.js";
import { CASES } from "./contract.js";
/** Throw it where the policy cannot judge; the host then decides cautiously. No failure of the policy. */
export class Refusal extends Error {
    reason;
    constructor(rule, text) {
        super(text);
        this.name = "Refusal";
        this.reason = reason(rule, text);
    }
}
/** The higher one of two levels. */
export function higher(one, other) {
    return rank(one) >= rank(other) ? one : other;
}
/** Where a level stands: 0 is normal, 3 is escalate. */
export function rank(level) {
    return CASES["escalation-level"].indexOf(level);
}
const VERBOSITY = {
    normal: "normal",
    watch: "elevated",
    warn: "elevated",
    escalate: "incident",
};
/** A verdict in the making. It begins as the cautious one: no repair, no halt, the level as it is. */
export class Answer {
    /** The highest level that `atLeast` was called with. */
    asked = "normal";
    #verdict;
    #verbosity = null;
    constructor(level) {
        this.#verdict = {
            classification: null,
            level,
            repair: null,
            needsApproval: false,
            halt: false,
            confidence: 0,
            verbosity: "normal",
            alerts: [],
            reasons: [],
            suggestions: [],
            memory: new Uint8Array(),
        };
    }
    /** The verdict as it stands; to be read, not to be changed. */
    get soFar() {
        return this.#verdict;
    }
    /** Says what the problem means. */
    classify(classification) {
        this.#verdict.classification = checked(classification, "classification", "verdict.classification");
        return this;
    }
    /** Sets the level from now on. */
    level(level) {
        this.#verdict.level = checked(level, "escalation-level", "verdict.level");
        return this;
    }
    /** Sets the level to this one unless it is higher already. */
    atLeast(level) {
        this.asked = higher(this.asked, checked(level, "escalation-level", "verdict.level"));
        this.#verdict.level = higher(this.#verdict.level, level);
        return this;
    }
    /** Chooses a repair by its identifier; `confidence` says how sure the choice is, 0 to 1. */
    repair(candidate, confidence) {
        this.#verdict.repair = checked(candidate, "string", "verdict.repair");
        this.#verdict.confidence = share(confidence);
        return this;
    }
    /** Has the chosen repair wait until a person answered; `Situation.approvals` says who approved. */
    needsApproval() {
        this.#verdict.needsApproval = true;
        return this;
    }
    /** Chooses no repair after all. */
    noRepair() {
        this.#verdict.repair = null;
        this.#verdict.needsApproval = false;
        this.#verdict.confidence = 0;
        return this;
    }
    /** Stops: no repair may touch the target until a person releases it. */
    halt() {
        this.#verdict.halt = true;
        return this.noRepair();
    }
    /** Sets how much to write down; by itself, escalate writes everything, watch and warn the context. */
    verbosity(verbosity) {
        this.#verbosity = checked(verbosity, "verbosity", "verdict.verbosity");
        return this;
    }
    /** Adds a reason; the weightiest comes first. */
    because(rule, text) {
        this.#verdict.reasons.push(reason(rule, text));
        return this;
    }
    /** Tells people. */
    alert(rule, urgency, message) {
        this.#verdict.alerts.push(checked({ rule, urgency, message }, "alert", "alert"));
        return this;
    }
    /** Suggests something to a person, once. */
    suggest(suggestion) {
        if (!this.#verdict.suggestions.includes(checked(suggestion, "string", "verdict.suggestions"))) {
            this.#verdict.suggestions.push(suggestion);
        }
        return this;
    }
    /** The verdict with what is to be remembered; a memory that is too large is dropped with a reason. */
    finish(memory) {
        this.#verdict.verbosity = this.#verbosity ?? VERBOSITY[this.#verdict.level];
        if (memory === null) {
            this.because("memory.too-large", "the policy's memory exceeds 16384 bytes and was dropped");
        }
        this.#verdict.memory = memory ?? new Uint8Array();
        return this.#verdict;
    }
}
function share(value) {
    if (checked(value, "f64", "verdict.confidence") < 0 || value > 1) {
        throw new RangeError(`dbmedic:policy/verdicts verdict.confidence: ${value} does not lie between 0 and 1`);
    }
    return value;
}
/** A reason: a stable rule name that outlives any rewording, and a text for a person. */
export function reason(rule, text) {
    if (!isRuleName(rule)) {
        throw new RangeError(`dbmedic:policy/verdicts reason.rule: ${JSON.stringify(rule)} is no rule name; write two or more words of` +
            " a-z, 0-9 and -, joined by dots, as in `lock.too-fresh`");
    }
    return { rule, text: checked(text, "string", "reason.text") };
}
/** Whether this is the name of a rule: dotted kebab-case, two words at least. */
export function isRuleName(name) {
    return typeof name === "string" && /^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+$/.test(name);
}
/** Milliseconds as a person reads them: `4.2 s`, tenths cut off, so that no text overstates. */
export function seconds(ms) {
    return `${Math.floor(ms / 1_000)}.${Math.floor((ms % 1_000) / 100)} s`;
}
/** A percentage as a person reads it: `4.2 %`, half a tenth rounded up. */
export function percent(value) {
    const tenths = Math.floor(value * 10 + 0.5);
    const size = Math.abs(tenths);
    return `${tenths < 0 ? "-" : ""}${Math.floor(size / 10)}.${size % 10} %`;
}
