// Ends stale locks, waits for fresh ones, calls a person for the rest.

import { coolDown, defaults, definePolicy, failuresInARow, integer, problemOf, seconds } from "./dbmedic-policy/index.js";

/** The repair that this policy chooses. */
const END_HOLDER = "lock.end-holder";
/** Failures in a row after which it is not chosen again. */
const FAILURES = 2;
/** Nobody is told of a stale lock twice within this time, milliseconds. */
const PAUSE_MS = 600_000;

/** The policy. What it does not answer, the SDK does: see `defaults`. */
export default definePolicy({
    name: "my-policy",
    version: "0.1.0",
    summary: "Ends stale locks, waits for fresh ones, calls a person for the rest.",
    parameters: {
        stale_lock_age_ms: integer("Age from which a write lock counts as stale, milliseconds.", 300_000, {
            minimum: 1_000,
            maximum: 86_400_000,
        }),
    },
    memory: () => ({ told: {} }),

    classify(situation, memory, answer) {
        const lock = problemOf(situation.finding);
        if (lock?.kind !== "lock.stale-holder" || lock.ageMs === null) {
            return defaults.classify(situation, memory, answer);
        }
        const limitMs = situation.parameters.stale_lock_age_ms;
        const text = `lock held ${seconds(lock.ageMs)}, stale from ${seconds(limitMs)}`;
        if (lock.ageMs < limitMs) {
            answer.classify("hiccup").because("lock.too-fresh", text);
        } else {
            answer.classify("obstacle").because("lock.stale", text);
        }
    },

    choose(situation, memory, answer) {
        const lock = problemOf(situation.finding);
        if (lock?.kind !== "lock.stale-holder" || lock.ageMs === null || answer.soFar.classification !== "obstacle") {
            return;
        }
        const failures = failuresInARow(situation, lock.kind, END_HOLDER);
        if (failures >= FAILURES) {
            answer.because("lock.keeps-failing", `${END_HOLDER} failed ${failures} times in a row`);
        } else if (situation.offers(END_HOLDER)) {
            answer.repair(END_HOLDER, 0.9);
        }
        if (coolDown(memory.told, "lock_stale", situation.nowMs, PAUSE_MS)) {
            const holder = lock.holderName ?? "a process";
            answer.alert("lock_stale", "warning", `${holder} holds the write lock for ${seconds(lock.ageMs)}`);
        }
    },
});
