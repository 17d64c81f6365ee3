import type { Hash64 } from "../../hash/xxhash64.ts";
import { xxHash64 } from "../../hash/xxhash64.ts";
import type { Cursor } from "../../state.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";

/**
 * All calls to one endpoint (gRFC A62): the first of the list, the next one for a retry that has been there. Shuffled, the order is
 * that of the addresses' hashes with a seed that lives in keyed state: another one in each process, and the same in this one
 * whatever comes and goes.
 */
export function pickFirst(endpoints: readonly Endpoint[], seed: Cursor | undefined): Picker {
  const order = seed === undefined ? endpoints : shuffled(endpoints, seed.value);
  const n = order.length;
  return { pick: (_call, selection = 0) => order[selection % n]! };
}

function shuffled(endpoints: readonly Endpoint[], seed: number): readonly Endpoint[] {
  const hash: Hash64 = { high: 0, low: 0 };
  return endpoints
    .map((endpoint) => {
      xxHash64(endpoint.config.address, hash, 0, seed);
      return { endpoint, place: hash.high };
    })
    .toSorted((a, b) => a.place - b.place)
    .map(({ endpoint }) => endpoint);
}
