import type { JsonObject } from "@bufbuild/protobuf";

import type { PortLimits } from "../model/scope.ts";
import type { Service } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";

/** Istio's metadata that tells telemetry which services a cluster or an inbound listener stands for. */
export function serviceMetadata(services: readonly Service[]): Record<string, JsonObject> {
  return { istio: { services: services.map(({ host, name, namespace }) => ({ host, name, namespace })) } };
}

/** Limits of an inbound listener, for which Envoy has a cluster behind it and a library has none. gRPC's own servers have no such limits. */
export function limitsMetadata(limits: PortLimits | undefined, kind: NodeView["kind"]): Record<string, JsonObject> {
  if (limits === undefined || kind !== "trama") return {};
  const { maxConnections, maxRequests } = limits;
  return {
    "trama.inbound_limits": {
      ...(maxConnections === undefined ? {} : { max_connections: maxConnections }),
      ...(maxRequests === undefined ? {} : { max_requests: maxRequests }),
    },
  };
}
