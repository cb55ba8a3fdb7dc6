/** What an author defines, and how the contract's three functions follow from it. */

import { Answer, Refusal } from "./answer.js";
import { checked, likely, shown } from "./checked.js";
import type { Context, Description, Event, Setting, SettingError, Verdict } from "./contract.js";
import { comeDown, levelOf } from "./helpers.js";
import { fromSettings, schema } from "./parameters.js";
import type { Declarations, Values } from "./parameters.js";
import { Situation } from "./situation.js";
import { utf8Decode, utf8Encode } from "./utf8.js";

const LIMIT_BYTES = 16 * 1024;
const MARK_BYTES = 9;
const HEADER_BYTES = 13;
// Tells these bytes from those of a policy of the same name in a language that does not write JSON.
const JSON_MARK = 0x80;
const EMPTY = "they are empty";
const FOREIGN = "another policy or another version wrote them";
const DAMAGED = "they are damaged";

/** A policy: three questions about every event, and what it wants to remember. */
export interface Policy<D extends Declarations, M extends object> {
    /** Stable name in kebab-case. */
    readonly name: string;
    /** Its version, semver. */
    readonly version: string;
    /** One line for a person. */
    readonly summary: string;
    /** What the operator may set. */
    readonly parameters?: D;
    /** What is remembered at first: objects, lists, texts, numbers, true, false and null. */
    readonly memory?: () => M;
    /** Raise it, up to 127, when the meaning of the memory changes: older bytes are then forgotten, not misread. */
    readonly layout?: number;
    /** The first question: what does the problem mean? By itself, a wall: nobody has judged it. */
    classify?(situation: Situation<Values<D>>, memory: M, answer: Answer): void;
    /** The second question: which of the offered repairs is to be tried? By itself, none. */
    choose?(situation: Situation<Values<D>>, memory: M, answer: Answer): void;
    /** The third question: who must know? By itself, the level rises with the class, and comes down when it is quiet. */
    escalate?(situation: Situation<Values<D>>, memory: M, answer: Answer): void;
    /** The whole answer; by itself the three questions in the order in which they need each other. */
    decide?(situation: Situation<Values<D>>, memory: M): Answer;
}

/** What a policy does where it defines nothing of its own; for rules that add to it. */
export const defaults = {
    /** A finding is a wall: nobody has judged it. */
    classify<P>(situation: Situation<P>, _memory: object, answer: Answer): void {
        if (situation.finding !== null) {
            answer.classify("wall");
            answer.because("policy.not-judged", `this policy has no rule for ${situation.finding.kind}`);
        }
    },
    /** No repair. */
    choose<P>(_situation: Situation<P>, _memory: object, _answer: Answer): void {},
    /** The level rises with the class, a crisis halts, and the level comes down when nothing asks for it. */
    escalate<P>(situation: Situation<P>, _memory: object, answer: Answer): void {
        const { classification } = answer.soFar;
        answer.atLeast(levelOf(classification));
        if (classification === "crisis") {
            answer.halt();
        }
        comeDown(situation, answer);
    },
};

const TEXTS = { name: '"my-policy"', version: '"0.1.0"', summary: '"Calls a person."' };
const FUNCTIONS = ["classify", "choose", "escalate", "decide", "memory"];
const KNOWN = [...Object.keys(TEXTS), ...FUNCTIONS, "parameters", "layout"];

/** Defines a policy, and says at once what is missing or misspelt. */
export function definePolicy<D extends Declarations = {}, M extends object = {}>(policy: Policy<D, M>): Policy<D, M> {
    const fields = policy as unknown as { [field: string]: unknown };
    for (const field of Object.keys(fields)) {
        if (!KNOWN.includes(field)) {
            const near = likely(field, KNOWN);
            throw new TypeError(`definePolicy knows no ${field}; ${near === "" ? `it takes ${KNOWN.join(", ")}` : near}`);
        }
        if (FUNCTIONS.includes(field) && typeof fields[field] !== "function") {
            throw new TypeError(`definePolicy: ${field} is a function, not ${shown(fields[field])}`);
        }
    }
    for (const [field, example] of Object.entries(TEXTS)) {
        if (typeof fields[field] !== "string") {
            throw new TypeError(
                `dbmedic:policy/decision description.${field}: the policy does not say it; write \`${field}: ${example}\``,
            );
        }
    }
    const layout = policy.layout ?? 1;
    if (!(Number.isInteger(layout) && layout >= 1 && layout < JSON_MARK)) {
        throw new RangeError(`definePolicy: layout is ${shown(layout)}; write a whole number from 1 to 127`);
    }
    return policy;
}

/** Any policy, for functions that ask one. */
export type AnyPolicy = Policy<any, any>;

/** Everything that is wrong with the settings. */
export class SettingErrors extends Error {
    readonly errors: SettingError[];

    constructor(errors: SettingError[]) {
        super(errors.map((error) => `${error.name}: ${error.message}`).join("; "));
        this.errors = errors;
    }
}

/** Says who the policy is and what can be set. */
export function describe(policy: AnyPolicy): Description {
    const { name, version, summary } = policy;
    return { name, version, summary, parameters: schema(policy.parameters ?? {}) };
}

/** Checks the settings and packs them; throws `SettingErrors`. */
export function configure(policy: AnyPolicy, settings: readonly Setting[]): Uint8Array {
    const { values, errors } = fromSettings(policy.parameters ?? {}, settings);
    if (errors.length > 0) {
        throw new SettingErrors(errors);
    }
    const packed = pack(policy, values);
    if (packed === null) {
        throw new SettingErrors([{ name: "", message: `all settings together exceed ${LIMIT_BYTES} bytes` }]);
    }
    return packed;
}

/**
 * Judges one event: unpacks settings and memory, asks the policy, packs its memory; throws `Refusal`.
 *
 * Settings that cannot be read are a refusal: to judge by other numbers than the operator's would be worse than not to
 * judge. A memory that cannot be read is forgotten, with a reason that says so.
 */
export function decide(policy: AnyPolicy, event: Event, context: Context): Verdict {
    const settings = unpack(policy, context.settings);
    if (typeof settings === "string") {
        const text = `the settings cannot be read: ${settings}; have \`configure\` pack them again`;
        throw new Refusal("settings.unreadable", text);
    }
    const remembered = unpack(policy, context.memory);
    const initial = policy.memory?.() ?? {};
    const memory = typeof remembered === "string" ? initial : { ...initial, ...remembered };
    const answer = answerOf(policy, new Situation(event, context, settings), memory);
    if (typeof remembered === "string" && remembered !== EMPTY) {
        const text = `what was remembered could not be read, and is begun anew: ${remembered}`;
        answer.because("memory.unreadable", text);
    }
    return checked(answer.finish(pack(policy, memory)), "verdict", "verdict");
}

function answerOf(policy: AnyPolicy, situation: Situation<any>, memory: object): Answer {
    if (policy.decide !== undefined) {
        const answer: unknown = policy.decide(situation, memory);
        if (!(answer instanceof Answer)) {
            throw new TypeError(
                `dbmedic:policy/decision decide: ${policy.name} returned ${answer === undefined ? "nothing" : shown(answer)};` +
                    " make a `new Answer(situation.level)` and return it",
            );
        }
        return answer;
    }
    const answer = new Answer(situation.level);
    (policy.classify ?? defaults.classify).call(policy, situation, memory, answer);
    (policy.choose ?? defaults.choose).call(policy, situation, memory, answer);
    (policy.escalate ?? defaults.escalate).call(policy, situation, memory, answer);
    return answer;
}

/** FNV-1a, 64 bits, of a text in UTF-8, little endian. */
function fingerprint(text: string): Uint8Array {
    let hash = 0xcbf2_9ce4_8422_2325n;
    for (const byte of utf8Encode(text)) {
        hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x0000_0100_0000_01b3n);
    }
    return Uint8Array.from({ length: 8 }, (_, at) => Number((hash >> BigInt(8 * at)) & 0xffn));
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) {
        crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
    }
    return crc;
});

/** CRC-32, as of zip, little endian. */
function checksum(bytes: Uint8Array): Uint8Array {
    let crc = -1;
    for (const byte of bytes) {
        crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 0xff];
    }
    return Uint8Array.from([0, 8, 16, 24], (bits) => (~crc >>> bits) & 0xff);
}

/** What stands in front of this policy's bytes. */
function mark(policy: AnyPolicy): Uint8Array {
    return Uint8Array.of(JSON_MARK | (policy.layout ?? 1), ...fingerprint(policy.name));
}

function pack(policy: AnyPolicy, values: object): Uint8Array | null {
    const body = utf8Encode(JSON.stringify(values, writable));
    const packed = new Uint8Array(HEADER_BYTES + body.length);
    packed.set(mark(policy));
    packed.set(checksum(body), MARK_BYTES);
    packed.set(body, HEADER_BYTES);
    return packed.length <= LIMIT_BYTES ? packed : null;
}

/** JSON would write NaN as null, and leave out functions and undefined, without a word. */
function writable(key: string, value: unknown): unknown {
    const fault =
        typeof value === "number"
            ? !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))
            : ["bigint", "function", "symbol", "undefined"].includes(typeof value);
    if (fault || value instanceof Map || value instanceof Set) {
        const what = value === undefined ? "undefined" : value instanceof Map || value instanceof Set ? "a Map or Set" : shown(value);
        throw new TypeError(
            `dbmedic:policy/verdicts verdict.memory: ${key} is ${what}, which JSON cannot keep; keep objects, lists,` +
                " texts, finite numbers below 2^53, true, false and null in it",
        );
    }
    return value;
}

/** What was packed, or why it cannot be read. */
function unpack(policy: AnyPolicy, packed: Uint8Array): object | string {
    if (packed.length === 0) {
        return EMPTY;
    }
    const begins = (bytes: Uint8Array, from: number): boolean => bytes.every((byte, at) => byte === packed[from + at]);
    if (!begins(mark(policy), 0)) {
        return FOREIGN;
    }
    const body = packed.subarray(HEADER_BYTES);
    if (!begins(checksum(body), MARK_BYTES)) {
        return DAMAGED;
    }
    return JSON.parse(utf8Decode(body));
}
