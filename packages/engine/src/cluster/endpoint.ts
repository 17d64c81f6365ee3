import type { EndpointConfig } from "../config.ts";
import type { EndpointLoad } from "./endpoint-load.ts";

/** An endpoint that may take traffic: what the configuration says of it, and what it is doing right now. */
export interface Endpoint {
  readonly config: EndpointConfig;
  /**
   * Its load, for those who only look at it: one that all who never did anything have in common, and that nobody writes to, until somebody
   * asks for `load`.
   */
  readonly known: EndpointLoad;
  /** Its load, for those who count something in it. Shared with every other snapshot that knows the same address (law 6). */
  readonly load: EndpointLoad;
}

/** Whether new calls go to it: by the configuration, and by what this process found out itself. */
export function takesTraffic({ config, known }: Endpoint): boolean {
  return known.barred === 0 && config.health === "healthy";
}
