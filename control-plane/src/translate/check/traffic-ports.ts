import type { Diagnostic } from "../../diagnostics.ts";
import type { ServicePort } from "../../model/service.ts";
import type { ConnectionPoolSpec } from "../../sources/istio/connection-pool.ts";
import type { TrafficPolicySpec } from "../../sources/istio/destination-rule.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import type { ConfigObject } from "../../sources/object.ts";

/** A policy of a rule, and its place. */
interface Placed {
  readonly policy: TrafficPolicySpec | undefined;
  readonly at: readonly (string | number)[];
}

/** What a policy says of ports: they are there, and are called by the protocol that a setting is about. */
export function* checkTrafficPorts(
  object: ConfigObject<"DestinationRule">,
  policies: readonly Placed[],
  ports: readonly ServicePort[],
): Iterable<Diagnostic> {
  const known = [...new Set(ports.map(({ number }) => number))].sort((a, b) => a - b);
  for (const { policy, at } of policies) {
    yield* checkStreams(object, policy?.connectionPool, at, ports);
    for (const [index, { port, connectionPool }] of (policy?.portLevelSettings ?? []).entries()) {
      const own = ports.filter(({ number }) => number === port.number);
      const where = [...at, "portLevelSettings", index];
      yield* checkStreams(object, connectionPool, where, own);
      if (own.length > 0) continue;
      const path = [...where, "port"];
      const text = `${fieldPath(path)}: ${object.content.spec.host} has no port ${port.number}: it has ${known.join(", ")}`;
      yield object.error("reference", path, text);
    }
  }
}

/** Settings of HTTP/2 connections, where none would be made. */
function* checkStreams(
  object: ConfigObject<"DestinationRule">,
  pool: ConnectionPoolSpec | undefined,
  at: readonly (string | number)[],
  ports: readonly ServicePort[],
): Iterable<Diagnostic> {
  const http = pool?.http;
  if (http === undefined || http.h2UpgradePolicy === "UPGRADE" || http.useClientProtocol) return;
  if (ports.length === 0 || ports.some(({ http2 }) => http2)) return;
  for (const field of ["maxConcurrentStreams", "http2KeepAlive"] as const) {
    if (http[field] === undefined) continue;
    const path = [...at, "connectionPool", "http", field];
    const text = `${fieldPath(path)}: has no effect over HTTP/1.1: declare the port as HTTP2 or GRPC, or write h2UpgradePolicy: UPGRADE`;
    yield object.warning("advice", path, text);
  }
}
