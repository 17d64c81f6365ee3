import { type MeshSettings, fullHost } from "../../model/mesh.ts";
import type { PortLimits, Scope } from "../../model/scope.ts";
import type { InboundPoolSpec } from "../../sources/istio/inbound-pool.ts";
import type { Content } from "../../sources/object.ts";

/** Sidecar → scope (istio-api §8). */
export function scope({ namespace, name, spec }: Content<"Sidecar">, mesh: MeshSettings): Scope {
  const hosts = spec.egress?.flatMap((entry) => entry.hosts);
  const patterns = (excluded: boolean): Scope["hidden"] =>
    (hosts ?? [])
      .filter((each) => each.excluded === excluded)
      .map((each) => ({ namespace: each.namespace, host: fullHost(mesh, each.host, namespace) }));
  const seen = patterns(false);
  return {
    namespace,
    name,
    selector: spec.workloadSelector?.labels ?? {},
    // One that only leaves out leaves the rest.
    seen: seen.length === 0 ? undefined : seen,
    hidden: patterns(true),
    unknownHosts:
      spec.outboundTrafficPolicy === undefined
        ? undefined
        : spec.outboundTrafficPolicy.mode === "REGISTRY_ONLY"
          ? "refuse"
          : "pass",
    inbound: {
      all: spec.inboundConnectionPool && limits(spec.inboundConnectionPool),
      // A pool takes the place of the whole other one (istio-api §8).
      ports: new Map(
        (spec.ingress ?? []).flatMap(({ port, connectionPool }) =>
          connectionPool === undefined ? [] : [[port.number, limits(connectionPool)]],
        ),
      ),
    },
  };
}

function limits({ tcp, http }: InboundPoolSpec): PortLimits {
  return { maxConnections: tcp.maxConnections, maxRequests: http.http2MaxRequests };
}
