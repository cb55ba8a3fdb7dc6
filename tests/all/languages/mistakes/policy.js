// Makes the mistake that a parameter names.

import { definePolicy, text } from "./dbmedic-policy/index.js";

export default definePolicy({
    name: "mistakes",
    version: "0.1.0",
    summary: "Makes mistakes.",
    parameters: { mistake: text("The mistake to make.", "none") },

    choose(situation, memory, answer) {
        switch (situation.parameters.mistake) {
            case "exception":
                memory.gone.at(0);
                break;
            case "type":
                answer.repair("lock.end-holder", "high");
                break;
            case "field":
                answer.alert("lock_stale", "warning");
                break;
            case "enumeration":
                answer.classify("obstacel");
                break;
            case "print":
                console.log("lock", 7);
                break;
            case "clock":
                Date.now();
                break;
        }
    },
});
