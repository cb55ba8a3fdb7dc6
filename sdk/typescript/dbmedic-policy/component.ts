/** What componentize-qjs builds: the policy of `policy.js` as the contract's interface `decision`. */

import { write } from "dbmedic:policy/log";
import { baseline, latest, recent } from "dbmedic:policy/telemetry";

import * as author from "../policy.js";
import { exported } from "./exported.js";
import type { AnyPolicy } from "./policy.js";

// Read so, a missing default export is told in words that name the remedy.
const { default: policy } = author as { default?: AnyPolicy };

export const decision = exported(policy, { write, latest, baseline, recent });
