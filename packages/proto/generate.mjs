// Generates gen/ from the .proto files that the npm packages of grpc-js ship (Apache-2.0) and from our own in proto/.
// Run by tools/task.mjs when something that it depends on changed; nothing of its output is committed.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const here = import.meta.dirname;
const require = createRequire(import.meta.url);
const grpcXds = dirname(require.resolve("@grpc/grpc-js-xds/package.json"));
const grpc = dirname(require.resolve("@grpc/grpc-js/package.json"));

/** Where an import is looked for, first match wins. */
const sources = [
  join(here, "proto"),
  join(grpcXds, "deps/envoy-api"),
  join(grpcXds, "deps/xds"),
  join(grpcXds, "deps/googleapis"),
  join(grpcXds, "deps/protoc-gen-validate"),
  join(grpc, "proto/xds"),
];

/** What we use by name; all that these import comes along. */
const entries = readFileSync(join(here, "entries.txt"), "utf8")
  .split("\n")
  .map((line) => line.replace(/#.*/, "").trim())
  .filter((line) => line !== "");

const work = join(here, ".cache");
rmSync(work, { recursive: true, force: true });
const files = copyClosure(entries, join(work, "proto"));
admitIgnoreEmpty(join(work, "proto/validate/validate.proto"));
buf(join(work, "proto"), join(work, "gen"));
writeFileList(files, join(work, "gen"));
replace(join(here, "gen"), join(work, "gen"));
rmSync(work, { recursive: true });

/** Copies each file and what it imports into one folder; returns their names, sorted. */
function copyClosure(roots, target) {
  const seen = new Set();
  const queue = [...roots];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name) || name.startsWith("google/protobuf/")) continue; // the well-known types are in the runtime
    seen.add(name);
    const folder = sources.find((source) => existsSync(join(source, name)));
    if (folder === undefined) throw new Error(`${name} is in none of the proto sources`);
    const text = readFileSync(join(folder, name), "utf8");
    for (const match of text.matchAll(/^import\s+(?:public\s+|weak\s+)?"([^"]+)"/gm)) queue.push(match[1]);
    mkdirSync(dirname(join(target, name)), { recursive: true });
    cpSync(join(folder, name), join(target, name));
  }
  return [...seen].sort((a, b) => (a < b ? -1 : 1));
}

/** Envoy's files use `ignore_empty` on strings; the validate.proto beside them is older than that field. */
function admitIgnoreEmpty(file) {
  const text = readFileSync(file, "utf8");
  const patched = text.replace(/(optional bool strict = 25[^;]*;\r?\n)/, "$1  optional bool ignore_empty = 26;\n");
  if (patched === text) throw new Error("validate.proto has changed: StringRules.strict is not where it was");
  writeFileSync(file, patched);
}

/** buf works offline: its input is one folder without dependencies, its plug-in a local program. */
function buf(input, output) {
  const options = ["target=js+dts", "import_extension=js"];
  const plugin = { local: "protoc-gen-es", out: output, opt: options, strategy: "all" };
  const template = JSON.stringify({ version: "v2", plugins: [plugin] });
  execFileSync("buf", ["generate", input, "--template", template], { cwd: work, stdio: ["ignore", 2, 2] });
}

/** One module that knows every file, for the registry that resolves an Any by its type URL. */
function writeFileList(names, output) {
  const descriptors = names.map((name) => [`file_${name.replace(/\.proto$/, "").replace(/\W/g, "_")}`, name]);
  const imports = descriptors.map(([id, name]) => `import { ${id} } from "./${name.replace(/\.proto$/, "_pb.js")}";\n`);
  const list = descriptors.map(([id]) => `  ${id},\n`);
  writeFileSync(join(output, "files.js"), `${imports.join("")}\nexport const files = [\n${list.join("")}];\n`);
  writeFileSync(
    join(output, "files.d.ts"),
    'import type { DescFile } from "@bufbuild/protobuf";\n\nexport declare const files: readonly DescFile[];\n',
  );
}

/** Another task may be reading the old folder: swap, do not write into it. */
function replace(target, fresh) {
  const old = join(work, "old");
  if (existsSync(target)) renameSync(target, old);
  renameSync(fresh, target);
}
