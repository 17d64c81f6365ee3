import * as fc from "fast-check";
import { expect, test } from "vitest";

import { AddressSet } from "./address-set.ts";

test("it knows what a set of texts knows, whatever comes and goes", () => {
  const name = fc.nat({ max: 3_000 }).map((at) => `10.0.${at >> 8}.${at & 255}:80`);
  const step = fc.tuple(fc.boolean(), name);
  fc.assert(
    fc.property(fc.nat({ max: 2_000 }), fc.array(step, { maxLength: 400, size: "max" }), (count, steps) => {
      const hashes = new AddressSet();
      const texts = new Set<string>();
      const add = (text: string): void => {
        if (hashes.add(text) === texts.has(text)) throw new Error(`${text} was ${texts.has(text)}`);
        texts.add(text);
      };
      for (let at = 0; at < count; at++) add(`10.0.${at >> 8}.${at & 255}:80`);
      for (const [adds, text] of steps) {
        if (adds) add(text);
        else {
          hashes.delete(text);
          texts.delete(text);
        }
      }
      expect(hashes.size).toBe(texts.size);
      for (const text of texts) add(text);
    }),
    { seed: 8, numRuns: 20 },
  );
});
