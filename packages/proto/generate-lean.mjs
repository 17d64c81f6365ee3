// Writes gen/lean_pb.js: the messages that the data plane needs, as tables of text that src/lean reads. See docs/adr/0001.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { createRegistry } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** `output` holds the generated code already; `list` is lean.txt. */
export async function writeLean(output, list) {
  const { files } = await import(pathToFileURL(join(output, "files.js")).href);
  const registry = createRegistry(...files);
  const numbers = new Map();
  const messages = [];
  const numberOf = (message) => {
    let number = numbers.get(message.typeName);
    if (number === undefined) {
      number = messages.length;
      numbers.set(message.typeName, number);
      messages.push(undefined);
      messages[number] = { message, fields: message.fields.map((field) => fieldText(field, numberOf)).join(",") };
    }
    return number;
  };
  const roots = readFileSync(list, "utf8")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "")
    .map((line) => {
      const [name, alias] = line.split(" as ");
      const desc = registry.getMessage(name) ?? registry.getEnum(name);
      if (desc === undefined) throw new Error(`lean.txt: there is no ${name}`);
      const local = localName(desc);
      const path = `./${desc.file.name}_pb.js`;
      if (desc.kind === "enum") return { desc, exported: local, local, path };
      return { desc, exported: `${alias ?? local}Schema`, local: `${local}Schema`, path, number: numberOf(desc) };
    });
  const js = ["// Generated from lean.txt by generate-lean.mjs.\n"];
  js.push("const all = [];");
  js.push("const m = (typeName, fields) => all.push({ typeName, fields, all });");
  for (const { message, fields } of messages)
    js.push(`m(${JSON.stringify(message.typeName)}, ${JSON.stringify(fields)});`);
  for (const root of roots) js.push(rootCode(root));
  writeFileSync(join(output, "lean_pb.js"), `${js.join("\n")}\n`);
  writeFileSync(join(output, "lean_pb.d.ts"), declarations(roots));
  // For the rare text form of a message; loaded by require, so that it costs nothing until then.
  writeFileSync(join(output, "json_pb.js"), 'export { fromJson, toBinary } from "@bufbuild/protobuf";\n');
  writeFileSync(join(output, "json_pb.d.ts"), 'export { fromJson, toBinary } from "@bufbuild/protobuf";\n');
}

/** `RBAC_Action`, as protobuf-es calls it. */
function localName(desc) {
  const inPackage = desc.typeName.slice(desc.file.proto.package.length + 1);
  return inPackage.replaceAll(".", "_");
}

function rootCode({ desc, exported, local, path, number }) {
  if (desc.kind === "message") {
    // By the package's own name: that holds wherever a bundler puts the code that asks for it.
    const module = `@trama/proto/${path.slice(2)}`;
    return `all[${number}].full = [${JSON.stringify(module)}, ${JSON.stringify(local)}];\nexport const ${exported} = all[${number}];`;
  }
  const members = desc.values.flatMap((one) => [
    `${one.localName}: ${one.number}`,
    `${one.number}: ${JSON.stringify(one.localName)}`,
  ]);
  return `export const ${exported} = { ${members.join(", ")} };`;
}

/** `<number> <name> <label><kind>[@<oneof>]`; the reader of it is src/lean/layout.ts. */
function fieldText(field, numberOf) {
  if (field.longAsString || field.delimitedEncoding) throw new Error(`lean: ${field} is of a kind that is not handled`);
  const singular = field.fieldKind !== "list" && field.fieldKind !== "map";
  const label =
    field.fieldKind === "list"
      ? "*"
      : field.fieldKind === "map"
        ? `%${field.mapKey}:`
        : field.presence === 2
          ? ""
          : "?";
  const oneof = field.oneof === undefined ? "" : `@${field.oneof.localName}`;
  return `${field.number} ${field.localName} ${label}${kind()}${oneof}`;

  function kind() {
    if (field.enum !== undefined) return "e";
    if (field.message === undefined) return `s${field.scalar}`;
    // protobuf-es shows these two as what they stand for.
    if (singular && field.oneof === undefined && isWrapperDesc(field.message))
      return `w${field.message.fields[0].scalar}`;
    if (field.message.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value")
      return "j";
    return `m${numberOf(field.message)}`;
  }
}

function declarations(roots) {
  const messages = roots.filter((root) => root.desc.kind === "message");
  const enums = roots.filter((root) => root.desc.kind === "enum");
  return `// Generated from lean.txt by generate-lean.mjs.
import type { DescMessage } from "@bufbuild/protobuf";

/** A message as a table; \`Desc\` is its descriptor of protobuf-es, for the types. */
export interface LeanSchema<Desc extends DescMessage = DescMessage> {
  readonly typeName: string;
  /** Its fields, as text. */
  readonly fields: string;
  /** All schemas, by the numbers that \`fields\` uses. */
  readonly all: readonly LeanSchema[];
  /** Module and export of the full schema; of those that are exported here. */
  readonly full?: readonly [module: string, name: string];
  /** Never there: carries the type. */
  readonly desc?: Desc;
}

${messages.map(({ exported, local, path }) => `export declare const ${exported}: LeanSchema<typeof import("${path}").${local}>;\n`).join("")}
${enums.map(({ exported, path }) => `export { ${exported} } from "${path}";\n`).join("")}`;
}
