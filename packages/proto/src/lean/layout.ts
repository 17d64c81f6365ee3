import type { LeanSchema } from "../../gen/lean_pb.js";

/** Numbers of protobuf's scalar types, as descriptors have them. */
export const scalars = {
  double: 1,
  float: 2,
  int64: 3,
  uint64: 4,
  int32: 5,
  fixed64: 6,
  fixed32: 7,
  bool: 8,
  string: 9,
  bytes: 12,
  uint32: 13,
  sfixed32: 15,
  sfixed64: 16,
  sint32: 17,
  sint64: 18,
} as const;

/** The low three bits of a tag. */
export const wire = { varint: 0, fixed64: 1, lengthDelimited: 2, fixed32: 5 } as const;

export interface Field {
  readonly number: number;
  /** The property's name. */
  readonly name: string;
  /** `implicit`: always there, at its default perhaps; `explicit`: absent until it is set. */
  readonly label: "implicit" | "explicit" | "repeated" | "map";
  /** protobuf-es shows wrappers (`UInt32Value`) as the value inside, and a `Struct` as JSON; so do we. */
  readonly kind: "scalar" | "enum" | "message" | "wrapper" | "struct";
  /** Of the value, for a wrapper of the value inside; an enum is an int32. */
  readonly scalar: number;
  readonly mapKey: number;
  readonly schema: LeanSchema | undefined;
  /** The property that holds `{ case, value }`, for a member of a oneof. */
  readonly oneof: string | undefined;
  /** How one value is written. */
  readonly wireType: number;
}

/** What a schema's text says. */
export interface Layout {
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
  readonly byName: ReadonlyMap<string, Field>;
  readonly oneofs: readonly string[];
}

const layouts = new WeakMap<LeanSchema, Layout>();

/** Read once for each message type, when the first of it comes. */
export function layoutOf(schema: LeanSchema): Layout {
  let layout = layouts.get(schema);
  if (layout === undefined) layouts.set(schema, (layout = parse(schema)));
  return layout;
}

function parse(schema: LeanSchema): Layout {
  const fields = schema.fields === "" ? [] : schema.fields.split(",").map((text) => field(text, schema));
  return {
    fields,
    byNumber: new Map(fields.map((one) => [one.number, one])),
    byName: new Map(fields.map((one) => [one.name, one])),
    oneofs: [...new Set(fields.flatMap((one) => one.oneof ?? []))],
  };
}

const kinds = { s: "scalar", e: "enum", m: "message", w: "wrapper", j: "struct" } as const;

/** `3 filterChains *m7`, `4 cluster ?s9@clusterSpecifier`, `5 initialResourceVersions %9:s9`; written by generate-lean.mjs. */
function field(text: string, schema: LeanSchema): Field {
  const [, number, name = "", label = "", mapKey, code, argument, oneof] =
    /^(\d+) (\w+) ([?*]|%(\d+):)?([semwj])(\d*)(?:@(\w+))?$/.exec(text) ?? [];
  const kind = kinds[code as keyof typeof kinds];
  const scalar = kind === "enum" ? scalars.int32 : kind === "scalar" || kind === "wrapper" ? Number(argument) : 0;
  return {
    number: Number(number),
    name,
    label: label === "" ? "implicit" : label === "?" ? "explicit" : label === "*" ? "repeated" : "map",
    kind,
    scalar,
    mapKey: Number(mapKey ?? 0),
    schema: kind === "message" ? schema.all[Number(argument)] : undefined,
    oneof,
    wireType: kind === "scalar" || kind === "enum" ? wireTypeOf(scalar) : wire.lengthDelimited,
  };
}

export function wireTypeOf(scalar: number): number {
  switch (scalar) {
    case scalars.double:
    case scalars.fixed64:
    case scalars.sfixed64:
      return wire.fixed64;
    case scalars.float:
    case scalars.fixed32:
    case scalars.sfixed32:
      return wire.fixed32;
    case scalars.string:
    case scalars.bytes:
      return wire.lengthDelimited;
    default:
      return wire.varint;
  }
}

/** A new one each time: bytes can be written to. */
export function scalarDefault(scalar: number): unknown {
  switch (scalar) {
    case scalars.string:
      return "";
    case scalars.bool:
      return false;
    case scalars.bytes:
      return new Uint8Array();
    case scalars.int64:
    case scalars.uint64:
    case scalars.sint64:
    case scalars.fixed64:
    case scalars.sfixed64:
      return 0n;
    default:
      return 0;
  }
}
