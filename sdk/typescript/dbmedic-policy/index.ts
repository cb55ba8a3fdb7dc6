/**
 * What a policy author needs to write a dbmedic policy in TypeScript or JavaScript.
 *
 *     import { definePolicy } from "./dbmedic-policy/index.js";
 *
 *     export default definePolicy({
 *         name: "patient",
 *         version: "0.1.0",
 *         summary: "Calls everything an obstacle.",
 *         classify(situation, memory, answer) {
 *             if (situation.finding !== null) {
 *                 answer.classify("obstacle").because("patient.waits", "somebody will look");
 *             }
 *         },
 *     });
 *
 * A policy is a pure function: no clock, no file, no randomness, and no state but its memory. Natively, in a test,
 * `dbmedic-policy/testing.js` plays the host.
 */

export * from "./answer.js";
export type * from "./contract.js";
export * from "./helpers.js";
export { log, telemetry } from "./host.js";
export { flag, integer, number, text, texts } from "./parameters.js";
export type { Declarations, Declared, Values } from "./parameters.js";
export { defaults, definePolicy } from "./policy.js";
export type { Policy } from "./policy.js";
export * from "./problems.js";
export { Situation } from "./situation.js";
export type { LocalMoment } from "./situation.js";
