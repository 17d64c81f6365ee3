import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

beforeAll(() => run(process.execPath, ["tools/bundle.ts"], { cwd: root }));

/** `trama`, `trama/http`, `@trama/xds`, … */
const entries = ["engine", "xds", "sdk"].flatMap((folder) => {
  const file = new URL(`../../packages/${folder}/package.json`, import.meta.url);
  const { name, exports } = JSON.parse(readFileSync(file, "utf8")) as {
    name: string;
    exports: Record<string, unknown>;
  };
  return Object.keys(exports).map((path) => name + path.slice(1));
});

/** What each entry exports, by `import` and by `require`, in a process like a user's, or on the sources. */
async function exported(condition: string[], how: "import" | "require"): Promise<Record<string, string[]>> {
  const load = how === "import" ? "await import(name)" : "createRequire(import.meta.url)(name)";
  const program = `import { createRequire } from "node:module";
    const found = {};
    for (const name of ${JSON.stringify(entries)}) found[name] = Object.keys(${load}).toSorted();
    console.log(JSON.stringify(found));`;
  const args = [...condition, "--input-type=module", "--eval", program];
  const { stdout } = await run(process.execPath, args, { cwd: fileURLToPath(new URL("..", import.meta.url)) });
  return JSON.parse(stdout) as Record<string, string[]>;
}

test("what is built exports what the sources do, by import and by require", async () => {
  const sources = await exported(["--conditions=trama-source"], "import");
  expect(sources["trama"]).toContain("joinMesh");
  await expect(exported([], "import")).resolves.toEqual(sources);
  await expect(exported([], "require")).resolves.toEqual(sources);
});

test("one copy of each class, and no built-in by import", async () => {
  const program = `import { MeshError } from "trama";
    import * as engine from "@trama/engine";
    console.log(MeshError === engine.MeshError);`;
  const args = ["--input-type=module", "--eval", program];
  const { stdout } = await run(process.execPath, args, { cwd: fileURLToPath(new URL("..", import.meta.url)) });
  expect(stdout).toBe("true\n");
  for (const file of ["sdk/dist/index.js", "xds/dist/index.js"]) {
    const code = readFileSync(new URL(`../../packages/${file}`, import.meta.url), "latin1");
    expect(code).not.toMatch(/^import .* from "node:/m);
    expect(code).not.toMatch(/[^\0-\x7f]/);
  }
});
