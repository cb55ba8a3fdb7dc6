// Keeps its hands off while a deployment runs: in a maintenance window of that name, and for ten minutes after it, in which
// caches fill and statistics are made. Only damage is judged as always.

import { defaults, definePolicy, integer, text } from "./dbmedic-policy/index.js";

/** Kinds that no deployment explains. */
const DAMAGE = /\.(corrupt|truncated|emptied|not-a-database)$/;

export default definePolicy({
    name: "deployment",
    version: "0.1.0",
    summary: "Judges nothing but damage while a deployment runs, and repairs nothing.",
    parameters: {
        window: text("How the maintenance window of a deployment is called.", "deployment"),
        settling_s: integer("How long after its end things may still be unusual, seconds.", 600, { minimum: 0, maximum: 86_400 }),
    },
    memory: () => ({ seenMs: null as number | null }),

    classify(situation, memory, answer) {
        const open = situation.context.maintenance.open;
        if (open !== null && open.name === situation.parameters.window) {
            memory.seenMs = situation.nowMs;
        }
        if (situation.finding === null) {
            return;
        }
        const { kind } = situation.finding;
        if (DAMAGE.test(kind)) {
            return defaults.classify(situation, memory, answer);
        }
        const since = memory.seenMs === null ? Infinity : situation.nowMs - memory.seenMs;
        if (since === 0) {
            answer.classify("hiccup").because("deployment.runs", `a deployment runs: ${kind} is expected`);
        } else if (since < situation.parameters.settling_s * 1_000) {
            const text = `a deployment ended ${Math.floor(since / 1_000)} s ago: ${kind} may settle`;
            answer.classify("hiccup").because("deployment.settles", text);
        } else {
            answer.classify("obstacle").because("problem.seen", situation.finding.summary);
        }
    },

    choose(situation, _memory, answer) {
        const { finding } = situation;
        if (finding === null || answer.soFar.classification !== "obstacle") {
            return;
        }
        const candidate = finding.candidates.find((one) => one.preconditions.every((it) => it.holds));
        if (candidate !== undefined && candidate.undoable) {
            answer.repair(candidate.id, 0.7);
        }
    },
});
