import type { Diagnostic } from "../../diagnostics.ts";
import { isAlwaysOpaque } from "../../model/route.ts";
import type { ServicePort } from "../../model/service.ts";
import type { ConnectionPoolSpec } from "../../sources/istio/connection-pool.ts";
import type { PortPolicySpec, TrafficPolicySpec } from "../../sources/istio/destination-rule.ts";
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
    yield* checkRequests(object, policy, at, ports, object.content.spec.host);
    const settled = policy?.portLevelSettings ?? [];
    const others = ports.filter(({ number }) => settled.every(({ port }) => port.number !== number));
    yield* checkTwice(object, policy?.tls, at, others);
    for (const [index, settings] of settled.entries()) {
      const { port, connectionPool } = settings;
      const own = ports.filter(({ number }) => number === port.number);
      const where = [...at, "portLevelSettings", index];
      yield* checkStreams(object, connectionPool, where, own);
      yield* checkRequests(object, settings, where, own, `port ${port.number}`);
      yield* checkTwice(object, settings.tls, where, own);
      if (own.length > 0) continue;
      const path = [...where, "port"];
      const text = `${fieldPath(path)}: ${object.content.spec.host} has no port ${port.number}: it has ${known.join(", ")}`;
      yield object.error("reference", path, text);
    }
  }
}

/** TLS around the TLS of applications, which hardly anybody means and no server expects. */
function* checkTwice(
  object: ConfigObject<"DestinationRule">,
  tls: TrafficPolicySpec["tls"],
  at: Placed["at"],
  ports: readonly ServicePort[],
): Iterable<Diagnostic> {
  const port = ports.find(({ protocol }) => protocol === "tls");
  if (port === undefined || (tls?.mode !== "SIMPLE" && tls?.mode !== "MUTUAL")) return;
  const path = [...at, "tls", "mode"];
  const text = `${fieldPath(path)}: puts TLS around that of the application, which port ${port.number} (TLS) of ${object.content.spec.host} is declared to be for: remove tls, or declare the port TCP`;
  yield object.warning("advice", path, text);
}

/** Settings about requests, where every port takes connections. */
function* checkRequests(
  object: ConfigObject<"DestinationRule">,
  policy: TrafficPolicySpec | PortPolicySpec | undefined,
  at: Placed["at"],
  ports: readonly ServicePort[],
  who: string,
): Iterable<Diagnostic> {
  if (ports.length === 0 || !ports.every(isAlwaysOpaque)) return;
  const { http, tcp } = policy?.connectionPool ?? {};
  const key = policy?.loadBalancer?.consistentHash?.key.kind ?? "source";
  const codes = policy?.outlierDetection?.outlierDetectionHttpErrorCodes ?? [];
  const given: readonly (readonly [boolean, readonly string[]])[] = [
    ...(["idleTimeout", "maxRequestsPerConnection", "maxConcurrentStreams", "http2KeepAlive"] as const).map(
      (field) => [http?.[field] !== undefined, ["connectionPool", "http", field]] as const,
    ),
    [(http?.h2UpgradePolicy ?? "DEFAULT") !== "DEFAULT", ["connectionPool", "http", "h2UpgradePolicy"]],
    [http?.useClientProtocol === true, ["connectionPool", "http", "useClientProtocol"]],
    [tcp?.maxConnectionDuration !== undefined, ["connectionPool", "tcp", "maxConnectionDuration"]],
    [codes.length > 0, ["outlierDetection", "outlierDetectionHttpErrorCodes"]],
    [key !== "source", ["loadBalancer", "consistentHash"]],
  ];
  for (const [there, field] of given) {
    if (!there) continue;
    const path = [...at, ...field];
    const text = `${fieldPath(path)}: has no effect on connections, and ${who} takes no requests: remove it`;
    yield object.warning("advice", path, text);
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
  if (ports.every(isAlwaysOpaque) || ports.some(({ protocol }) => protocol === "http2")) return;
  for (const field of ["maxConcurrentStreams", "http2KeepAlive"] as const) {
    if (http[field] === undefined) continue;
    const path = [...at, "connectionPool", "http", field];
    const text = `${fieldPath(path)}: has no effect over HTTP/1.1: declare the port as HTTP2 or GRPC, or write h2UpgradePolicy: UPGRADE`;
    yield object.warning("advice", path, text);
  }
}
