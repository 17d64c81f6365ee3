// Generates gen/ from the .proto files that the npm packages of grpc-js ship (Apache-2.0) and from our own in proto/.
// Run by tools/task.mjs when something that it depends on changed; nothing of its output is committed.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

import { writeLean } from "./generate-lean.mjs";

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
admitErrorMatcher(join(work, "proto/envoy/extensions/upstreams/http/v3/http_protocol_options.proto"));
buf(join(work, "proto"), join(work, "gen"));
gatherDescriptors(files, join(work, "gen"));
writeFileList(files, join(work, "gen"));
// Hydrates every descriptor: an import that was left out wrongly is found here, not in a program.
await writeLean(join(work, "gen"), join(here, "lean.txt"));
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

/** Which answers outlier detection takes for failures: newer than the file (Envoy 1.35). */
function admitErrorMatcher(file) {
  const text = readFileSync(file, "utf8");
  const matcher = "envoy.config.common.matcher.v3.MatchPredicate";
  const field = `  message OutlierDetection { ${matcher} error_matcher = 1; }\n  OutlierDetection outlier_detection = 8;\n`;
  const patched = text
    .replace(/^import /m, `import "envoy/config/common/matcher/v3/matcher.proto";\nimport `)
    .replace(/(header_validation_config = 7[^;]*;\r?\n)/, `$1${field}`);
  if (!patched.includes(field))
    throw new Error("http_protocol_options.proto has changed: its last field is not where it was");
  writeFileSync(file, patched);
}

/** buf works offline: its input is one folder without dependencies, its plug-in a local program. */
function buf(input, output) {
  const options = ["target=js+dts", "import_extension=js"];
  const plugin = { local: "protoc-gen-es", out: output, opt: options, strategy: "all" };
  const template = JSON.stringify({ version: "v2", plugins: [plugin] });
  execFileSync("buf", ["generate", input, "--template", template], { cwd: work, stdio: ["ignore", 2, 2] });
}

/**
 * Makes the generated code cheap to load; a service pays for it at each start. As it comes from the generator, each module imports the
 * module of each file that its .proto imports, hydrates its descriptor at once, and walks every path of its imports to do so: 140
 * modules and 250 ms for what xDS needs. Here all descriptors move into one module as functions, so that a schema loads its own module
 * and that one, and only what it refers to is hydrated, each file knowing its direct imports (nothing else can be referred to).
 *
 * Imports that only declare options (validation rules, annotations) are left out. The options themselves stay in the descriptors, as
 * extensions that whoever imports `validate_pb.js` can read.
 */
function gatherDescriptors(names, output) {
  const annotations = new Set(names.filter((name) => declaresOptions(name)).map((name) => idOf(name)));
  const ids = new Set(names.map((name) => idOf(name)));
  const wellKnown = new Set();
  const functions = [];
  for (const name of names) {
    const path = join(output, name.replace(/\.proto$/, "_pb.js"));
    const text = readFileSync(path, "utf8");
    const definition = /(export const (file_\w+) = \/\*@__PURE__\*\/\n {2})fileDesc\(("[^"]*")(?:, \[([^\]]*)\])?\);/;
    const match = definition.exec(text);
    if (match === null || match[2] !== idOf(name)) throw new Error(`${name}: its descriptor is not where it was`);
    const imports = (match[4] ?? "")
      .split(", ")
      .filter((id) => id !== "" && (annotations.has(idOf(name)) || !annotations.has(id)));
    for (const id of imports) if (!ids.has(id)) wellKnown.add(id);
    const list = imports.map((id) => (ids.has(id) ? `${id}()` : id)).join(", ");
    functions.push(`export const ${match[2]} = file(${match[3]}, () => [${list}]);\n`);
    const descriptors = relative(dirname(path), join(output, "descriptors.js"));
    const light = text
      .replace(definition, (_, head, id) => `${head}descriptors.${id}();`)
      .replace(/^import \{ (?:file_\w+(?:, )?)+ \} from .*\n/gm, "")
      .replace(/^import \{ ([^}]*)\} from "@bufbuild\/protobuf\/codegenv2";\n/m, (_, used) => {
        const rest = used
          .split(",")
          .map((one) => one.trim())
          .filter((one) => one !== "fileDesc");
        const codegen = rest.length === 0 ? "" : `import { ${rest.join(", ")} } from "@bufbuild/protobuf/codegenv2";\n`;
        return `${codegen}import * as descriptors from "${descriptors.startsWith(".") ? descriptors : `./${descriptors}`}";\n`;
      });
    writeFileSync(path, light);
  }
  writeFileSync(
    join(output, "descriptors.js"),
    `import { fileDesc } from "@bufbuild/protobuf/codegenv2";
import { ${[...wellKnown].toSorted((a, b) => (a < b ? -1 : 1)).join(", ")} } from "@bufbuild/protobuf/wkt";

/** Hydrated at the first call. */
function file(base64, imports) {
  let hydrated;
  return () => (hydrated ??= fileDesc(base64, imports().map(alone)));
}

/** A file without its own imports: fileDesc would walk every path through them. */
const known = new WeakMap();
function alone(file) {
  let view = known.get(file);
  if (view === undefined) known.set(file, (view = Object.create(file, { dependencies: { value: [] } })));
  return view;
}

${functions.join("")}`,
  );

  function declaresOptions(name) {
    const text = readFileSync(join(work, "proto", name), "utf8");
    return /^extend google\.protobuf\.\w+Options\b/m.test(text);
  }
}

function idOf(name) {
  return `file_${name.replace(/\.proto$/, "").replace(/\W/g, "_")}`;
}

/** One module that knows every file, for the registry that resolves an Any by its type URL. */
function writeFileList(names, output) {
  const descriptors = names.map((name) => [idOf(name), name]);
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
