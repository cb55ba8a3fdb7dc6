// Writes JavaScript beside TypeScript: `node dbmedic-policy/strip.mjs FOLDER`. Types become blanks, so that every line
// keeps its number, and a mistake in the component is told with the line of the TypeScript file.

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const { default: blankSpace } = await import(createRequire(resolve(".tools/tools.js")).resolve("ts-blank-space"));
const out = process.argv[2];
rmSync(out, { recursive: true, force: true });
const files = readdirSync(".", { recursive: true }).filter((file) => /^[^.].*(?<!\.d)\.ts$/.test(file));
for (const file of files) {
    const stripped = blankSpace(readFileSync(file, "utf8"), (node) => {
        const { line } = node.getSourceFile().getLineAndCharacterOfPosition(node.getStart());
        process.stderr.write(`${file}:${line + 1}: only types can be taken out, and this is more; see erasableSyntaxOnly\n`);
        process.exitCode = 1;
    });
    const target = join(out, file.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, stripped);
}
