/** What there is beside the language: the contract's imports, a console, and what tests take from Node. */

declare module "dbmedic:policy/log" {
    export function write(level: "debug" | "info" | "warn" | "error", message: string): void;
}

declare module "dbmedic:policy/telemetry" {
    type Point = { atMs: number; value: number };
    type Numbers = "count" | "median" | "mad" | "mean" | "stdev" | "p50" | "p95" | "p99" | "min" | "max";
    export function latest(series: string): Point | null;
    export function baseline(series: string): ({ [name in Numbers]: number } & { established: boolean }) | null;
    export function recent(series: string, limit: number): Point[];
}

/** Writes lines to the policy's log. */
declare var console: { [level in "debug" | "log" | "info" | "warn" | "error"]: (...parts: unknown[]) => void };

declare module "node:test" {
    export default function test(name: string, run: () => void): void;
}

declare module "node:assert/strict" {
    const assert: {
        equal(actual: unknown, expected: unknown, message?: string): void;
        deepEqual(actual: unknown, expected: unknown, message?: string): void;
        match(text: string, pattern: RegExp): void;
        ok(value: unknown, message?: string): asserts value;
        throws(run: () => unknown, expected?: RegExp | { name?: string; message?: string | RegExp }): void;
    };
    export default assert;
}
