import type { ClusterConfig, FilterConfig, RetryPolicy, RouteConfiguration } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { FilterState } from "../policy/filter.ts";
import type { Service } from "../service.ts";

/** A cluster as the router sees it. */
export interface ForwardTarget {
  readonly config: ClusterConfig;
  /** The cluster's ready-made service under this retry policy. Called when a route is compiled, never per call. */
  service(retry: RetryPolicy | undefined): Service;
}

/** What routes are compiled against: one consistent configuration. */
export interface RouterDeps {
  readonly env: Env;
  /** The listener's filters, in xDS order. */
  readonly filters: readonly FilterConfig[];
  readonly state: FilterState;
  /** `undefined`: nothing is known of such a cluster; its routes answer NO_CLUSTER. */
  cluster(name: string): ForwardTarget | undefined;
}

/** Outbound: virtual host → route → weighted cluster ⇒ that pair's ready-made service. */
export function compileRoutes(config: RouteConfiguration, deps: RouterDeps): Service {
  void deps;
  return (_call, sink) => sink.onError(new MeshError("NO_ROUTE", config.name));
}

/** Inbound: virtual host → route ⇒ its filters, then the application's own handler. */
export function compileInboundRoutes(config: RouteConfiguration, deps: RouterDeps): (handler: Service) => Service {
  void deps;
  void config;
  return (handler) => handler;
}
