import { create, fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { typeUrls } from "@trama/proto";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { AddressSchema } from "@trama/proto/envoy/config/core/v3/address_pb.js";
import { ApiConfigSource_ApiType, ApiVersion } from "@trama/proto/envoy/config/core/v3/config_source_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import type { Listener } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import type { RouteConfiguration } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import type { HttpConnectionManager } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";

import type { WireResource } from "../../../../control-plane/src/snapshot.ts";
import { any, duration, faultFilter, routerFilter, socketAddress } from "../../../kit/xds-resources.ts";
import type { ManagerInit } from "../observe.ts";
import type { BootstrapInit } from "../process.ts";
import { staticSecrets, withSecrets } from "./tls.ts";

type StaticInit = NonNullable<BootstrapInit["staticResources"]>;
type ListenerInit = NonNullable<StaticInit["listeners"]>[number];
type ClusterInit = NonNullable<StaticInit["clusters"]>[number];

/**
 * The resources as static ones of a bootstrap, which `envoy --mode validate` checks as it would check a dynamic one. What a
 * library's listener holds goes into a listener of a port; a route configuration goes into a connection manager.
 */
export function validationBootstrap(resources: readonly WireResource[]): BootstrapInit {
  const listeners: ListenerInit[] = [];
  const clusters: ClusterInit[] = [adsCluster];
  for (const { typeUrl, bytes } of resources) {
    if (typeUrl === typeUrls.cluster) clusters.push(cluster(bytes));
    else if (typeUrl === typeUrls.listener) listeners.push(boundListener(fromBinary(ListenerSchema, bytes)));
    else if (typeUrl === typeUrls.routeConfiguration) {
      const routes = fromBinary(RouteConfigurationSchema, bytes);
      // The clusters that it names come on their own; whether they are there is the contract test's question.
      routes.validateClusters = false;
      listeners.push(withManager(`routes ${routes.name}`, forRoutes(routes)));
    }
  }
  return {
    node: { id: "validate", cluster: "validate" },
    dynamicResources: {
      adsConfig: {
        apiType: ApiConfigSource_ApiType.DELTA_GRPC,
        transportApiVersion: ApiVersion.V3,
        grpcServices: [{ targetSpecifier: { case: "envoyGrpc", value: { clusterName: "ads" } } }],
      },
    },
    staticResources: { listeners, clusters, secrets: staticSecrets() },
  };
}

function cluster(bytes: Uint8Array): ClusterInit {
  const message = fromBinary(ClusterSchema, bytes);
  withSecrets(message.transportSocket);
  for (const { transportSocket } of message.transportSocketMatches) withSecrets(transportSocket);
  // A list of balancers is there to be passed along until one is known. Of this one Envoy has the messages, and no code in its image.
  if (message.loadBalancingPolicy !== undefined)
    message.loadBalancingPolicy.policies = message.loadBalancingPolicy.policies.filter(
      ({ typedExtensionConfig }) => !typedExtensionConfig?.typedConfig?.typeUrl.endsWith(".peak_ewma.v3alpha.PeakEwma"),
    );
  return message;
}

function boundListener(listener: Listener): ListenerInit {
  const api = listener.apiListener?.apiListener;
  for (const { transportSocket } of listener.filterChains) withSecrets(transportSocket);
  // A library opens no port for connections that it makes itself.
  if (api === undefined) {
    listener.address ??= create(AddressSchema, anyPort);
    return listener;
  }
  const manager = anyUnpack(api, HttpConnectionManagerSchema);
  if (manager === undefined) throw new Error(`listener ${listener.name} has no HttpConnectionManager inside`);
  // A library needs no prefix for its statistics; everything else must do as it is.
  return withManager(listener.name, create(HttpConnectionManagerSchema, { ...manager, statPrefix: "api" }));
}

function forRoutes(value: RouteConfiguration): HttpConnectionManager {
  return create(HttpConnectionManagerSchema, {
    statPrefix: "routes",
    routeSpecifier: { case: "routeConfig", value },
    httpFilters: [faultFilter, routerFilter],
  } as ManagerInit);
}

function withManager(name: string, manager: HttpConnectionManager): ListenerInit {
  const typed = any(HttpConnectionManagerSchema, manager);
  const filter = {
    name: "envoy.filters.network.http_connection_manager",
    configType: { case: "typedConfig", value: typed },
  } as const;
  return { name, address: anyPort, filterChains: [{ filters: [filter] }] };
}

const anyPort = socketAddress("127.0.0.1", 0);

const adsCluster: ClusterInit = {
  name: "ads",
  connectTimeout: duration(1_000),
  typedExtensionProtocolOptions: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(HttpProtocolOptionsSchema, {
      upstreamProtocolOptions: {
        case: "explicitHttpConfig",
        value: { protocolConfig: { case: "http2ProtocolOptions", value: {} } },
      },
    }),
  },
};
