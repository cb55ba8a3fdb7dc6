/** What the operator may set, declared once: name, type, default, bounds, and one line for a person. */
import { likely, shown } from "./checked.js";
const EXPECTED = {
    integer: "a whole number",
    number: "a number",
    boolean: "true or false",
    text: "a text",
    texts: "a list of texts",
};
/** Declares a whole number. */
export function integer(summary, value, bounds = {}) {
    return declared("integer", summary, value, bounds);
}
/** Declares a number. */
export function number(summary, value, bounds = {}) {
    return declared("number", summary, value, bounds);
}
/** Declares a switch. */
export function flag(summary, value) {
    return declared("boolean", summary, value, {});
}
/** Declares a text. */
export function text(summary, value) {
    return declared("text", summary, value, {});
}
/** Declares a list of texts. */
export function texts(summary, value) {
    return declared("texts", summary, value, {});
}
function declared(tag, summary, value, bounds) {
    const one = { tag, summary, default: value, minimum: bounds.minimum ?? null, maximum: bounds.maximum ?? null };
    if (typeof summary !== "string") {
        throw new TypeError(`the summary of a parameter comes first and is a text, not ${shown(summary)}`);
    }
    const fault = faultOf(one, { tag, val: value });
    if (fault !== null) {
        throw new RangeError(`the default of a parameter: ${fault}`);
    }
    return one;
}
function faultOf(one, value) {
    if (!isOfType(one.tag, value)) {
        return `${shown(value.val)} is not ${EXPECTED[one.tag]}`;
    }
    if (typeof value.val !== "number") {
        return null;
    }
    if (one.tag === "integer" && !Number.isSafeInteger(value.val)) {
        return `${shown(value.val)} is 2^53 or more in magnitude, which the contract does not carry; use a smaller unit`;
    }
    const [low, high] = [one.minimum ?? -Infinity, one.maximum ?? Infinity];
    if (!(value.val >= low && value.val <= high)) {
        return `${shown(value.val)} is out of bounds; allowed is ${shown(low)} to ${shown(high)}`;
    }
    return null;
}
function isOfType(tag, value) {
    const whole = value.tag === "integer" && Number.isInteger(value.val);
    switch (tag) {
        case "integer":
            return whole;
        case "number":
            return whole || (value.tag === "number" && typeof value.val === "number");
        case "boolean":
            return value.tag === "boolean" && typeof value.val === "boolean";
        case "text":
            return value.tag === "text" && typeof value.val === "string";
        case "texts":
            return value.tag === "texts" && Array.isArray(value.val) && value.val.every((one) => typeof one === "string");
    }
}
/** What can be set, for `describe`. */
export function schema(declarations) {
    return Object.entries(declarations).map(([name, one]) => ({
        name,
        summary: one.summary,
        default: { tag: one.tag, val: one.default },
        minimum: one.minimum,
        maximum: one.maximum,
    }));
}
/** The values that are set, the rest at their defaults, and everything that is wrong with them. */
export function fromSettings(declarations, settings) {
    const values = Object.fromEntries(Object.entries(declarations).map(([name, one]) => [name, one.default]));
    const errors = [];
    const seen = new Set();
    for (const { name, value } of settings) {
        const one = Object.hasOwn(declarations, name) ? declarations[name] : undefined;
        let message = one === undefined ? unknown(name, Object.keys(declarations)) : faultOf(one, value);
        message = seen.has(name) ? "it is set more than once; keep one" : message;
        seen.add(name);
        values[name] = value.val;
        if (message !== null) {
            errors.push({ name, message });
        }
    }
    return { values, errors };
}
function unknown(name, known) {
    const near = likely(name, known).replaceAll('"', "`");
    const all = known.length === 0 ? "there are none" : `there are ${known.join(", ")}`;
    return `there is no such parameter; ${near === "" ? all : near}`;
}
