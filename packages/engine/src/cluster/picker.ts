import type { Call } from "../call.ts";
import type { MeshError } from "../errors.ts";
import type { Endpoint } from "./endpoint.ts";

/**
 * Chooses an endpoint for one attempt. Built once per endpoint set over those that may take traffic, so that a pick
 * cannot meet a removed or an unhealthy one; allocates nothing and looks at no more than it must.
 */
export interface Picker {
  pick(call: Call): Endpoint | MeshError;
}
