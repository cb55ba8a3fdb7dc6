// Asks a policy natively, before it is built, what the host would ask: `node dbmedic-policy/check.mjs policy.js`.
//
// An error has its file and line here, an endless loop too. It is a first look: `dbmedic policy check` asks the
// component itself.

import { writeSync } from "node:fs";
import { Session } from "node:inspector";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker, isMainThread, parentPort } from "node:worker_threads";

const SECONDS = 5;
const SDK = "dbmedic-policy/";
const LEVELS = ["normal", "watch", "warn", "escalate"];
const FACTS = { count: 400_000, number: 50, flag: true, text: "main" };
const say = (text) => writeSync(2, text);

if (!isMainThread) {
    watch();
} else if (process.argv.length !== 3) {
    say("usage: node dbmedic-policy/check.mjs FILE\n");
    process.exitCode = 2;
} else {
    // What ends a call that does not end by itself leaves this as it is.
    process.exitCode = 1;
    const watcher = new Worker(new URL(import.meta.url));
    await new Promise((ready) => watcher.once("message", ready));
    const fault = await check(pathToFileURL(resolve(process.argv[2])));
    if (fault === null) {
        process.exitCode = 0;
    } else {
        say(`${fault}\n`);
    }
    await watcher.terminate();
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
        const fault = ask(decision, testing, events(testing, kinds));
        return fault === null ? null : (notes.filter((note) => note.startsWith("error: ")).at(-1)?.slice(7) ?? fault);
    } catch (error) {
        return told(error);
    }
}

const none = () => null;

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

/** In a thread of its own: looks after a while where the policy is, and ends it. */
function watch() {
    const session = new Session();
    session.connectToMainThread();
    const scripts = new Map();
    session.on("Debugger.scriptParsed", ({ params }) => scripts.set(params.scriptId, params.url));
    session.on("Debugger.paused", ({ params }) => {
        const places = params.callFrames.map(({ location }) => [scripts.get(location.scriptId), location.lineNumber + 1]);
        const own = places.find(([url]) => url?.startsWith("file:") && !url.includes(SDK));
        const place = own === undefined ? "" : ` at ${own[0].replace(/^.*\//, "")}:${own[1]}`;
        say(`EndlessLoop: a call did not end within ${SECONDS} s; the host allows it 50 ms: let the loop end${place}\n`);
        session.post("Runtime.terminateExecution");
        session.post("Debugger.resume");
    });
    session.post("Debugger.enable", () => parentPort.postMessage("ready"));
    setTimeout(() => session.post("Debugger.pause"), SECONDS * 1_000);
}
