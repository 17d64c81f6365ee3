import fc from "fast-check";
import { expect, it } from "vitest";
import { wireText } from "../match/wire-text.ts";
import { xxHash64 } from "./xxhash64.ts";

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;
const u64 = (n: bigint): bigint => BigInt.asUintN(64, n);
const rotl = (n: bigint, by: bigint): bigint => u64((n << by) | (n >> (64n - by)));

/** The published algorithm, as it is written down there. */
function model(input: Uint8Array, seed: bigint): bigint {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const round = (acc: bigint, lane: bigint): bigint => u64(rotl(u64(acc + lane * P2), 31n) * P1);
  let at = 0;
  let hash: bigint;
  if (input.length >= 32) {
    let v = [seed + P1 + P2, seed + P2, seed, seed - P1].map(u64);
    for (; at + 32 <= input.length; at += 32) v = v.map((acc, i) => round(acc, view.getBigUint64(at + 8 * i, true)));
    hash = u64(rotl(v[0]!, 1n) + rotl(v[1]!, 7n) + rotl(v[2]!, 12n) + rotl(v[3]!, 18n));
    for (const acc of v) hash = u64((hash ^ round(0n, acc)) * P1 + P4);
  } else hash = u64(seed + P5);
  hash = u64(hash + BigInt(input.length));
  for (; at + 8 <= input.length; at += 8)
    hash = u64(rotl(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
  if (at + 4 <= input.length) {
    hash = u64(rotl(hash ^ u64(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
    at += 4;
  }
  for (; at < input.length; at++) hash = u64(rotl(hash ^ u64(BigInt(input[at]!) * P5), 11n) * P1);
  hash = u64((hash ^ (hash >> 33n)) * P2);
  hash = u64((hash ^ (hash >> 29n)) * P3);
  return hash ^ (hash >> 32n);
}

function ours(text: string, seed = 0n): bigint {
  const into = { high: 0, low: 0 };
  xxHash64(text, into, Number(BigInt.asIntN(32, seed >> 32n)), Number(BigInt.asIntN(32, seed)));
  return u64((BigInt(into.high) << 32n) | BigInt(into.low >>> 0));
}

it("gives the published values", () => {
  expect(ours("")).toBe(0xef46db3751d8e999n);
  expect(ours("a")).toBe(0xd24ec4f1a98c6e5bn);
  expect(ours("abc")).toBe(0x44bc2cf5ad770999n);
  expect(ours("Nobody inspects the spammish repetition")).toBe(0xfbcea83c8a378bf1n);
});

it("is the published algorithm for any bytes and any seed", () => {
  const seed = fc.oneof(
    fc.constantFrom(0n, 1n, 0xffff_ffffn, 0xffff_ffff_ffff_ffffn),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), seed, (input, with64) => {
      expect(ours(String.fromCharCode(...input), with64)).toBe(model(input, with64));
    }),
    { seed: 7, numRuns: 500 },
  );
});

it("takes a text of a configuration as UTF-8", () => {
  const text = "grün/日本/🙂";
  expect(ours(wireText(text))).toBe(model(new TextEncoder().encode(text), 0n));
});
