// Asks a policy natively, before it is built, what the host would ask: `node dbmedic-policy/check.mjs policy.js`.
//
// An error has its file and line here, an endless loop too. It is a first look: `dbmedic policy check` asks the
// component itself.

import { spawnSync } from "node:child_process";
import { writeSync } from "node:fs";
import { Session } from "node:inspector";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";

const SECONDS = 5;
const SDK = "dbmedic-policy/";
const LEVELS = ["normal", "watch", "warn", "escalate"];
const FACTS = { count: 400_000, number: 50, flag: true, text: "main" };
const none = () => null;
const say = (text) => writeSync(2, text);

if (process.argv.length !== 3) {
    say("usage: node dbmedic-policy/check.mjs FILE\n");
    process.exitCode = 2;
} else {
    const fault = await check(pathToFileURL(resolve(process.argv[2])));
    if (fault !== null) {
        say(`${fault}\n`);
        process.exitCode = 1;
    }
}

/** What is wrong with the policy of a file; null when nothing is. */
async function check(file) {
    const part = (name) => import(new URL(`${SDK}${name}`, file).href);
    const [{ exported, told }, testing, { FACTS: kinds }] = await Promise.all(
        ["exported.js", "testing.js", "problems.js"].map(part),
    );
    try {
        const { default: policy } = await import(file.href);
        const notes = [];
        const host = { write: (level, message) => notes.push(`${level}: ${message}`), latest: none, baseline: none, recent: () => [] };
        const decision = exported(policy, host);
        const fault = withinTime(() => ask(decision, testing, events(testing, kinds)));
        return fault === null ? null : (notes.filter((note) => note.startsWith("error: ")).at(-1)?.slice(7) ?? fault);
    } catch (error) {
        return error instanceof SyntaxError ? (unreadable(file) ?? told(error)) : told(error);
    }
}

/** Where the file cannot be read as JavaScript; null when it can, and another one cannot. */
function unreadable(file) {
    const { stderr } = spawnSync(process.execPath, ["--check", fileURLToPath(file)], { encoding: "utf8" });
    return stderr === "" ? null : stderr.split("\n    at ")[0].trim();
}

/** A finding of every known kind with all of its facts and with none, an outcome of each end, and a tick. */
function events(testing, kinds) {
    const all = [{ tag: "tick" }, testing.finding("disk.on-fire")];
    for (const [kind, facts] of Object.entries(kinds)) {
        const full = Object.entries(facts).map(([name, type]) => [name, FACTS[type]]);
        all.push(testing.finding(kind), testing.finding(kind, Object.fromEntries(full)));
    }
    const ends = ["verified", "rolled-back", "refused", "failed"];
    return [...all, ...ends.map((end) => testing.outcome("wal.oversized", "wal.checkpoint", end))];
}

function ask(decision, testing, events) {
    try {
        decision.describe();
        const settings = decision.configure([]);
        for (const event of events) {
            for (const level of LEVELS) {
                decideOrRefuse(decision, event, testing.context({ settings, level }));
            }
        }
        return null;
    } catch (error) {
        return Array.isArray(error)
            ? `the policy refuses its own defaults: ${error.map(({ name, message }) => `${name}: ${message}`).join("; ")}`
            : String(error);
    }
}

/** A refusal is plain data, and no mistake. */
function decideOrRefuse(decision, event, context) {
    try {
        decision.decide(event, context);
    } catch (error) {
        if (error instanceof Error) {
            throw error;
        }
    }
}

/** What a call returns; one that does not end by itself is ended, and its profile says where it was. */
function withinTime(call) {
    const session = new Session();
    session.connect();
    session.post("Profiler.enable");
    session.post("Profiler.start");
    globalThis.askedInTime = call;
    try {
        return runInThisContext("askedInTime()", { timeout: SECONDS * 1_000 });
    } catch (error) {
        if (error.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") {
            throw error;
        }
        let place = "";
        session.post("Profiler.stop", (_, { profile }) => (place = busiest(profile.nodes)));
        return `EndlessLoop: a call did not end within ${SECONDS} s; the host allows it 50 ms: let the loop end${place}`;
    } finally {
        session.disconnect();
    }
}

/** The line of the policy's own files that took the most time. */
function busiest(nodes) {
    const lines = nodes
        .filter(({ callFrame: { url } }) => url.startsWith("file:") && !url.includes(SDK))
        .flatMap(({ callFrame, positionTicks }) => (positionTicks ?? []).map((ticks) => ({ ...ticks, url: callFrame.url })))
        .sort((one, other) => other.ticks - one.ticks);
    if (lines.length === 0) {
        return "";
    }
    const [{ url, line }] = lines;
    const file = url.replace(/^.*\//, "");
    // What was TypeScript has the lines of its source.
    return ` at ${url.includes("/.typescript/") ? file.replace(/js$/, "ts") : file}:${line}`;
}
