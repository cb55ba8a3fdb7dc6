// The policy asked natively: quick, and a debugger can stop in it.

import assert from "node:assert/strict";
import test from "node:test";

import { ask, failed, finding } from "./dbmedic-policy/testing.js";
import policy from "./policy.js";

const lock = (ageMs: number) => finding("lock.stale-holder", { age_ms: ageMs, holder_name: "batch" }, ["lock.end-holder"]);

test("a lock is stale from the limit on", () => {
    assert.equal(ask(policy, lock(299_999)).classification, "hiccup");
    assert.equal(ask(policy, lock(300_000)).classification, "obstacle");
});

test("the limit is the operator's", () => {
    const verdict = ask(policy, lock(60_000), {}, { stale_lock_age_ms: 60_000 });
    assert.deepEqual([verdict.repair, verdict.confidence], ["lock.end-holder", 0.9]);
});

test("after two failures it is not tried again", () => {
    const repairs = [failed("lock.stale-holder", "lock.end-holder", 2)];
    const verdict = ask(policy, lock(300_000), { repairs });
    assert.equal(verdict.repair, null);
    assert.deepEqual(verdict.reasons.map((reason) => reason.rule), ["lock.stale", "lock.keeps-failing"]);
});

test("a stale lock is told once", () => {
    const first = ask(policy, lock(300_000));
    const again = ask(policy, lock(300_000), { memory: first.memory });
    assert.deepEqual([first, again].map((verdict) => verdict.alerts.length), [1, 0]);
});
