import {
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  ScalarType,
  create,
  createRegistry,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { aggregatedDiscoveryService as fullService, loadRegistry } from "@trama/proto";
import * as lean from "@trama/proto/lean";
import { beforeAll, expect, test } from "vitest";

import { seededRandom } from "../../../test/kit/random.ts";

// The codec of protobuf-es is the oracle: same bytes, same messages.

const schemas = Object.entries(lean).filter(([name]) => name.endsWith("Schema")) as [string, lean.LeanSchema][];
let registry = createRegistry();
beforeAll(async () => {
  registry = await loadRegistry();
});

const full = ({ typeName }: lean.LeanSchema): DescMessage => registry.getMessage(typeName)!;

/** Bytes fields are views of what was read: of the same class. */
const plain = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

const ofCodes = (...codes: number[]): string => String.fromCodePoint(...codes);
const texts = [
  "",
  "a",
  "reviews.shop.svc.cluster.local",
  ofCodes(0xe9),
  ofCodes(0x1f600),
  ofCodes(0xfffd),
  "__proto__",
];
const int32s = [0, 1, -1, 127, 128, 2_147_483_647, -2_147_483_648];
const int64s = [0n, 1n, -1n, 1n << 40n, (1n << 63n) - 1n, -(1n << 63n)];

/** Random initialisers for any message. */
function generator(random: () => number) {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const some = (): unknown[] => Array.from({ length: Math.floor(random() * 3) });

  function scalar(type: ScalarType): unknown {
    switch (type) {
      case ScalarType.STRING:
        return pick(texts);
      case ScalarType.BOOL:
        return pick([true, false]);
      case ScalarType.BYTES:
        return Uint8Array.from({ length: Math.floor(random() * 4) }, () => Math.floor(random() * 256));
      case ScalarType.FLOAT:
        return pick([0, 0.5, -2, Infinity]);
      case ScalarType.DOUBLE:
        return pick([0, 0.1, -2e300, NaN]);
      case ScalarType.INT32:
      case ScalarType.SINT32:
      case ScalarType.SFIXED32:
        return pick(int32s);
      case ScalarType.UINT32:
      case ScalarType.FIXED32:
        return pick(int32s) >>> 0;
      case ScalarType.INT64:
      case ScalarType.SINT64:
      case ScalarType.SFIXED64:
        return pick(int64s);
      case ScalarType.UINT64:
      case ScalarType.FIXED64:
        return BigInt.asUintN(64, pick(int64s));
    }
  }

  function json(depth: number): JsonValue {
    switch (Math.floor(random() * (depth > 2 ? 4 : 6))) {
      case 0:
        return null;
      case 1:
        return pick([0, 1.5, -3]);
      case 2:
        return pick(texts);
      case 3:
        return pick([true, false]);
      case 4:
        return some().map(() => json(depth + 1));
      default:
        return struct(depth + 1);
    }
  }

  const struct = (depth: number): JsonObject => Object.fromEntries(some().map(() => [`k${pick(texts)}`, json(depth)]));

  function value(field: DescField, desc: DescMessage, depth: number): unknown {
    if (desc.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value")
      return struct(0);
    const unwrapped = isWrapperDesc(desc) && field.fieldKind === "message" && field.oneof === undefined;
    if (unwrapped && desc.fields[0]?.fieldKind === "scalar") return scalar(desc.fields[0].scalar);
    return message(desc, depth + 1);
  }

  function one(field: DescField, depth: number): unknown {
    switch (field.fieldKind) {
      case "scalar":
        return scalar(field.scalar);
      case "enum":
        return pick([...field.enum.values.map((each) => each.number), 4711]);
      case "message":
        return value(field, field.message, depth);
      case "list":
        return some().map(() =>
          field.listKind === "scalar"
            ? scalar(field.scalar)
            : field.listKind === "enum"
              ? pick([0, 1, 4711])
              : value(field, field.message, depth),
        );
      case "map":
        return Object.fromEntries(
          some().map((_, index) => [
            field.mapKey === ScalarType.STRING ? `key${index}` : String(index),
            field.mapKind === "scalar"
              ? scalar(field.scalar)
              : field.mapKind === "enum"
                ? 1
                : value(field, field.message, depth),
          ]),
        );
    }
  }

  function message(desc: DescMessage, depth = 0): Record<string, unknown> {
    const init: Record<string, unknown> = {};
    const chance = depth === 0 ? 0.8 : depth > 5 ? 0 : 0.3;
    for (const member of desc.members) {
      if (random() > chance) continue;
      if (member.kind === "oneof") {
        const field = pick(member.fields);
        init[member.localName] = { case: field.localName, value: one(field, depth) };
      } else init[member.localName] = one(member, depth);
    }
    return init;
  }
  return message;
}

test.each(schemas)("%s: the same messages and bytes as protobuf-es, by chance", (_name, schema) => {
  const desc = full(schema);
  for (let seed = 1; seed <= 40; seed++) {
    const init = generator(seededRandom(seed))(desc);
    const message = create(desc, init as never);
    const bytes = toBinary(desc, message);
    const what = `seed ${seed}`;
    expect(lean.decode(schema, bytes), what).toEqual(fromBinary(desc, bytes));
    expect(lean.create(schema, init as never), what).toEqual(message);
    expect(fromBinary(desc, plain(lean.encode(schema, message))), what).toEqual(message);
    expect(lean.encode(schema, lean.decode(schema, bytes)).length, what).toBe(bytes.length);
  }
});

test("what is said twice is merged, packed and unpacked numbers are the same, as in protobuf-es", () => {
  const { ListenerSchema: schema } = lean;
  const desc = full(schema);
  for (let seed = 1; seed <= 100; seed++) {
    const message = generator(seededRandom(seed));
    const random = seededRandom(seed);
    const parts = [random, random].map(() => toBinary(desc, create(desc, message(desc) as never)));
    const bytes = plain(Buffer.concat(parts));
    expect(lean.decode(schema, bytes), `seed ${seed}`).toEqual(fromBinary(desc, bytes));
  }
  const numbers = lean.HttpConnectionManagerSchema.all.find(
    (one) => one.typeName === "envoy.config.route.v3.RetryPolicy",
  )!;
  for (const bytes of [Uint8Array.of(58, 3, 1, 2, 3), Uint8Array.of(56, 1, 56, 2, 56, 3)]) {
    expect(lean.decode(numbers, bytes)).toMatchObject({ retriableStatusCodes: [1, 2, 3] });
  }
});

test("fields that the schema does not know, and known ones of another wire type, are passed over", () => {
  // 1000: varint · 1001: fixed64 · 1002: text · 1003: fixed32 · 1 (name): varint · 1: text
  const bytes = Buffer.from("c03e05c93e0102030405060708d23e0161dd3e0102030408070a0178", "hex");
  expect(lean.decode(lean.ListenerSchema, bytes)).toEqual(lean.create(lean.ListenerSchema, { name: "x" }));
});

test.each([
  ["ends in a tag", "80", "the middle of a value"],
  ["ends in a text", "0a05616263", "leaves its message"],
  ["a message reaches past its parent", "12060a0a0000", "leaves its message"],
  ["an endless varint", "08ffffffffffffffffffffff01", "longer than ten bytes"],
  ["a group", "0b", "wire type 3"],
  ["a text that is none", "0a02c328", "not UTF-8"],
])("broken bytes: %s", (_what, hex, message) => {
  expect(() => lean.decode(lean.ListenerSchema, Buffer.from(hex, "hex"))).toThrow(message);
});

test("messages inside of one another are bounded", () => {
  const { RBACSchema } = lean;
  const permission = RBACSchema.all.find((one) => one.typeName === "envoy.config.rbac.v3.Permission")!;
  let bytes = Buffer.alloc(0);
  for (let i = 0; i < 200; i++) {
    const length: number[] = [];
    for (let rest = bytes.length; ; rest >>>= 7) {
      length.push(rest > 127 ? (rest & 127) | 128 : rest);
      if (rest <= 127) break;
    }
    bytes = Buffer.concat([Uint8Array.of(0x42, ...length), bytes]); // not_rule
  }
  expect(() => lean.decode(permission, bytes)).toThrow("100 messages inside of one another");
});

test("arbitrary bytes are read or refused, and nothing else", () => {
  const random = seededRandom(7);
  for (let i = 0; i < 5_000; i++) {
    const bytes = Uint8Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * 256));
    try {
      lean.decode(lean.ListenerSchema, bytes);
    } catch (error) {
      expect((error as Error).message).toMatch(/^broken bytes: /);
    }
  }
});

test("JSON in its special forms is read by protobuf-es, on demand", () => {
  const fault = lean.decodeJson(lean.HTTPFaultSchema, {
    delay: { fixedDelay: "1.5s", percentage: { numerator: 50, denominator: "TEN_THOUSAND" } },
    max_active_faults: 7,
  });
  expect(fault).toMatchObject({
    delay: {
      faultDelaySecifier: { case: "fixedDelay", value: { seconds: 1n, nanos: 500_000_000 } },
      percentage: { numerator: 50, denominator: lean.FractionalPercent_DenominatorType.TEN_THOUSAND },
    },
    maxActiveFaults: 7,
  });
  expect(() => lean.decodeJson(lean.HTTPFaultSchema, { nonsense: 1 })).toThrow("nonsense");
});

test("the services are those of the full package", () => {
  for (const name of ["StreamAggregatedResources", "DeltaAggregatedResources"] as const) {
    expect(lean.aggregatedDiscoveryService[name].path).toBe(fullService[name].path);
  }
});
