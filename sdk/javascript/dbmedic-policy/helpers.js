/**
 * What most policies need over time: cool-downs, counts in a window, coming down, repairs that keep failing.
 *
 * Cool-downs and windows live in the policy's memory, as objects and lists that JSON can hold.
 */
import { higher, rank, seconds } from "./answer.js";
import { CASES } from "./contract.js";
const COME_DOWN_MS = 600_000;
const MOST_TIMES = 64;
const LEVEL_OF = {
    hiccup: "watch",
    obstacle: "warn",
    wall: "escalate",
    crisis: "escalate",
};
/** The level that a class calls for. */
export function levelOf(classification) {
    return classification === null ? "normal" : LEVEL_OF[classification];
}
/**
 * Whether a rule may speak: it never did, or at least `pauseMs` ago. If so, the time is noted in `last`, an object in
 * the policy's memory that keeps the latest 64. Where a clock was set back, the pause begins again.
 */
export function coolDown(last, rule, nowMs, pauseMs) {
    if (Object.hasOwn(last, rule)) {
        last[rule] = Math.min(last[rule], nowMs);
        if (nowMs - last[rule] < pauseMs) {
            return false;
        }
        delete last[rule];
    }
    for (const oldest of Object.keys(last).slice(0, 1 - MOST_TIMES)) {
        delete last[oldest];
    }
    last[rule] = nowMs;
    return true;
}
/** Times of something, to be counted: a view of a list in the policy's memory. Keeps the latest 64. */
export class Window {
    times;
    constructor(times) {
        this.times = times;
    }
    /** It happened now. */
    add(nowMs) {
        this.times.splice(0, this.times.length, ...this.times.slice(1 - MOST_TIMES), nowMs);
    }
    /** How often it happened within the span that ends now. */
    count(nowMs, spanMs) {
        return this.times.filter((atMs) => nowMs - atMs <= spanMs).length;
    }
}
/** How often a repair of this kind of problem failed since it last succeeded. */
export function failuresInARow(situation, kind, repair) {
    return situation.history(kind, repair)?.failuresInARow ?? 0;
}
/**
 * Takes the level one step down when it has been in force for long enough, the event asks for less, and no open
 * incident keeps it.
 */
export function comeDown(situation, answer, afterMs = COME_DOWN_MS) {
    const present = situation.level;
    const { asked } = answer;
    const sinceMs = Math.max(situation.nowMs - situation.context.levelSinceMs, 0);
    if (rank(asked) >= rank(present) || sinceMs <= afterMs) {
        return;
    }
    if (situation.context.incidents.some((one) => rank(gravity(one, situation, answer)) >= rank(present))) {
        return;
    }
    const below = higher(CASES["escalation-level"][rank(present) - 1], asked);
    answer.level(below);
    answer.because("level.returns", `no cause for it for ${seconds(sinceMs)}: from ${present} to ${below}`);
}
function gravity(incident, situation, answer) {
    const own = situation.finding?.incident === incident.id;
    const classification = own ? answer.soFar.classification : incident.classification;
    // What nobody has classified might be anything that is not worth a call yet.
    return classification === null ? "warn" : LEVEL_OF[classification];
}
