import * as fc from "fast-check";
import { expect, test } from "vitest";

import { CompactEndpoint, KnownTraits } from "./endpoint-compact.ts";
import { EndpointTexts } from "./endpoint-texts.ts";

const traits = { port: 80, weight: 1, health: "healthy", tlsMode: "", hashKey: undefined } as const;

test("an address is its host, in brackets if it is IPv6, and its port; the host comes out of it again", () => {
  const any = fc.string({ maxLength: 200, unit: "grapheme" }).filter((each) => each.isWellFormed());
  const host = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.domain(),
    any.filter((each) => each !== ""),
  );
  const said = fc.record({ host, port: fc.integer({ min: 0, max: 65_535 }), workload: any, again: fc.boolean() });
  fc.assert(
    fc.property(fc.array(said, { minLength: 1, maxLength: 12 }), (all) => {
      const texts = new EndpointTexts();
      const made = all.map(({ host: text, port, workload: own, again }, at) => {
        const workload = again && at > 0 ? all[at - 1]!.workload : own;
        all[at]!.workload = workload;
        const bytes = Buffer.from(`?${text}${workload}!`);
        const behind = 1 + Buffer.byteLength(text);
        return new CompactEndpoint(
          { ...traits, port },
          texts,
          texts.add(bytes, 1, behind, port, behind, bytes.length - 1),
        );
      });
      texts.settle();
      for (const [at, { host: text, port, workload }] of [...all.entries()].toReversed()) {
        const endpoint = made[at]!;
        // Without a port it is a path.
        const address = text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
        expect(endpoint.address).toBe(port === 0 ? text : address);
        expect(endpoint.host).toBe(text);
        expect(endpoint.workload).toBe(workload);
        expect(endpoint.address).toBe(endpoint.address);
      }
    }),
    { seed: 7, numRuns: 300 },
  );
});

test("what is alike is one object, and a key is nobody else's", () => {
  const known = new KnownTraits();
  const one = known.of(traits);
  expect(known.of({ ...traits })).toBe(one);
  for (const other of [{ port: 81 }, { weight: 2 }, { health: "draining" }, { tlsMode: "istio" }]) {
    const like = { ...traits, ...other } as typeof traits;
    expect(known.of(like)).toEqual(like);
    expect(known.of({ ...like })).toBe(known.of(like));
  }
  expect(known.of({ ...traits, hashKey: "a" })).toEqual({ ...traits, hashKey: "a" });
  expect(known.of(traits)).toBe(one);
  // Beyond those that are remembered each has its own.
  for (let weight = 10; weight < 30; weight++) expect(known.of({ ...traits, weight }).weight).toBe(weight);
});
