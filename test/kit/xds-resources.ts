import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Any, Duration } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { typeUrlOf } from "@trama/proto";
import {
  ClusterSchema,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
} from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import type { RouteSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { CorsSchema } from "@trama/proto/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RouterSchema } from "@trama/proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import type { HttpFilterSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

/** Short ways to resources in the shapes of docs/wire.md. Each returns a message that a test may bend before it is sent. */

export function any<T extends DescMessage>(schema: T, message: MessageInitShape<T> | MessageShape<T>): Any {
  return create(AnySchema, {
    typeUrl: typeUrlOf(schema),
    value: toBinary(schema, create(schema, message as MessageInitShape<T>)),
  });
}

export function duration(ms: number): Duration {
  const seconds = Math.floor(ms / 1000);
  return {
    $typeName: "google.protobuf.Duration",
    seconds: BigInt(seconds),
    nanos: Math.round((ms - seconds * 1000) * 1e6),
  };
}

type FilterInit = MessageInitShape<typeof HttpFilterSchema>;
type RouteInit = MessageInitShape<typeof RouteSchema>;

export function httpFilter<T extends DescMessage>(name: string, schema: T, message: MessageInitShape<T>): FilterInit {
  return { name, configType: { case: "typedConfig", value: any(schema, message) } };
}

export const routerFilter: FilterInit = httpFilter("envoy.filters.http.router", RouterSchema, {});
export const faultFilter: FilterInit = httpFilter("envoy.filters.http.fault", HTTPFaultSchema, {});

export const corsFilter: FilterInit = httpFilter("envoy.filters.http.cors", CorsSchema, {});

/** An outbound listener `host:port` that takes its routes by RDS. */
export function outboundListener(
  name: string,
  routeConfigName: string,
  filters: FilterInit[] = [faultFilter, routerFilter],
): MessageShape<typeof ListenerSchema> {
  const manager = {
    routeSpecifier: { case: "rds", value: { configSource: ads, routeConfigName } },
    httpFilters: filters,
  } as const;
  return create(ListenerSchema, {
    name,
    apiListener: { apiListener: any(HttpConnectionManagerSchema, manager) },
  });
}

const ads = { configSourceSpecifier: { case: "ads", value: {} } } as const;

/** Routes of one virtual host; a text among them is a cluster that takes everything. */
export function routeConfiguration(
  name: string,
  domains: string[],
  routes: (RouteInit | string)[],
): MessageShape<typeof RouteConfigurationSchema> {
  return create(RouteConfigurationSchema, {
    name,
    virtualHosts: [{ name, domains, routes: routes.map((one) => (typeof one === "string" ? routeTo(one) : one)) }],
  });
}

/** Prefix `/` to a cluster, or to several by weight. */
export function routeTo(cluster: string | Readonly<Record<string, number>>, prefix = "/"): RouteInit {
  const clusterSpecifier =
    typeof cluster === "string"
      ? ({ case: "cluster", value: cluster } as const)
      : ({
          case: "weightedClusters",
          value: { clusters: Object.entries(cluster).map(([name, weight]) => ({ name, weight })) },
        } as const);
  return {
    name: "default",
    match: { pathSpecifier: { case: "prefix", value: prefix } },
    action: { case: "route", value: { clusterSpecifier, timeout: duration(0) } },
  };
}

export function edsCluster(
  name: string,
  more: Exclude<MessageInitShape<typeof ClusterSchema>, MessageShape<typeof ClusterSchema>> = {},
): MessageShape<typeof ClusterSchema> {
  return create(ClusterSchema, {
    name,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: ads, serviceName: name },
    lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
    connectTimeout: duration(1_000),
    ...more,
  });
}

/** The TLS of a mesh client as Istio writes it: instances in the current and the deprecated fields (I23). */
export function upstreamTlsContext(subjectNames: string[]): Any {
  return any(UpstreamTlsContextSchema, {
    sni: "outbound_.80_._.reviews",
    commonTlsContext: {
      tlsCertificateProviderInstance: { instanceName: "default", certificateName: "default" },
      tlsCertificateCertificateProviderInstance: { instanceName: "default", certificateName: "default" },
      validationContextType: {
        case: "combinedValidationContext",
        value: {
          defaultValidationContext: {
            caCertificateProviderInstance: { instanceName: "default", certificateName: "ROOTCA" },
            matchSubjectAltNames: subjectNames.map((value) => ({ matchPattern: { case: "exact", value } as const })),
          },
          validationContextCertificateProviderInstance: { instanceName: "default", certificateName: "ROOTCA" },
        },
      },
    },
  });
}

export function downstreamTlsContext(): Any {
  return any(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: {
      tlsCertificateProviderInstance: { instanceName: "default", certificateName: "default" },
      validationContextType: {
        case: "combinedValidationContext",
        value: {
          defaultValidationContext: {
            caCertificateProviderInstance: { instanceName: "default", certificateName: "ROOTCA" },
          },
        },
      },
    },
  });
}

export interface EndpointInit {
  readonly address: string;
  readonly port: number;
  readonly tlsMode?: string;
  readonly workload?: string;
  readonly weight?: number;
  readonly health?: number;
}

/** Endpoints in one locality of weight 1 and priority 0. */
export function assignment(
  clusterName: string,
  endpoints: readonly EndpointInit[],
): MessageShape<typeof ClusterLoadAssignmentSchema> {
  return create(ClusterLoadAssignmentSchema, {
    clusterName,
    endpoints: endpoints.length === 0 ? [] : [locality(endpoints)],
  });
}

type LocalityInit = NonNullable<MessageInitShape<typeof ClusterLoadAssignmentSchema>["endpoints"]>[number];

export function locality(endpoints: readonly EndpointInit[], more: Partial<LocalityInit> = {}): LocalityInit {
  return {
    locality: { region: "r", zone: "z" },
    loadBalancingWeight: 1,
    lbEndpoints: endpoints.map(({ address, port, tlsMode, workload, weight, health }) => ({
      hostIdentifier: { case: "endpoint", value: { address: socketAddress(address, port) } } as const,
      ...(weight !== undefined && { loadBalancingWeight: weight }),
      ...(health !== undefined && { healthStatus: health }),
      ...((tlsMode !== undefined || workload !== undefined) && {
        metadata: {
          filterMetadata: {
            ...(tlsMode !== undefined && { "envoy.transport_socket_match": { tlsMode } }),
            ...(workload !== undefined && { istio: { workload } }),
          },
        },
      }),
    })),
    ...more,
  } as LocalityInit;
}

export function socketAddress(
  address: string,
  port: number,
): MessageInitShape<typeof ListenerSchema>["address"] & object {
  return {
    address: { case: "socketAddress", value: { address, portSpecifier: { case: "portValue", value: port } } },
  };
}

type ChainInit = NonNullable<MessageInitShape<typeof ListenerSchema>["filterChains"]>[number];

/** A chain of an inbound listener: inline routes to the application, filters before it. */
export function inboundChain(name: string, filters: FilterInit[] = [], more: Partial<ChainInit> = {}): ChainInit {
  const routeConfig = {
    name,
    virtualHosts: [
      {
        name: "inbound",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "nonForwardingAction", value: {} },
          },
        ],
      },
    ],
  } as const;
  const manager = {
    routeSpecifier: { case: "routeConfig", value: routeConfig },
    httpFilters: [...filters, routerFilter],
  } as unknown as MessageInitShape<typeof HttpConnectionManagerSchema>;
  const filter = { name: "hcm", configType: { case: "typedConfig", value: any(HttpConnectionManagerSchema, manager) } };
  return { name, filters: [filter], ...more } as ChainInit;
}

/** `ip:port`, named by Istio's template. */
export function inboundListener(
  address: string,
  port: number,
  chains: ChainInit[],
): MessageShape<typeof ListenerSchema> {
  return create(ListenerSchema, {
    name: `xds.istio.io/grpc/lds/inbound/${address}:${port}`,
    address: socketAddress(address, port),
    filterChains: chains,
  });
}
