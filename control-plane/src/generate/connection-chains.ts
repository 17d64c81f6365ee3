import type { MessageInitShape } from "@bufbuild/protobuf";
import { TrafficDirection } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { FilterChainSchema, FilterSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RBACSchema } from "@trama/proto/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "@trama/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";

import { type AccessPolicy, connectionRules } from "../model/access.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { WireResource } from "../snapshot.ts";
import { type Connections, type Lead, clusterSpecifier, connectAttempts } from "./connections.ts";
import { inboundClusterName } from "./envoy/names.ts";
import { rbacRules } from "./rbac.ts";
import { durationOf, pack, wireResource } from "./wire.ts";

type Filter = MessageInitShape<typeof FilterSchema>;
type Chain = MessageInitShape<typeof FilterChainSchema>;

/**
 * What a caller asks for before it connects to an opaque port: a filter chain for each set of server names, and one for the rest. Envoy's own
 * form, without what only a proxy needs.
 */
export function connectionListener(name: string, { own, byName, rest }: Connections): WireResource {
  return wireResource(ListenerSchema, name, {
    name,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: byName.map((lead): Chain => ({
      name: lead.serverNames[0] ?? "",
      filterChainMatch: { serverNames: [...lead.serverNames] },
      filters: [proxy(own, lead)],
    })),
    ...(rest === undefined ? {} : { defaultFilterChain: { name: "default", filters: [proxy(own, rest)] } }),
  });
}

function proxy(statPrefix: string, lead: Lead): Filter {
  const { silenceMs, bySource } = lead;
  return tcpProxy({
    statPrefix,
    clusterSpecifier: clusterSpecifier(lead),
    maxConnectAttempts: connectAttempts,
    ...(silenceMs === undefined ? {} : { idleTimeout: durationOf(silenceMs) }),
    ...(bySource ? { hashPolicy: [{ policySpecifier: { case: "sourceIp", value: {} } }] } : {}),
  });
}

/** What an opaque port of a workload lets in, on its way to the application: no request is read, so only the peer is judged. */
export function connectionFilters(policies: readonly AccessPolicy[], mesh: MeshSettings, port: number): Filter[] {
  const deny = policies.filter(({ action }) => action === "deny");
  const allow = policies.filter(({ action }) => action === "allow");
  return [
    ...(deny.length === 0 ? [] : [accessFilter("envoy.filters.network.rbac.DENY", deny, mesh)]),
    ...(allow.length === 0 ? [] : [accessFilter("envoy.filters.network.rbac", allow, mesh)]),
    tcpProxy({ statPrefix: "inbound", clusterSpecifier: { case: "cluster", value: inboundClusterName(port) } }),
  ];
}

function accessFilter(name: string, policies: readonly AccessPolicy[], mesh: MeshSettings): Filter {
  const rules = rbacRules(policies.map(connectionRules), policies[0]?.action ?? "deny", mesh);
  return { name, configType: { case: "typedConfig", value: pack(RBACSchema, { statPrefix: "tcp.", rules }) } };
}

function tcpProxy(init: MessageInitShape<typeof TcpProxySchema>): Filter {
  return {
    name: "envoy.filters.network.tcp_proxy",
    configType: { case: "typedConfig", value: pack(TcpProxySchema, init) },
  };
}
