import type { MessageInitShape } from "@bufbuild/protobuf";
import { Cluster_DiscoveryType, ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { FilterChainSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { TlsInspectorSchema } from "@trama/proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import {
  HttpConnectionManager_ForwardClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction,
  HttpConnectionManagerSchema,
} from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";

import type { MeshSettings } from "../../model/mesh.ts";
import type { PortLimits } from "../../model/scope.ts";
import type { ProxySettings, WireResource } from "../../snapshot.ts";
import { unlimited } from "../clusters.ts";
import { accessFilters, router } from "../listeners.ts";
import { connectionFilters } from "../connection-chains.ts";
import { corsFilter } from "../cors.ts";
import { serviceMetadata } from "../metadata.ts";
import type { OwnPort } from "../own-port.ts";
import { durationOf, pack, wireResource } from "../wire.ts";
import { type OwnCors, serverHosts } from "../server-hosts.ts";
import { inboundClusterName, inboundListenerName } from "./names.ts";
import { sidecarDownstreamTls } from "./tls.ts";

export interface SidecarInboundInput extends OwnPort {
  readonly mesh: MeshSettings;
  readonly address: string;
  readonly port: number;
  readonly cors: readonly OwnCors[];
  readonly proxy: ProxySettings;
}

type FilterChain = MessageInitShape<typeof FilterChainSchema>;

/** A port of the workload as others see it: mutual TLS and policy, then on to the application. */
export function sidecarInbound(input: SidecarInboundInput): WireResource {
  const { mesh, address, port, mode, services, opaque, policies, proxy } = input;
  const name = inboundListenerName(address, port);
  const filters = opaque
    ? connectionFilters(policies, mesh, port)
    : [
        {
          name: "envoy.filters.network.http_connection_manager",
          configType: { case: "typedConfig" as const, value: manager(input) },
        },
      ];
  // What is in a connection may be TLS that is the application's own, and a server may be the one to speak first.
  const inspects = !opaque || mode !== "disable";
  const secured: FilterChain = {
    name: "inbound-mtls",
    filterChainMatch: { transportProtocol: "tls" },
    transportSocket: sidecarDownstreamTls(mesh, proxy, opaque ? [] : ["h2", "http/1.1"]),
    filters,
  };
  const plaintext: FilterChain = {
    name: "inbound-plaintext",
    filterChainMatch: { transportProtocol: "raw_buffer" },
    filters,
  };
  return wireResource(ListenerSchema, name, {
    name,
    address: socketAddress(address, port),
    // Tells TLS from plaintext before a chain is chosen.
    ...(inspects ? inspection(mode) : {}),
    filterChains: mode === "strict" ? [secured] : mode === "disable" ? [plaintext] : [secured, plaintext],
    ...(services.length === 0 ? {} : { metadata: { filterMetadata: serviceMetadata(services) } }),
  });
}

function inspection(mode: OwnPort["mode"]) {
  return {
    listenerFilters: [
      {
        name: "envoy.filters.listener.tls_inspector",
        configType: { case: "typedConfig" as const, value: pack(TlsInspectorSchema, {}) },
      },
    ],
    // Plaintext may hold its tongue; in that case it is plaintext.
    listenerFiltersTimeout: durationOf(5_000),
    continueOnListenerFiltersTimeout: mode !== "strict",
  };
}

function manager({ mesh, port, policies, cors }: SidecarInboundInput): ReturnType<typeof pack> {
  return pack(HttpConnectionManagerSchema, {
    statPrefix: `inbound_${port}`,
    routeSpecifier: {
      case: "routeConfig",
      value: {
        name: inboundClusterName(port),
        // Between meshes' ends only; the application must not take it for its own (wire.md).
        requestHeadersToRemove: ["x-trama-peer"],
        virtualHosts: serverHosts({ mesh }, cors, {
          case: "route",
          value: { clusterSpecifier: { case: "cluster", value: inboundClusterName(port) }, timeout: durationOf(0) },
        }),
      },
    },
    // What the policy compares and what the application gets is one and the same path; what can be read in two ways does not pass it.
    normalizePath: true,
    ...(policies.length === 0
      ? {}
      : {
          mergeSlashes: true,
          pathWithEscapedSlashesAction: HttpConnectionManager_PathWithEscapedSlashesAction.REJECT_REQUEST,
        }),
    // The application learns who called, and nobody can tell it anything else.
    forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE_SET,
    setCurrentClientCertDetails: { uri: true },
    httpFilters: [...accessFilters(policies, mesh), ...(cors.length === 0 ? [] : [corsFilter]), router],
  });
}

/** The application itself, spoken to in the protocol in which the call came. */
export function sidecarInboundCluster(
  port: number,
  { application }: ProxySettings,
  limits: PortLimits | undefined,
): WireResource {
  const name = inboundClusterName(port);
  return wireResource(ClusterSchema, name, {
    name,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    connectTimeout: durationOf(10_000),
    circuitBreakers: {
      thresholds: [
        {
          maxConnections: limits?.maxConnections ?? unlimited,
          maxPendingRequests: unlimited,
          maxRequests: limits?.maxRequests ?? unlimited,
          maxRetries: unlimited,
        },
      ],
    },
    typedExtensionProtocolOptions: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(HttpProtocolOptionsSchema, {
        upstreamProtocolOptions: {
          case: "useDownstreamProtocolConfig",
          value: { httpProtocolOptions: {}, http2ProtocolOptions: {} },
        },
      }),
    },
    loadAssignment: {
      clusterName: name,
      endpoints: [
        {
          lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: { address: socketAddress(application, port) } } }],
        },
      ],
    },
  });
}

export function socketAddress(
  address: string,
  port: number,
): {
  address: {
    case: "socketAddress";
    value: { address: string; portSpecifier: { case: "portValue"; value: number } };
  };
} {
  return {
    address: { case: "socketAddress", value: { address, portSpecifier: { case: "portValue", value: port } } },
  };
}
