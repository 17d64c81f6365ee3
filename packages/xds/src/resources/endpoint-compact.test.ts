import * as fc from "fast-check";
import { expect, test } from "vitest";

import { addressText, CompactEndpoint, KnownTraits } from "./endpoint-compact.ts";

const traits = { port: 80, weight: 1, health: "healthy", tlsMode: "", workload: "w", hashKey: undefined } as const;

test("an address is its host, in brackets if it is IPv6, and its port; the host comes out of it again", () => {
  const host = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.domain(),
    fc.string({ minLength: 1, maxLength: 200, unit: "grapheme" }).filter((each) => each.isWellFormed()),
  );
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), fc.nat({ max: 9 }), (text, port, before) => {
      const bytes = Buffer.concat([Buffer.alloc(before, 0xff), Buffer.from(text), Buffer.from("x")]);
      const address = addressText(bytes, before, bytes.length - 1, port);
      expect(address).toBe(text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`);
      expect(new CompactEndpoint(address, { ...traits, port }).host).toBe(text);
    }),
    { seed: 7, numRuns: 500 },
  );
});

test("what is alike is one object, and a key is nobody else's", () => {
  const known = new KnownTraits();
  const one = known.of(traits);
  expect(known.of({ ...traits })).toBe(one);
  for (const other of [{ port: 81 }, { weight: 2 }, { health: "draining" }, { tlsMode: "istio" }, { workload: "" }]) {
    const like = { ...traits, ...other } as typeof traits;
    expect(known.of(like)).toEqual(like);
    expect(known.of({ ...like })).toBe(known.of(like));
  }
  expect(known.of({ ...traits, hashKey: "a" })).toEqual({ ...traits, hashKey: "a" });
  expect(known.of(traits)).toBe(one);
  // Beyond those that are remembered each has its own.
  for (let weight = 10; weight < 30; weight++) expect(known.of({ ...traits, weight }).weight).toBe(weight);
});
