import type { DescMessage, JsonObject, JsonValue, MessageShape } from "@bufbuild/protobuf";

import type { LeanSchema } from "../../gen/lean_pb.js";
import { type Field, layoutOf, scalarDefault, scalars, wire, wireTypeOf } from "./layout.ts";
import { type LeanMessage, type Oneof, blank, emptyMap } from "./message.ts";
import { Reader } from "./reader.ts";

/** Bytes to message, as `fromBinary` of protobuf-es reads them; fields that the schema does not know are left out. */
export function decode<D extends DescMessage>(schema: LeanSchema<D>, bytes: Uint8Array): MessageShape<D> {
  return readMessage(new Reader(bytes), schema, blank(schema)) as MessageShape<D>;
}

/** Reads up to the end that the reader has; what is there already is merged with. */
function readMessage(reader: Reader, schema: LeanSchema, message: LeanMessage): LeanMessage {
  const { byNumber } = layoutOf(schema);
  while (reader.more) {
    const tag = reader.uint32();
    const field = byNumber.get(tag >>> 3);
    if (field === undefined) reader.skip(tag & 7);
    else readField(reader, field, tag & 7, message);
  }
  return message;
}

function readField(reader: Reader, field: Field, wireType: number, message: LeanMessage): void {
  const { name, label, oneof } = field;
  if (label === "repeated") {
    const list = message[name] as unknown[];
    if (wireType === field.wireType) list.push(readValue(reader, field, undefined));
    else if (wireType === wire.lengthDelimited) readPacked(reader, field, list);
    else reader.skip(wireType);
  } else if (wireType !== (label === "map" ? wire.lengthDelimited : field.wireType)) {
    reader.skip(wireType); // like a field that is not known
  } else if (label === "map") {
    readEntry(reader, field, message[name] as Record<string, unknown>);
  } else if (oneof !== undefined) {
    const before = message[oneof] as Oneof;
    message[oneof] = { case: name, value: readValue(reader, field, before.case === name ? before.value : undefined) };
  } else {
    message[name] = readValue(reader, field, message[name]);
  }
}

function readValue(reader: Reader, field: Field, before: unknown): unknown {
  const { kind, schema, scalar } = field;
  if (kind === "scalar" || kind === "enum") return reader.scalar(scalar);
  const outer = reader.enter();
  let value: unknown;
  if (schema !== undefined) value = readMessage(reader, schema, (before as LeanMessage | undefined) ?? blank(schema));
  else if (kind === "struct") value = readStruct(reader, before as JsonObject | undefined);
  else value = readWrapped(reader, scalar, before);
  reader.leave(outer);
  return value;
}

function readPacked(reader: Reader, { scalar }: Field, list: unknown[]): void {
  const outer = reader.enter();
  while (reader.more) list.push(reader.scalar(scalar));
  reader.leave(outer);
}

/** A message with one field, of which only the value is kept. */
function readWrapped(reader: Reader, scalar: number, before: unknown): unknown {
  let value = before ?? scalarDefault(scalar);
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === ((1 << 3) | wireTypeOf(scalar))) value = reader.scalar(scalar);
    else reader.skip(tag & 7);
  }
  return value;
}

function readEntry(reader: Reader, field: Field, map: Record<string, unknown>): void {
  const outer = reader.enter();
  let key = scalarDefault(field.mapKey);
  let value: unknown;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === ((1 << 3) | wireTypeOf(field.mapKey))) key = reader.scalar(field.mapKey);
    else if (tag === ((2 << 3) | field.wireType)) value = readValue(reader, field, value);
    else reader.skip(tag & 7);
  }
  reader.leave(outer);
  map[String(key)] = value ?? absentValue(field);
}

function absentValue({ kind, schema, scalar }: Field): unknown {
  return schema !== undefined ? blank(schema) : kind === "struct" ? emptyMap() : scalarDefault(scalar);
}

// ── google.protobuf.Struct, as JSON ──────────────────────────────────────────────────────────────────────────────

const mapEntry = (1 << 3) | wire.lengthDelimited;

function readStruct(reader: Reader, into: JsonObject = emptyMap() as JsonObject): JsonObject {
  while (reader.more) {
    const tag = reader.uint32();
    if (tag !== mapEntry) {
      reader.skip(tag & 7);
      continue;
    }
    const outer = reader.enter();
    let key = "";
    let value: JsonValue = null;
    while (reader.more) {
      const inner = reader.uint32();
      if (inner === ((1 << 3) | wire.lengthDelimited)) key = reader.scalar(scalars.string) as string;
      else if (inner === ((2 << 3) | wire.lengthDelimited)) value = readJson(reader);
      else reader.skip(inner & 7);
    }
    reader.leave(outer);
    into[key] = value;
  }
  return into;
}

/** google.protobuf.Value: one of six kinds; the last that is there counts. */
function readJson(reader: Reader): JsonValue {
  const outer = reader.enter();
  let value: JsonValue = null;
  while (reader.more) {
    const tag = reader.uint32();
    switch (tag) {
      case (1 << 3) | wire.varint:
        reader.uint32();
        value = null;
        break;
      case (2 << 3) | wire.fixed64:
        value = reader.scalar(scalars.double) as number;
        break;
      case (3 << 3) | wire.lengthDelimited:
        value = reader.scalar(scalars.string) as string;
        break;
      case (4 << 3) | wire.varint:
        value = reader.scalar(scalars.bool) as boolean;
        break;
      case (5 << 3) | wire.lengthDelimited: {
        const end = reader.enter();
        value = readStruct(reader);
        reader.leave(end);
        break;
      }
      case (6 << 3) | wire.lengthDelimited:
        value = readList(reader);
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  reader.leave(outer);
  return value;
}

function readList(reader: Reader): JsonValue[] {
  const outer = reader.enter();
  const list: JsonValue[] = [];
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === mapEntry) list.push(readJson(reader));
    else reader.skip(tag & 7);
  }
  reader.leave(outer);
  return list;
}
