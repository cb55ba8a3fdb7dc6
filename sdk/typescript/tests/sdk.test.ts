// The SDK itself, natively.

import assert from "node:assert/strict";
import test from "node:test";

import { shown } from "../dbmedic-policy/checked.js";
import type { Classification, Context, EscalationLevel, OpenIncident, Setting } from "../dbmedic-policy/contract.js";
import { exported, told } from "../dbmedic-policy/exported.js";
import {
    Answer, Refusal, Situation, Window, coolDown, definePolicy, failuresInARow, flag, integer, isRuleName, log, number,
    percent, problemOf, reason, seconds, telemetry, text, texts,
} from "../dbmedic-policy/index.js";
import { configure, decide, describe } from "../dbmedic-policy/policy.js";
import { FACTS } from "../dbmedic-policy/problems.js";
import * as testing from "../dbmedic-policy/testing.js";
import { utf8Decode, utf8Encode } from "../dbmedic-policy/utf8.js";

const { ask, context, finding } = testing;
const LATE = 600_001;
const NOW_MS = 1_000_000;

const parts = {
    name: "counting",
    version: "0.1.0",
    summary: "Counts.",
    parameters: {
        age_ms: integer("An age.", 300, { minimum: 100, maximum: 1_000 }),
        share_percent: number("A share.", 5, { minimum: 0, maximum: 100 }),
        repair: flag("A switch.", true),
        owner: text("A name.", "nobody"),
        tables: texts("Tables.", []),
    },
    memory: () => ({ seen: 0 }),
};

/** Counts events, so that its memory shows. */
const counting = definePolicy({
    ...parts,
    classify(situation, memory, answer) {
        memory.seen += 1;
        answer.classify("wall").because("test.wall", `age ${situation.parameters.age_ms}`).suggest(`seen ${memory.seen}`);
    },
});

function errorsOf(settings: Setting[]): string[][] {
    try {
        configure(counting, settings);
    } catch (error) {
        assert.ok(error instanceof testing.SettingErrors);
        return error.errors.map(({ name, message }) => [name, message]);
    }
    return [];
}

const set = (name: string, plain: testing.Plain): Setting => ({ name, value: testing.value(plain) });

test("all setting errors are told at once, in the words of every language", () => {
    const settings = [set("age_mss", 200), set("zzz", 1), set("age_ms", 1.5), set("repair", "yes"), set("share_percent", 101)];
    assert.deepEqual(errorsOf(settings), [
        ["age_mss", "there is no such parameter; did you mean `age_ms`?"],
        ["zzz", "there is no such parameter; there are age_ms, share_percent, repair, owner, tables"],
        ["age_ms", "1.5 is not a whole number"],
        ["repair", '"yes" is not true or false'],
        ["share_percent", "101 is out of bounds; allowed is 0 to 100"],
    ]);
    assert.deepEqual(errorsOf([set("age_ms", -1)]), [["age_ms", "-1 is out of bounds; allowed is 100 to 1000"]]);
    assert.deepEqual(errorsOf([set("age_ms", 200), set("age_ms", 200)]), [["age_ms", "it is set more than once; keep one"]]);
});

test("what is declared is described and read", () => {
    const { parameters } = describe(counting);
    assert.deepEqual(parameters.map(({ name }) => name), ["age_ms", "share_percent", "repair", "owner", "tables"]);
    assert.deepEqual(parameters[0].default, { tag: "integer", val: 300 });
    assert.deepEqual([parameters[0].minimum, parameters[0].maximum, parameters[2].minimum], [100, 1_000, null]);
    let read: object = {};
    const reading = definePolicy({ ...counting, choose: (situation) => void (read = situation.parameters) });
    ask(reading, finding("k"), {}, { age_ms: 100, owner: "ops" });
    assert.deepEqual(read, { age_ms: 100, share_percent: 5, repair: true, owner: "ops", tables: [] });
});

test("a declaration that cannot be is refused at once", () => {
    assert.throws(() => integer("An age.", 99, { minimum: 100 }), /out of bounds/);
    assert.throws(() => integer("An age.", "300" as unknown as number), /not a whole number/);
    assert.throws(() => integer(300 as unknown as string, 100), /summary/);
    assert.throws(() => integer("Bytes.", 9_007_199_254_740_993), /2\^53/);
});

test("numbers are shown without exponents", () => {
    assert.deepEqual([0.1, 5, 1e21, 1e-7, 1.5e-7, -2.5].map(shown), [
        "0.1", "5", "1000000000000000000000", "0.0000001", "0.00000015", "-2.5",
    ]);
});

test("durations and shares read the same in every language", () => {
    assert.deepEqual([0, 4_299, 300_000].map(seconds), ["0.0 s", "4.2 s", "300.0 s"]);
    assert.deepEqual([95.04, 2.25, 0.05, -0.26, -0.04, 100].map(percent), [
        "95.0 %", "2.3 %", "0.1 %", "-0.3 %", "0.0 %", "100.0 %",
    ]);
});

test("a rule name is dotted kebab-case", () => {
    for (const good of ["lock.too-fresh", "a.b", "wal.frame.2"]) {
        assert.ok(isRuleName(good), good);
    }
    for (const bad of ["", "lock", "lock.", ".lock", "Lock.a", "lock..a", "lock a", "lock.-a"]) {
        assert.ok(!isRuleName(bad), bad);
    }
    assert.throws(() => reason("lock", "text"), /no rule name/);
});

test("the memory is carried on, and a strange one is forgotten with a reason", () => {
    const first = ask(counting, finding("k"));
    const second = ask(counting, finding("k"), { memory: first.memory });
    assert.deepEqual([first.suggestions, second.suggestions], [["seen 1"], ["seen 2"]]);
    const foreign = "another policy or another version wrote them";
    const strange: [Uint8Array, string][] = [
        [Uint8Array.of(0xff), foreign],
        [new Uint8Array(16_384), foreign],
        [first.memory.slice(0, -1), "they are damaged"],
        [Uint8Array.of(...first.memory, 0x80), "they are damaged"],
        [first.memory.slice(0, 13), "they are damaged"],
    ];
    for (const [memory, why] of strange) {
        const verdict = ask(counting, finding("k"), { memory });
        assert.deepEqual(verdict.suggestions, ["seen 1"]);
        const last = verdict.reasons.at(-1);
        assert.equal(last?.rule, "memory.unreadable");
        assert.ok(last?.text.endsWith(why), `${last?.text}`);
    }
});

test("memory of another name or layout is foreign", () => {
    const { memory } = ask(counting, finding("k"));
    for (const other of [{ name: "other" }, { layout: 2 }]) {
        assert.deepEqual(ask(definePolicy({ ...counting, ...other }), finding("k"), { memory }).suggestions, ["seen 1"]);
    }
});

test("the mark is that of the Python SDK, byte for byte", () => {
    const policy = definePolicy({ name: "a", version: "0.1.0", summary: "A." });
    // The layout, FNV-1a of `a`, CRC-32 of `{}`, and `{}`.
    const expected = [0x81, 0x8c, 0xec, 0x01, 0x86, 0x4c, 0xdc, 0x63, 0xaf, 0x43, 0xbf, 0xa6, 0xa3, 0x7b, 0x7d];
    assert.deepEqual([...ask(policy, finding("k")).memory], [...expected]);
});

test("texts survive in memory", () => {
    for (const word of ["", "plain", "Grüße", "€ 日本", "🦀 𝄞"]) {
        assert.equal(utf8Decode(utf8Encode(word)), word);
    }
    assert.deepEqual([...utf8Encode("é€🦀")], [0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0xa6, 0x80]);
    assert.deepEqual([...utf8Encode("\ud800")], [0xef, 0xbf, 0xbd]);
});

test("too large a memory is dropped, and what JSON cannot keep is an error", () => {
    const keeping = (odd: unknown) =>
        definePolicy({ ...parts, memory: () => ({ odd: null as unknown }), choose: (_, memory) => void (memory.odd = odd) });
    const verdict = ask(keeping("x".repeat(16_384)), finding("k"));
    assert.equal(verdict.memory.length, 0);
    assert.equal(verdict.reasons.at(-1)?.rule, "memory.too-large");
    for (const odd of [NaN, undefined, () => 1, new Map(), 2 ** 53, 1n]) {
        assert.throws(() => ask(keeping(odd), finding("k")), /verdict\.memory/);
    }
});

test("settings that cannot be read are a refusal", () => {
    assert.throws(() => decide(counting, finding("k"), context({ settings: Uint8Array.of(1) })), { name: "Refusal" });
    assert.equal(new Refusal("a.b", "c").reason.rule, "a.b");
});

/** The default policy's verdict for a class. */
function decided(classification: Classification | null, fields: Partial<Context>): ReturnType<typeof decide> {
    const classing = definePolicy({
        name: "classing",
        version: "0.1.0",
        summary: "Classes.",
        classify(_situation, _memory, answer) {
            if (classification !== null) {
                answer.classify(classification).because("test.class", "so");
            }
        },
    });
    return ask(classing, finding("k"), fields);
}

test("the level rises with the class, and only a crisis halts", () => {
    const levels: [Classification, EscalationLevel][] = [
        ["hiccup", "watch"], ["obstacle", "warn"], ["wall", "escalate"], ["crisis", "escalate"],
    ];
    for (const [classification, level] of levels) {
        const verdict = decided(classification, {});
        assert.deepEqual([verdict.level, verdict.halt], [level, classification === "crisis"]);
        // What is higher stays for a while.
        assert.equal(decided(classification, { level: "escalate", levelSinceMs: NOW_MS }).level, "escalate");
    }
});

test("a level without a cause returns step by step", () => {
    const steps: [EscalationLevel, EscalationLevel][] = [["escalate", "warn"], ["warn", "watch"], ["watch", "normal"]];
    for (const [level, below] of steps) {
        const verdict = decided(null, { level, levelSinceMs: NOW_MS - LATE });
        assert.equal(verdict.level, below);
        assert.equal(verdict.reasons.at(-1)?.text, `no cause for it for 600.0 s: from ${level} to ${below}`);
    }
    assert.equal(decided(null, { level: "warn", levelSinceMs: NOW_MS - LATE + 1 }).level, "warn");
    assert.equal(decided("hiccup", { level: "warn", levelSinceMs: NOW_MS - LATE }).level, "watch");
});

test("an open incident keeps the level that its class calls for", () => {
    const after = (level: EscalationLevel, id: string, of: Classification | null, own: Classification | null) => {
        const open: OpenIncident = {
            id, kind: "k", subject: "main", openedMs: 0, sightings: 1, classification: of, acknowledged: null, answers: [],
        };
        return decided(own, { level, levelSinceMs: 0, incidents: [open] }).level;
    };
    assert.equal(after("escalate", "i-2", "wall", null), "escalate");
    assert.equal(after("escalate", "i-2", null, null), "warn");
    assert.equal(after("warn", "i-2", null, null), "warn");
    assert.equal(after("escalate", "i-1", "wall", "hiccup"), "warn");
});

test("a thing rests for its pause, and no other does", () => {
    const last: { [rule: string]: number } = {};
    const times: [string, number][] = [["a", 1_000], ["a", 1_499], ["b", 1_499], ["a", 1_500], ["a", 1_500]];
    assert.deepEqual(times.map(([rule, at]) => coolDown(last, rule, at, 500)), [true, false, true, true, false]);
    const back = { a: 9_000 };
    assert.deepEqual([coolDown(back, "a", 1_000, 500), coolDown(back, "a", 1_500, 500)], [false, true]);
    for (let at = 0; at < 200; at += 1) {
        assert.ok(coolDown(last, `rule ${at}`, at, 10));
    }
    assert.equal(Object.keys(last).length, 64);
});

test("a window counts and is bounded", () => {
    const window = new Window([]);
    for (let at = 0; at < 200; at += 1) {
        window.add(at);
    }
    assert.deepEqual([window.times.length, window.count(199, 1_000), window.count(199, 9)], [64, 64, 10]);
});

test("what the host remembers is found by its whole name", () => {
    const repairs = [testing.failed("k", "r", 2), testing.failed("k", "s", 3)];
    const answer = (by: string, granted: boolean) => ({ repair: "r", granted, said: { by, atMs: 0, note: null } });
    const approve = (...answers: [string, boolean][]) => {
        const own: OpenIncident = {
            id: "i-1", kind: "k", subject: "main", openedMs: 0, sightings: 1, classification: null, acknowledged: null,
            answers: answers.map(([by, granted]) => answer(by, granted)),
        };
        return new Situation(finding("k"), context({ incidents: [own] }), {}).approvals("r");
    };
    const situation = new Situation(finding("k"), context({ repairs }), {});
    assert.deepEqual(["r", "s", "t"].map((repair) => failuresInARow(situation, "k", repair)), [2, 3, 0]);
    assert.deepEqual(approve(["eve", true], ["eve", true], ["bob", true]), ["eve", "bob"]);
    assert.deepEqual(approve(["eve", true], ["bob", false]), []);
    assert.deepEqual(approve(["bob", false], ["eve", true]), ["eve"]);
});

test("local time follows the next change", () => {
    const atMs = 7 * 3_600_000;
    const localTime = { utcOffsetMinutes: -420, nextChange: { atMs, utcOffsetMinutes: -360 } };
    const situation = new Situation({ tag: "tick" }, context({ localTime }), {});
    assert.deepEqual(situation.local(0), { weekday: 2, minuteOfDay: 17 * 60 });
    assert.deepEqual(situation.local(atMs - 1), { weekday: 2, minuteOfDay: 1439 });
    assert.deepEqual(situation.local(atMs), { weekday: 3, minuteOfDay: 60 });
});

test("facts are typed, and wrong ones are null", () => {
    const facts = { age_ms: 4_200, holder_name: "batch", has_recent_snapshot: true, holder_pid: "12", snapshot_age_ms: -1 };
    const view = (kind: string, given: { [name: string]: testing.Plain } = {}) => {
        const event = finding(kind, given);
        return problemOf(event.tag === "finding" ? event.val : null);
    };
    const lock = view("lock.stale-holder", facts);
    assert.ok(lock?.kind === "lock.stale-holder");
    assert.deepEqual([lock.ageMs, lock.holderName, lock.hasRecentSnapshot], [4_200, "batch", true]);
    assert.deepEqual([lock.holderPid, lock.snapshotAgeMs], [null, null]);
    assert.equal(view("disk.on-fire"), null);
    assert.equal(problemOf(null), null);
    for (const kind of Object.keys(FACTS)) {
        assert.equal(view(kind)?.kind, kind);
    }
});

test("what is answered wrongly names the item and the remedy", () => {
    const any = (wrong: unknown): any => wrong;
    const wrongs: [(answer: Answer) => unknown, RegExp][] = [
        [(answer) => answer.classify(any("hickup")), /verdict\.classification: one of "hiccup", .*not "hickup"; did you mean "hiccup"\?/],
        [(answer) => answer.level(any("Warn")), /verdict\.level: .*did you mean "warn"\?/],
        [(answer) => answer.repair("r", any("high")), /verdict\.confidence: a number is expected, not "high"/],
        [(answer) => answer.repair("r", 1.5), /does not lie between 0 and 1/],
        [(answer) => answer.alert("rule", "info", any(undefined)), /dbmedic:policy\/verdicts alert\.message: a text is expected, not nothing/],
        [(answer) => answer.suggest(any(7)), /verdict\.suggestions: a text is expected, not 7/],
        [(answer) => answer.suggest(any(7n)), /not a bigint/],
    ];
    for (const [wrong, pattern] of wrongs) {
        assert.throws(() => wrong(new Answer("normal")), pattern);
    }
});

test("what is missing or misspelt in a definition is told at once", () => {
    const any = (wrong: unknown): any => wrong;
    assert.throws(() => definePolicy(any({ ...parts, clasify() {} })), /knows no clasify; did you mean "classify"\?/);
    assert.throws(() => definePolicy(any({ ...parts, decide: 7 })), /decide is a function, not 7/);
    assert.throws(() => definePolicy(any({ name: "n", version: "0.1.0" })), /description\.summary: .*write `summary: /);
    assert.throws(() => definePolicy({ ...parts, layout: 0 }), /layout is 0/);
    const silent = definePolicy({ ...parts, decide: () => any(undefined) });
    assert.throws(() => ask(silent, finding("k")), /decide: counting returned nothing/);
});

test("notes and series come from the tables", () => {
    testing.clear();
    log.info("good");
    log.error("wrong");
    assert.deepEqual(testing.notes(), [{ level: "info", message: "good" }, { level: "error", message: "wrong" }]);
    assert.deepEqual(testing.notes(), []);
    testing.setSeries("commits_per_s", Array.from({ length: 600 }, (_, at) => ({ atMs: at, value: at })));
    assert.equal(telemetry.latest("commits_per_s")?.atMs, 599);
    assert.deepEqual(telemetry.recent("commits_per_s", 2).map(({ atMs }) => atMs), [598, 599]);
    assert.deepEqual([telemetry.recent("commits_per_s", 9_999).length, telemetry.recent("commits_per_s", 0).length], [512, 0]);
    assert.deepEqual([telemetry.latest("nothing"), telemetry.baseline("nothing")], [null, null]);
    testing.clear();
});

test("what is thrown is told with its place", () => {
    assert.match(told(new RangeError("too far")), /^RangeError: too far at sdk\.test\.[jt]s:\d+$/);
    assert.match(told("word"), /^word is thrown; throw an Error/);
    const noHost = { write: () => {}, latest: () => null, baseline: () => null, recent: () => [] };
    assert.throws(() => exported(undefined, noHost), /export default definePolicy/);
});
