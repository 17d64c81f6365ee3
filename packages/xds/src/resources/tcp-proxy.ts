import type { ForwardAction, RetryPolicy, RouteConfig, VirtualHost, WeightedCluster } from "@trama/engine";
import { TcpProxySchema } from "@trama/proto/lean";
import type { TcpProxy } from "@trama/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";

import type { Typed } from "./any.ts";
import { durationMs } from "./duration.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields } from "./fields.ts";

/** Envoy's `idle_timeout` where nothing is said. */
const defaultIdleMs = 3_600_000;

/** How often another endpoint is looked for on the way to one that was not tried; Envoy has no such thing for connections. */
const hostSelectionAttempts = 5;

/**
 * Where connections go that a `TcpProxy` takes: one route for all of them. Which clusters there are, and how long a connection may be silent, is
 * said as for requests, so the engine needs no other words for it.
 */
export function tcpRoute(name: string, typed: Typed): RouteConfig {
  if (typed.typeName !== TcpProxySchema.typeName)
    throw new ResourceError(`${typed.typeName} is not supported; use TcpProxy`);
  const proxy = typed.as(TcpProxySchema);
  onlyFields(
    proxy,
    ["clusterSpecifier", "idleTimeout", "maxConnectAttempts", "hashPolicy"],
    ["statPrefix", "accessLog", "accessLogFlushInterval", "flushAccessLogOnConnected", "accessLogOptions"],
  );
  return { name, match: everything, action: forward(proxy), overrides: new Map() };
}

/** A virtual host for those server names; `*`: for all others. */
export function tcpHost(route: RouteConfig, domains: readonly string[]): VirtualHost {
  return { name: route.name, domains, routes: [route], retry: undefined, overrides: new Map() };
}

/** Of a connection nothing is known that a route could look at. */
export const everything: RouteConfig["match"] = {
  path: { kind: "prefix", value: "/", ignoreCase: false },
  headers: [],
  query: [],
  fractionPerMillion: undefined,
};

function forward(proxy: TcpProxy): ForwardAction {
  const idle = proxy.idleTimeout === undefined ? defaultIdleMs : durationMs(proxy.idleTimeout, "idle_timeout");
  const hashed = each("hash_policy", proxy.hashPolicy, ({ policySpecifier: one }) => {
    if (one.case !== "sourceIp") throw new ResourceError("only source_ip is supported");
    return { kind: "source_ip", terminal: false } as const;
  });
  return {
    kind: "forward",
    clusters: clusters(proxy),
    timeoutMs: undefined,
    ...(idle > 0 && { idleTimeoutMs: idle }),
    retry: retry(proxy.maxConnectAttempts ?? 1),
    ...(hashed.length > 0 && { hash: hashed }),
  };
}

/** Only a connection that does not come about is tried again, elsewhere: what has been sent on one is not known here. */
function retry(attempts: number): RetryPolicy | undefined {
  if (attempts < 1) throw new ResourceError("max_connect_attempts must be 1 or more");
  if (attempts === 1) return undefined;
  return {
    retryOn: ["connect-failure"],
    statusCodes: [],
    retries: attempts - 1,
    perTryTimeoutMs: undefined,
    backoffBaseMs: 25,
    backoffMaxMs: 250,
    avoidPreviousHosts: true,
    hostSelectionAttempts,
  };
}

function clusters({ clusterSpecifier: one }: TcpProxy): readonly WeightedCluster[] {
  if (one.case === "cluster" && one.value !== "") return [{ name: one.value, weight: 1, overrides: new Map() }];
  if (one.case !== "weightedClusters") throw new ResourceError("it names no cluster");
  return within("weighted_clusters", () => {
    let sum = 0;
    const found = each("clusters", one.value.clusters, (each) => {
      onlyFields(each, ["name", "weight"]);
      if (each.name === "") throw new ResourceError("name is empty");
      // As Envoy has it, here each weight is 1 or more.
      if (each.weight < 1) throw new ResourceError("weight must be 1 or more");
      sum += each.weight;
      return { name: each.name, weight: each.weight, overrides: new Map() };
    });
    if (sum < 1 || sum > 0xffff_ffff) throw new ResourceError(`the weights add up to ${sum}, not to 1 … 2^32-1`);
    return found;
  });
}
