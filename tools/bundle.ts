import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

import { rolldown } from "rolldown";

/**
 * Makes of each package that a service loads one file for each entry of its `exports`, beside the types that `tsc -b` has written. A
 * module of its own costs a process that starts up to half a millisecond, and there are 240; docs/adr/0006. Packages stay packages:
 * nothing of another one is taken in, but for the lean codec, of which `@trama/xds` is the only user.
 */
for (const name of ["engine", "xds", "sdk"]) await bundle(new URL(`../packages/${name}/`, import.meta.url));

interface Manifest {
  readonly exports: Readonly<Record<string, { readonly "trama-source": string; readonly default: string }>>;
}

async function bundle(folder: URL): Promise<void> {
  const dist = new URL("dist/", folder);
  const { exports } = JSON.parse(readFileSync(new URL("package.json", folder), "utf8")) as Manifest;
  const input: Record<string, string> = {};
  for (const { "trama-source": source, default: file } of Object.values(exports))
    input[file.replace(/^\.\/dist\/|\.js$/g, "")] = source;
  const build = await rolldown({
    cwd: fileURLToPath(folder),
    input,
    platform: "node",
    resolve: { conditionNames: ["trama-source", "node", "import", "default"] },
    external: (id) => !/^(\.|\/|@trama\/proto\/lean$)/.test(id),
  });
  const { output } = await build.generate({
    format: "esm",
    chunkFileNames: "[name].js",
    // What several entries need is one file more, not one for each set of entries.
    codeSplitting: { groups: [{ name: "common", minShareCount: 2 }] },
    sourcemap: true,
    comments: { legal: true, annotation: false, jsdoc: false },
  });
  await build.close();
  mkdirSync(dist, { recursive: true });
  for (const file of readdirSync(dist, { recursive: true, encoding: "utf8" }))
    if (/\.js(\.map)?$/.test(file)) rmSync(new URL(file, dist));
  for (const part of output) {
    const file = fileURLToPath(new URL(part.fileName, dist));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, part.type === "chunk" ? ascii(withoutBuiltinImports(part.code)) : part.source);
  }
}

/**
 * An `import` of a built-in reads each of its properties to make names of them, and some of those load more: `node:http` Node's fetch,
 * `node:crypto` its web cryptography, `node:fs` its streams. Lines stay where they are, for the source map.
 */
function withoutBuiltinImports(code: string): string {
  const form = /^import (?:(?:\* as )?([\w$]+)(?:, )?)? ?(?:\{([^}]*)\})? ?from "node:([\w/]+)";/gm;
  return code.replace(form, (_all, whole: string | undefined, names: string | undefined, module: string) => {
    const targets = [whole, names && `{${names.replace(/ as /g, ": ")}}`].filter((target) => target !== undefined);
    return targets.map((target) => `const ${target} = process.getBuiltinModule("node:${module}");`).join(" ");
  });
}

/** One character outside Latin-1, be it in a comment, makes V8 keep two bytes for each of the whole source. */
function ascii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
