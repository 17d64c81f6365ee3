import type { MaglevConfig, RingHashConfig } from "../../config.ts";
import { wireText } from "../../match/wire-text.ts";
import { inParts } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { ClusterState } from "../../state.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { BoundedLoad } from "./bounded-load.ts";
import type { HashMember, HashTable } from "./hash-table.ts";
import { Maglev } from "./maglev.ts";
import { Ring } from "./ring.ts";

/** The endpoints of a locality that are ready, and its weight. */
export interface HashedLocality {
  readonly weight: number;
  readonly ready: readonly Endpoint[];
}

/**
 * Consistent hashing over all localities of a priority at once (R45): each endpoint's share is that of its locality times its own
 * inside it. A call without a key goes to a random place of the same table, as in Envoy and gRPC.
 */
export function* hashing(
  config: RingHashConfig | MaglevConfig,
  localities: readonly HashedLocality[],
  cluster: Pick<ClusterState, "requests">,
  dice: Dice,
): Sliced<Picker> {
  const endpoints = localities.length === 1 ? localities[0]!.ready : localities.flatMap(({ ready }) => ready);
  const members = yield* shares(localities);
  let table: HashTable =
    config.kind === "ring_hash"
      ? yield* Ring.of(members, config.minSize, config.maxSize)
      : yield* Maglev.of(members, config.tableSize);
  if (config.balanceFactor !== undefined)
    table = new BoundedLoad(table, endpoints, members, config.balanceFactor, cluster);
  return {
    pick(call, selection = 0) {
      const { key } = call;
      return endpoints[
        key?.known(call) === true
          ? table.at(key.high, key.low, selection)
          : // The place is drawn anew with each selection anyway.
            table.at(dice.next(), dice.next(), 0)
      ]!;
    },
  };
}

/** The order of the operations is Envoy's: how a ring comes out may depend on the last bit. */
function* shares(localities: readonly HashedLocality[]): Sliced<HashMember[]> {
  const whole = localities.reduce((sum, { weight }) => sum + weight, 0);
  const members: HashMember[] = [];
  for (const { weight, ready } of localities) {
    const part = weight / whole;
    let sum = 0;
    yield* inParts(ready.length, (from, to) => {
      for (let at = from; at < to; at++) sum += ready[at]!.config.weight;
    });
    yield* inParts(ready.length, (from, to) => {
      for (let at = from; at < to; at++) {
        const { config } = ready[at]!;
        members.push({ key: wireText(config.hashKey ?? config.address), share: (config.weight * part) / sum });
      }
    });
  }
  return members;
}
