import type { DescMessage, JsonValue, MessageShape, fromJson, toBinary } from "@bufbuild/protobuf";

import type { LeanSchema } from "../../gen/lean_pb.js";
import { decode } from "./decode.ts";

/**
 * Protobuf's JSON to message. Rare (extensions in a TypedStruct), and full of special forms, so protobuf-es reads it: it is
 * loaded here and now, which takes some ten milliseconds once. Throws an Error for people.
 */
export function decodeJson<D extends DescMessage>(schema: LeanSchema<D>, json: JsonValue): MessageShape<D> {
  const { full } = schema;
  if (full === undefined) throw new Error(`lean.txt does not list ${schema.typeName}`);
  const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);
  const codec = require("@trama/proto/json_pb.js") as { fromJson: typeof fromJson; toBinary: typeof toBinary };
  const [module, name] = full;
  const desc = (require(module) as Record<string, DescMessage>)[name];
  if (desc === undefined) throw new Error(`${module} has no ${name}`);
  return decode(schema, codec.toBinary(desc, codec.fromJson(desc, json)));
}
