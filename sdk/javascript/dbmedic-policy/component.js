/** What componentize-qjs builds: the policy of `policy.js` as the contract's interface `decision`. */
import { write } from "dbmedic:policy/log";
import { baseline, latest, recent } from "dbmedic:policy/telemetry";
import policy from "../policy.js";
import { exported } from "./exported.js";
export const decision = exported(policy, { write, latest, baseline, recent });
