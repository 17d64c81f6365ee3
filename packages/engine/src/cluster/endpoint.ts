import type { EndpointConfig } from "../config.ts";
import type { EndpointLoad } from "../state.ts";

/** An endpoint that may take traffic: what the configuration says of it, and what it is doing right now. */
export interface Endpoint {
  readonly config: EndpointConfig;
  /** Shared with every other snapshot that knows the same address (law 6). */
  readonly load: EndpointLoad;
}
