/** Checks what a policy answers, and names the contract's item and the remedy where it is wrong. */
import { ANSWERS, CASES, INTERFACES } from "./contract.js";
/** The value, if it is of this type of the contract; otherwise an error that names the item. */
export function checked(value, type, item) {
    const generic = /^(option|list)<(.*)>$/.exec(type);
    if (generic !== null) {
        return checkedGeneric(value, generic[1], generic[2], item);
    }
    const cases = CASES[type];
    if (cases !== undefined && !cases.includes(value)) {
        throw wrong(value, `one of ${cases.map((each) => `"${each}"`).join(", ")}`, item, likely(value, cases));
    }
    const fields = ANSWERS[type];
    if (fields !== undefined) {
        return checkedRecord(value, fields, item);
    }
    const names = {
        string: ["string", "a text"],
        bool: ["boolean", "true or false"],
        f64: ["number", "a number"],
    };
    const name = names[type];
    if (name !== undefined && typeof value !== name[0]) {
        throw wrong(value, name[1], item);
    }
    if (type === "f64" && !Number.isFinite(value)) {
        throw wrong(value, "a finite number", item);
    }
    return value;
}
function checkedGeneric(value, generic, inner, item) {
    if (generic === "option") {
        return value === null ? value : checked(value, inner, item);
    }
    if (inner === "u8") {
        if (!(value instanceof Uint8Array)) {
            throw wrong(value, "a Uint8Array", item);
        }
        return value;
    }
    if (!Array.isArray(value)) {
        throw wrong(value, "a list", item);
    }
    value.forEach((each, at) => checked(each, inner, `${item}[${at}]`));
    return value;
}
function checkedRecord(value, fields, item) {
    if (typeof value !== "object" || value === null) {
        throw wrong(value, "an object", item, `it has ${Object.keys(fields).join(", ")}`);
    }
    for (const [name, type] of Object.entries(fields)) {
        checked(value[name], type, `${item}.${name}`);
    }
    return value;
}
/** What a misspelt word may have been meant to be. */
export function likely(value, words) {
    const near = words.find((word) => typeof value === "string" && distance(value.toLowerCase(), word) <= 2);
    return near === undefined ? "" : `did you mean "${near}"?`;
}
/** How many letters lie between two words (Levenshtein). */
function distance(a, b) {
    let row = Array.from({ length: b.length + 1 }, (_, at) => at);
    for (let i = 1; i <= a.length; i += 1) {
        const next = [i];
        for (let j = 1; j <= b.length; j += 1) {
            next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
        }
        row = next;
    }
    return row[b.length];
}
function wrong(value, expected, item, remedy = "") {
    const record = item.split(/[.[]/)[0];
    const got = value === undefined ? "nothing" : shown(value);
    const tail = remedy === "" ? "" : `; ${remedy}`;
    return new TypeError(`dbmedic:policy/${INTERFACES[record] ?? "decision"} ${item}: ${expected} is expected, not ${got}${tail}`);
}
/** A value as it stands in a message: the same text in every language of the SDK. */
export function shown(value) {
    if (typeof value === "number") {
        return plain(value);
    }
    if (Array.isArray(value)) {
        return `[${value.map(shown).join(", ")}]`;
    }
    if (typeof value === "bigint" || typeof value === "function" || typeof value === "symbol") {
        return `a ${typeof value}`;
    }
    const text = JSON.stringify(value);
    return text.length <= 60 ? text : `${text.slice(0, 60)}...`;
}
/** A number without an exponent. */
export function plain(value) {
    const text = String(value);
    if (!text.includes("e")) {
        return { Infinity: "inf", "-Infinity": "-inf" }[text] ?? text;
    }
    if (Number.isInteger(value)) {
        return BigInt(value).toString();
    }
    const [digits, exponent] = text.split("e");
    const places = (digits.split(".")[1] ?? "").length - Number(exponent);
    return value.toFixed(Math.min(places, 100));
}
