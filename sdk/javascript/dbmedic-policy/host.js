/**
 * The two things that a policy may ask its host for: a line in the log, and measurements.
 *
 * Natively there is no host: notes and series lie in the tables of `testing.js`.
 */
/** What a test says in the place of a host. */
export const tables = {
    notes: [],
    series: new Map(),
    baselines: new Map(),
};
const MOST_POINTS = 512;
let host = {
    write: (level, message) => void tables.notes.push({ level, message }),
    latest: (series) => tables.series.get(series)?.at(-1) ?? null,
    baseline: (series) => tables.baselines.get(series) ?? null,
    recent: (series, limit) => {
        const most = Math.min(limit, MOST_POINTS);
        return most > 0 ? (tables.series.get(series) ?? []).slice(-most) : [];
    },
};
/** For `component.js`: the host that is really there. */
export function setHost(real) {
    host = real;
}
/** Writes notes to the host's log; they never change a decision. The host keeps 64 lines of a call. */
export const log = {
    /** A note for the policy's author. */
    debug: (message) => host.write("debug", String(message)),
    /** A note for the operator. */
    info: (message) => host.write("info", String(message)),
    /** Something is odd. */
    warn: (message) => host.write("warn", String(message)),
    /** Something is wrong. */
    error: (message) => host.write("error", String(message)),
};
/** The host's measurements of the target, as they stand at the event. */
export const telemetry = {
    /** The latest value of a series; null when there is no such series. */
    latest: (series) => host.latest(series),
    /** What is normal for a series; null when there is no such series. */
    baseline: (series) => host.baseline(series),
    /** The latest points of a series, oldest first, `limit` and 512 at most. */
    recent: (series, limit) => host.recent(series, limit),
};
