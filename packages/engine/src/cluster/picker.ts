import type { Call } from "../call.ts";
import type { MeshError } from "../errors.ts";
import type { Endpoint } from "./endpoint.ts";

/**
 * Chooses an endpoint for one attempt. Built once per endpoint set over those that may take traffic, so that a pick
 * cannot meet a removed or an unhealthy one; allocates nothing and looks at no more than it must.
 */
export interface Picker {
  /**
   * `selection`: how many endpoints that were picked for this attempt the retry policy did not like (0 by default). Those that
   * would always pick the same for a call pick another one then; those that draw draw again.
   */
  pick(call: Call, selection?: number): Endpoint | MeshError;
}
