import type { MessageInitShape } from "@bufbuild/protobuf";
import { ApiVersion } from "@trama/proto/envoy/config/core/v3/config_source_pb.js";
import type { FilterChainSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RouterSchema } from "@trama/proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import type { AccessPolicy, MtlsMode } from "../model/access.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { PortLimits } from "../model/scope.ts";
import type { Service } from "../model/service.ts";
import type { NodeView, WireResource } from "../snapshot.ts";
import { connectionFilters } from "./connection-chains.ts";
import { corsFilter } from "./cors.ts";
import { limitsMetadata, serviceMetadata } from "./metadata.ts";
import { rbac } from "./rbac.ts";
import { faultFilter } from "./routes.ts";
import { type OwnCors, serverHosts } from "./server-hosts.ts";
import { downstreamTls } from "./tls.ts";
import { type HttpFilter, pack, wireResource } from "./wire.ts";

type FilterChain = MessageInitShape<typeof FilterChainSchema>;

export const router: HttpFilter = {
  name: "envoy.filters.http.router",
  configType: { case: "typedConfig", value: pack(RouterSchema, {}) },
};

/** Empty: what it does comes with each route. */
export const fault: HttpFilter = {
  name: faultFilter,
  configType: { case: "typedConfig", value: pack(HTTPFaultSchema, {}) },
};

/** What a caller asks for first: answered under the very name asked (I16), it names the routes. */
export function outboundListener(name: string, routeConfigName: string, kind: NodeView["kind"]): WireResource {
  const manager = pack(HttpConnectionManagerSchema, {
    statPrefix: routeConfigName,
    routeSpecifier: {
      case: "rds",
      value: {
        routeConfigName,
        configSource: { resourceApiVersion: ApiVersion.V3, configSourceSpecifier: { case: "ads", value: {} } },
      },
    },
    // A fault is injected before anything else, also before a preflight is answered, as in Istio; the router, which calls, is always
    // last (R34). gRPC's own libraries would refuse a filter that they do not know.
    httpFilters: [fault, ...(kind === "grpc" ? [] : [corsFilter]), router],
  });
  return wireResource(ListenerSchema, name, { name, apiListener: { apiListener: manager } });
}

export interface InboundInput {
  readonly mesh: MeshSettings;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly mode: MtlsMode;
  /** Those that apply to the workload, in order. */
  readonly policies: readonly AccessPolicy[];
  /** Behind the port, for telemetry. */
  readonly services: readonly Service[];
  /** It takes connections, whatever is in them. */
  readonly opaque: boolean;
  readonly limits: PortLimits | undefined;
  readonly cors: readonly OwnCors[];
  readonly kind: NodeView["kind"];
}

/** Named exactly as asked, address = the address asked, nothing that only a proxy needs (S44). */
export function inboundListener(input: InboundInput): WireResource {
  const { name, address, port, services, limits, kind } = input;
  const filterMetadata = {
    ...(services.length === 0 ? {} : serviceMetadata(services)),
    ...limitsMetadata(limits, kind),
  };
  return wireResource(ListenerSchema, name, {
    name,
    address: {
      address: { case: "socketAddress", value: { address, portSpecifier: { case: "portValue", value: port } } },
    },
    filterChains: chains(input),
    ...(Object.keys(filterMetadata).length === 0 ? {} : { metadata: { filterMetadata } }),
  });
}

/**
 * A gRPC library cannot tell plaintext from TLS on one port, and drops chains that ask it to: it gets one chain without a
 * match. In PERMISSIVE that is the secured one: turning into plaintext would take every identity away from the policies.
 */
function chains(input: InboundInput): FilterChain[] {
  const { mode, kind, mesh, opaque, policies, port } = input;
  const filters =
    opaque && kind !== "grpc"
      ? connectionFilters(policies, mesh, port)
      : [
          {
            name: "envoy.filters.network.http_connection_manager",
            configType: { case: "typedConfig" as const, value: inboundManager(input) },
          },
        ];
  const choosing = kind !== "grpc";
  const secured: FilterChain = {
    name: "inbound-mtls",
    ...(choosing ? { filterChainMatch: { transportProtocol: "tls" } } : {}),
    transportSocket: downstreamTls(mesh, kind),
    filters,
  };
  const plaintext: FilterChain = {
    name: "inbound-plaintext",
    ...(choosing ? { filterChainMatch: { transportProtocol: "raw_buffer" } } : {}),
    filters,
  };
  if (mode === "disable") return [plaintext];
  return mode === "strict" || !choosing ? [secured] : [secured, plaintext];
}

function inboundManager({ mesh, policies, cors }: InboundInput): ReturnType<typeof pack> {
  return pack(HttpConnectionManagerSchema, {
    statPrefix: "inbound",
    routeSpecifier: {
      case: "routeConfig",
      value: {
        name: "inbound",
        virtualHosts: serverHosts({ mesh }, cors, { case: "nonForwardingAction", value: {} }),
      },
    },
    // Who may not call at all learns nothing of CORS: the order of Istio's sidecars.
    httpFilters: [...accessFilters(policies, mesh), ...(cors.length === 0 ? [] : [corsFilter]), router],
  });
}

/** DENY decides before ALLOW (istio-api §11.2); a filter is there only where policies of its action are. */
export function accessFilters(policies: readonly AccessPolicy[], mesh: MeshSettings): readonly HttpFilter[] {
  const deny = policies.filter(({ action }) => action === "deny");
  const allow = policies.filter(({ action }) => action === "allow");
  return [
    ...(deny.length === 0 ? [] : [rbacFilter("envoy.filters.http.rbac.DENY", deny, mesh)]),
    ...(allow.length === 0 ? [] : [rbacFilter("envoy.filters.http.rbac", allow, mesh)]),
  ];
}

function rbacFilter(name: string, policies: readonly AccessPolicy[], mesh: MeshSettings): HttpFilter {
  const action = policies[0]?.action ?? "deny";
  return { name, configType: { case: "typedConfig", value: rbac(policies, action, mesh) } };
}
