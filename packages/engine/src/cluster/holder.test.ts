import * as fc from "fast-check";
import { expect, test } from "vitest";
import { endpoint } from "../../../../test/kit/mesh-config.ts";
import { EndpointLoads } from "../state.ts";
import type { Endpoint } from "./endpoint.ts";
import { Holder } from "./holder.ts";

const pool = Array.from({ length: 40 }, (_, at) => endpoint(`10.0.0.${at}:80`));
/** The same addresses, said anew. */
const again = pool.map((each) => ({ ...each }));

const release = (loads: EndpointLoads, held: readonly Endpoint[]): void => {
  for (const { config, load } of held) loads.release(config.address, load);
};

test("what the cluster before had is taken over as it is; only what is new is made", () => {
  const loads = new EndpointLoads();
  const before = new Holder(loads, []).hold(pool);
  const after = new Holder(loads, before).hold(pool.with(7, again[7]!));
  expect(after.map((each, at) => each === before[at])).toEqual(pool.map((_, at) => at !== 7));
  expect(after[7]!.load).toBe(before[7]!.load);
});

test("law 6: whatever changes and in whatever order clusters go, a load lives as long as one of them holds it", () => {
  const members = fc.uniqueArray(fc.nat(39), { maxLength: 40 });
  const step = fc.record({ members, renewed: fc.nat(39), drop: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const loads = new EndpointLoads();
      const alive: (readonly Endpoint[])[] = [];
      for (const { members: chosen, renewed, drop } of steps) {
        const configs = chosen.map((at) => (at === renewed ? again[at]! : pool[at]!));
        const held = new Holder(loads, alive.at(-1) ?? []).hold(configs);
        expect(held.map(({ config }) => config)).toEqual(configs);
        alive.push(held);
        if (drop < alive.length && alive.length > 2) release(loads, alive.splice(drop, 1)[0]!);
        const wanted = new Set(alive.flat().map(({ config }) => config.address));
        expect(loads.size).toBe(wanted.size);
        for (const { config, load } of alive.flat()) expect(load).toBe(loads.get(config.address));
      }
      for (const held of alive) release(loads, held);
      expect(loads.size).toBe(0);
    }),
    { numRuns: 200, seed: 6 },
  );
});
