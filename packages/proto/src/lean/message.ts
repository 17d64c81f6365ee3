import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";

import type { LeanSchema } from "../../gen/lean_pb.js";
import { type Field, layoutOf, scalarDefault } from "./layout.ts";

/** A message inside of this folder; outside it has the type that protobuf-es generates. */
export type LeanMessage = { $typeName: string } & Record<string, unknown>;

/** The value of a oneof's property. */
export interface Oneof {
  readonly case: string | undefined;
  readonly value?: unknown;
}

/** What `create` takes for a schema. */
export type LeanInit<S extends LeanSchema> = S extends LeanSchema<infer D> ? MessageInitShape<D> : never;

/** All fields at their defaults, as protobuf-es makes it. */
export function blank(schema: LeanSchema): LeanMessage {
  const { fields, oneofs } = layoutOf(schema);
  const message: LeanMessage = { $typeName: schema.typeName };
  for (const { name, label, scalar, oneof } of fields) {
    if (oneof !== undefined || label === "explicit") continue;
    message[name] = label === "repeated" ? [] : label === "map" ? emptyMap() : scalarDefault(scalar);
  }
  for (const oneof of oneofs) message[oneof] = { case: undefined };
  return message;
}

/** Without a prototype: a key may be `__proto__`. */
export function emptyMap(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

/** Makes a message; what is left out is at its default. */
export function create<D extends DescMessage>(schema: LeanSchema<D>, init?: MessageInitShape<D>): MessageShape<D> {
  return initialised(schema, (init ?? {}) as Record<string, unknown>) as MessageShape<D>;
}

function initialised(schema: LeanSchema, init: Record<string, unknown>): LeanMessage {
  if (init["$typeName"] === schema.typeName) return init as LeanMessage;
  const { fields, byName, oneofs } = layoutOf(schema);
  const message = blank(schema);
  for (const field of fields) {
    const value = init[field.name];
    if (field.oneof === undefined && value !== undefined) message[field.name] = fieldValue(field, value);
  }
  for (const oneof of oneofs) {
    const { case: name, value } = (init[oneof] ?? { case: undefined }) as Oneof;
    const field = name === undefined ? undefined : byName.get(name);
    if (field !== undefined) message[oneof] = { case: name, value: oneValue(field, value) };
  }
  return message;
}

function fieldValue(field: Field, value: unknown): unknown {
  if (field.kind !== "message") return value;
  if (field.label === "repeated") return (value as unknown[]).map((one) => oneValue(field, one));
  if (field.label !== "map") return oneValue(field, value);
  const map = emptyMap();
  for (const [key, one] of Object.entries(value as object)) map[key] = oneValue(field, one);
  return map;
}

function oneValue({ schema }: Field, value: unknown): unknown {
  return schema === undefined ? value : initialised(schema, value as Record<string, unknown>);
}
