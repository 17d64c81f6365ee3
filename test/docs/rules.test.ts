import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { expect, test } from "vitest";

const root = dirname(dirname(import.meta.dirname));

/** How the title of a test, or the name of an interop row, begins. */
const titled = /(?:\b(?:test|it|describe)(?:\.\w+)*(?:\([^()]*\))?|\brow|\bcapability)\(\s*(["'`])|\bname:\s*(["'`])/g;

/** Every rule of the serving side that some title names. */
function named(): Set<number> {
  const files = execFileSync("git", ["ls-files", "*.test.ts", "test/interop/peers"], { cwd: root, encoding: "utf8" });
  const found = new Set<number>();
  for (const file of files.split("\n").filter((name) => name.endsWith(".ts"))) {
    const text = readFileSync(join(root, file), "utf8");
    for (const match of text.matchAll(titled)) {
      const quote = match[1] ?? match[2] ?? "";
      const from = match.index + match[0].length;
      const title = text.slice(from, text.indexOf(quote, from));
      for (const [, rule] of title.matchAll(/\bS([1-9]\d?)\b/g)) found.add(Number(rule));
    }
  }
  return found;
}

test("each of the rules S1 to S46 has a test that names it", () => {
  const found = named();
  const all = Array.from({ length: 46 }, (_, index) => index + 1);
  expect(all.filter((rule) => !found.has(rule)).map((rule) => `S${rule}`)).toEqual([]);
});
