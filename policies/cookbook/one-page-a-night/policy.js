// Pages once a night: the first thing that cannot wait gets somebody up, the rest stands in one list until the morning.

import { coolDown, defaults, definePolicy, integer } from "./dbmedic-policy/index.js";

const HOUR_MS = 3_600_000;
/** Longer than a night, and shorter than the time between two. */
const PAUSE_MS = 12 * HOUR_MS;

/** Whether a moment lies in the night, which may go over midnight. */
function isNight(situation) {
    const { night_begins: begins, night_ends: ends } = situation.parameters;
    const hour = Math.floor(situation.local(situation.nowMs).minuteOfDay / 60);
    return begins <= ends ? hour >= begins && hour < ends : hour >= begins || hour < ends;
}

export default definePolicy({
    name: "one-page-a-night",
    version: "0.1.0",
    summary: "Pages once a night, and tells the rest in the morning.",
    parameters: {
        night_begins: integer("The local hour in which the night begins.", 22, { minimum: 0, maximum: 23 }),
        night_ends: integer("The local hour in which it ends.", 7, { minimum: 0, maximum: 23 }),
    },
    memory: () => ({ paged: {}, waiting: [] }),

    classify(situation, memory, answer) {
        if (situation.finding === null) {
            return;
        }
        if (situation.finding.severity < 0.5) {
            answer.classify("hiccup").because("problem.small", `severity ${situation.finding.severity}`);
        } else {
            defaults.classify(situation, memory, answer);
        }
    },

    escalate(situation, memory, answer) {
        defaults.escalate(situation, memory, answer);
        const { finding } = situation;
        if (!isNight(situation)) {
            if (memory.waiting.length > 0) {
                const list = memory.waiting.join(", ");
                answer.alert("night.report", "warning", `this night there were also: ${list}`);
                memory.waiting = [];
            }
            return;
        }
        if (finding === null || answer.soFar.level !== "escalate") {
            return;
        }
        const what = `${finding.kind} (${finding.subject})`;
        if (coolDown(memory.paged, "night", situation.nowMs, PAUSE_MS)) {
            answer.alert("night.page", "critical", `${situation.context.target}: ${what}: ${finding.summary}`);
        } else if (!memory.waiting.includes(what) && memory.waiting.length < 32) {
            memory.waiting.push(what);
        }
    },
});
