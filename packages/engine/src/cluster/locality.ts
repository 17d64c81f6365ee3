import { AliasTable } from "./alias.ts";
import type { Dice } from "./dice.ts";
import type { Picker } from "./picker.ts";

/**
 * Picks a locality by weight, then an endpoint inside it by the cluster's own balancer (R45). The caller gives only
 * localities that have an endpoint to offer.
 */
export function byLocality(pickers: readonly Picker[], weights: readonly number[], dice: Dice): Picker {
  if (pickers.length === 1) return pickers[0]!;
  const table = new AliasTable(weights);
  return { pick: (call) => pickers[table.draw(dice)]!.pick(call) };
}
