import type { DescMessage, JsonObject, JsonValue, MessageShape } from "@bufbuild/protobuf";

import type { LeanSchema } from "../../gen/lean_pb.js";
import { type Field, layoutOf, scalars, wire, wireTypeOf } from "./layout.ts";
import type { LeanMessage, Oneof } from "./message.ts";
import { Writer } from "./writer.ts";

/** Message to bytes, as `toBinary` of protobuf-es writes them. */
export function encode<D extends DescMessage>(schema: LeanSchema<D>, message: MessageShape<D>): Buffer {
  return messageBytes(schema, message as unknown as LeanMessage);
}

function messageBytes(schema: LeanSchema, message: LeanMessage): Buffer {
  const writer = new Writer();
  for (const field of layoutOf(schema).fields) writeField(writer, field, message);
  return writer.bytes;
}

function writeField(writer: Writer, field: Field, message: LeanMessage): void {
  const { name, label, oneof } = field;
  if (oneof !== undefined) {
    const { case: chosen, value } = message[oneof] as Oneof;
    if (chosen === name) writeValue(writer, field, value);
    return;
  }
  const value = message[name];
  if (label === "repeated") writeList(writer, field, value as readonly unknown[]);
  else if (label === "map") {
    for (const [key, one] of Object.entries(value as object)) writeEntry(writer, field, key, one);
  } else if (label === "explicit" ? value !== undefined : !isDefault(value)) writeValue(writer, field, value);
}

function isDefault(value: unknown): boolean {
  return value === 0 || value === "" || value === false || value === 0n || (value as Uint8Array).length === 0;
}

function writeValue(writer: Writer, field: Field, value: unknown): void {
  writer.tag(field.number, field.wireType);
  if (field.kind === "scalar" || field.kind === "enum") writer.scalar(field.scalar, value);
  else writer.delimited(valueBytes(field, value));
}

function valueBytes({ kind, schema, scalar }: Field, value: unknown): Buffer {
  if (schema !== undefined) return messageBytes(schema, value as LeanMessage);
  if (kind === "struct") return structBytes(value as JsonObject);
  const writer = new Writer();
  if (!isDefault(value)) {
    writer.tag(1, wireTypeOf(scalar));
    writer.scalar(scalar, value);
  }
  return writer.bytes;
}

/** Numbers are packed, as proto3 has it. */
function writeList(writer: Writer, field: Field, list: readonly unknown[]): void {
  if (field.wireType === wire.lengthDelimited || list.length === 0) {
    for (const one of list) writeValue(writer, field, one);
    return;
  }
  const packed = new Writer();
  for (const one of list) packed.scalar(field.scalar, one);
  writer.tag(field.number, wire.lengthDelimited);
  writer.delimited(packed.bytes);
}

function writeEntry(writer: Writer, field: Field, key: string, value: unknown): void {
  const entry = new Writer();
  entry.tag(1, wireTypeOf(field.mapKey));
  entry.scalar(field.mapKey, keyValue(field.mapKey, key));
  writeValue(entry, { ...field, number: 2 }, value);
  writer.tag(field.number, wire.lengthDelimited);
  writer.delimited(entry.bytes);
}

/** The keys of an object are texts, whatever the map's are. */
function keyValue(type: number, key: string): unknown {
  if (type === scalars.string) return key;
  if (type === scalars.bool) return key === "true";
  const wide: readonly number[] = [scalars.int64, scalars.uint64, scalars.sint64, scalars.fixed64, scalars.sfixed64];
  return wide.includes(type) ? BigInt(key) : Number(key);
}

// ── google.protobuf.Struct, from JSON ────────────────────────────────────────────────────────────────────────────

function structBytes(struct: JsonObject): Buffer {
  const writer = new Writer();
  for (const [key, value] of Object.entries(struct)) {
    if (value === undefined) continue;
    const entry = new Writer();
    entry.tag(1, wire.lengthDelimited);
    entry.scalar(scalars.string, key);
    entry.tag(2, wire.lengthDelimited);
    entry.delimited(jsonBytes(value));
    writer.tag(1, wire.lengthDelimited);
    writer.delimited(entry.bytes);
  }
  return writer.bytes;
}

function jsonBytes(value: JsonValue): Buffer {
  const writer = new Writer();
  if (value === null) {
    writer.tag(1, wire.varint);
    writer.uint32(0);
  } else if (typeof value === "number") {
    writer.tag(2, wire.fixed64);
    writer.scalar(scalars.double, value);
  } else if (typeof value === "string") {
    writer.tag(3, wire.lengthDelimited);
    writer.scalar(scalars.string, value);
  } else if (typeof value === "boolean") {
    writer.tag(4, wire.varint);
    writer.scalar(scalars.bool, value);
  } else if (Array.isArray(value)) {
    const list = new Writer();
    for (const one of value) {
      list.tag(1, wire.lengthDelimited);
      list.delimited(jsonBytes(one));
    }
    writer.tag(6, wire.lengthDelimited);
    writer.delimited(list.bytes);
  } else {
    writer.tag(5, wire.lengthDelimited);
    writer.delimited(structBytes(value));
  }
  return writer.bytes;
}
