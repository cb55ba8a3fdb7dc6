/**
 * The contract's interface `decision`: calls the policy, and puts into the host's log what would be lost otherwise.
 *
 * The console goes to the log. A mistake of the policy is written there with its file and line, and then ends the call
 * as a trap: it must not look like a refusal. What a component has not (a clock, chance) throws an error that says so.
 */
import { Refusal } from "./answer.js";
import { checked } from "./checked.js";
import { log, setHost } from "./host.js";
import { SettingErrors, configure, decide, definePolicy, describe } from "./policy.js";
const SDK = "dbmedic-policy/";
/** The interface for one policy. Says at once, when the component is built, what is missing. */
export function exported(policy, host) {
    if (typeof policy !== "object" || policy === null) {
        throw new TypeError("policy.js does not export a policy for dbmedic:policy/decision; write `export default definePolicy({ ... })`");
    }
    definePolicy(policy);
    checked(describe(policy), "description", "description");
    setHost(host);
    return {
        describe: () => guarded(() => describe(policy)),
        configure: (settings) => guarded(() => configure(policy, settings)),
        decide: (event, context) => guarded(() => decide(policy, event, context)),
    };
}
function guarded(call) {
    prepare();
    try {
        return call();
    }
    catch (error) {
        // Plain data is the contract's error case; an Error is a trap.
        if (error instanceof SettingErrors) {
            throw error.errors;
        }
        if (error instanceof Refusal) {
            throw error.reason;
        }
        log.error(told(error));
        throw error instanceof Error ? error : new Error(String(error));
    }
}
/** An error in one line, with the innermost place in the policy's own files: `TypeError: ... at policy.js:24`. */
export function told(error) {
    if (!(error instanceof Error)) {
        return `${joined([error])} is thrown; throw an Error, or a Refusal where the policy cannot judge`;
    }
    const text = `${error.name}: ${error.message}`;
    const places = [...(error.stack ?? "").matchAll(/([^\s()]+?\.[jt]s):(\d+)(?::\d+)?\)?$/gm)];
    const home = places.find(([, file]) => file.includes(SDK))?.[1].split(SDK)[0] ?? "";
    const own = places.find(([, file]) => !file.includes(SDK));
    if (own === undefined) {
        return text;
    }
    const [, file, line] = own;
    const short = home !== "" && file.startsWith(home) ? file.slice(home.length) : file.replace(/^.*\//, "");
    // Types were blanked out there, so the lines are those of the source.
    const source = file.includes(".typescript/") ? short.replace(/js$/, "ts") : short;
    return `${text} at ${source}:${line}`;
}
let isPrepared = false;
/** Once in each instance: not while the component is built, when nothing may be called. */
function prepare() {
    if (isPrepared) {
        return;
    }
    isPrepared = true;
    const globals = globalThis;
    globals["console"] = {
        debug: (...parts) => log.debug(joined(parts)),
        log: (...parts) => log.info(joined(parts)),
        info: (...parts) => log.info(joined(parts)),
        warn: (...parts) => log.warn(joined(parts)),
        error: (...parts) => log.error(joined(parts)),
    };
    globals["Date"] = withoutClock(Date);
    Math.random = () => {
        throw new Error("Math.random: a policy has no source of randomness: the same event must give the same answer");
    };
}
function joined(parts) {
    return parts.map((part) => (typeof part === "object" ? JSON.stringify(part) : String(part))).join(" ");
}
/** `Date` without the present. */
function withoutClock(real) {
    const noClock = (name) => {
        throw new Error(`${name}: a policy has no clock; the event's time is \`situation.nowMs\``);
    };
    return new Proxy(real, {
        apply: () => noClock("Date()"),
        construct: (target, parts) => (parts.length === 0 ? noClock("new Date()") : Reflect.construct(target, parts)),
        get: (target, name) => (name === "now" ? () => noClock("Date.now") : Reflect.get(target, name)),
    });
}
