import { AliasTable } from "../alias.ts";
import type { Sliced } from "../../slices.ts";
import type { Dice } from "../dice.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { unequalWeights } from "./round-robin.ts";

/** A random endpoint, in proportion to the weights (Envoy `RANDOM`). */
export function* randomPicker(endpoints: readonly Endpoint[], dice: Dice): Sliced<Picker> {
  const weights = yield* unequalWeights(endpoints);
  if (weights !== undefined) {
    const table = new AliasTable(weights);
    return { pick: () => endpoints[table.draw(dice)]! };
  }
  const n = endpoints.length;
  return { pick: () => endpoints[dice.below(n)]! };
}
