/** For a policy's native tests: what the host would answer, events to ask about, and how to ask. */
import { tables } from "./host.js";
import { SettingErrors, configure, decide } from "./policy.js";
const NOW_MS = 1_000_000;
/** The value of the contract. */
export function value(plain) {
    if (typeof plain === "object" && !Array.isArray(plain)) {
        return plain;
    }
    const isText = (one) => typeof one === "string";
    const tag = Array.isArray(plain)
        ? plain.every(isText) ? "texts" : "integers"
        : typeof plain === "boolean" ? "boolean"
            : typeof plain === "string" ? "text"
                : Number.isInteger(plain) ? "integer" : "number";
    return { tag, val: plain };
}
/** A finding of this kind with these facts and repairs: incident `i-1`, subject `main`, severity 0.5, seen once. */
export function finding(kind, facts = {}, candidates = []) {
    const made = {
        incident: "i-1",
        kind,
        subject: "main",
        summary: kind,
        severity: 0.5,
        firstSeenMs: NOW_MS,
        lastSeenMs: NOW_MS,
        sightings: 1,
        facts: Object.entries(facts).map(([name, plain]) => ({ name, value: value(plain) })),
        evidence: [],
        candidates: candidates.map((id) => candidate(id)),
    };
    return { tag: "finding", val: made };
}
/** A repair without preconditions that loses nothing and can be taken back. */
export function candidate(id, level = "in-place") {
    const expectedLoss = { commits: 0, rows: null, sinceMs: null, percent: 0 };
    return { id, summary: id, level, preconditions: [], expectedDurationMs: 500, expectedLoss, undoable: true };
}
/** The end of a repair of the incident `i-1`. */
export function outcome(kind, repair, outcomeResult) {
    const loss = { commits: 0, rows: null, sinceMs: null, percent: 0 };
    const about = { incident: "i-1", kind, subject: "main", repair, outcomeResult };
    return { tag: "outcome", val: { ...about, reason: "", durationMs: 7, loss, notes: [] } };
}
/** A repair that failed this often in a row, and never succeeded. */
export function failed(kind, repair, times) {
    return { kind, repair, successes: 0, failures: times, failuresInARow: times, lastMs: NOW_MS };
}
/** A context of a SQLite database at 1 000 000 ms, level normal since 0, and nothing else but these fields. */
export function context(fields = {}) {
    return {
        nowMs: NOW_MS,
        target: "test",
        targetKind: "sqlite",
        localTime: null,
        maintenance: { open: null, next: null },
        level: "normal",
        levelSinceMs: 0,
        repairs: [],
        incidents: [],
        constraints: [],
        metrics: [],
        settings: new Uint8Array(),
        memory: new Uint8Array(),
        ...fields,
    };
}
/**
 * The policy's verdict, as the host would get it; `settings` are its parameters. Throws what it throws.
 *
 * The settings of the context are packed anew. To carry a memory on, put the verdict's `memory` into the next context.
 */
export function ask(policy, event, fields = {}, settings = {}) {
    const given = Object.entries(settings).map(([name, plain]) => ({ name, value: value(plain) }));
    return decide(policy, event, context({ ...fields, settings: configure(policy, given) }));
}
/** Takes the notes that the policy wrote. */
export function notes() {
    return tables.notes.splice(0);
}
/** Sets the points of a series, oldest first. */
export function setSeries(name, points) {
    tables.series.set(name, points);
}
/** Sets what is normal for a series. */
export function setBaseline(name, baseline) {
    tables.baselines.set(name, baseline);
}
/** Forgets every series, baseline and note. */
export function clear() {
    tables.notes.length = 0;
    tables.series.clear();
    tables.baselines.clear();
}
export { SettingErrors };
