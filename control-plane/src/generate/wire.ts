import { createHash } from "node:crypto";

import { type DescMessage, type MessageInitShape, create, toBinary } from "@bufbuild/protobuf";
import { type Any, type Duration, AnySchema } from "@bufbuild/protobuf/wkt";
import { typeUrlOf } from "@trama/proto";
import type { HttpFilterSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import type { WireResource } from "../snapshot.ts";

export type HttpFilter = MessageInitShape<typeof HttpFilterSchema>;

/** A message inside an Any. */
export function pack<T extends DescMessage>(schema: T, init: MessageInitShape<T>): Any {
  return create(AnySchema, { typeUrl: typeUrlOf(schema), value: toBinary(schema, create(schema, init)) });
}

/** A resource as it goes out; its version is a hash of its bytes (S4). */
export function wireResource<T extends DescMessage>(schema: T, name: string, init: MessageInitShape<T>): WireResource {
  const bytes = toBinary(schema, create(schema, init));
  const version = createHash("sha256").update(bytes).digest("base64url").slice(0, 16);
  return { typeUrl: typeUrlOf(schema), name, version, bytes };
}

/** For fields of type Duration in an initialiser. */
export function durationOf(ms: number): Pick<Duration, "seconds" | "nanos"> {
  return { seconds: BigInt(Math.trunc(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}
