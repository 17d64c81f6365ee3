import type { ClusterInfo, HedgePolicy, RetryPolicy } from "../config.ts";
import type { Service } from "../service.ts";

/** A cluster as the router sees it. */
export interface ForwardTarget {
  /** What telemetry says of it, and no more: a route outlives many endpoint sets of its cluster. */
  readonly config: ClusterInfo;
  /** The cluster's ready-made service under this retry policy. Called when a route is compiled, never per call. */
  service(retry: RetryPolicy | undefined, hedge?: HedgePolicy): Service;
}
