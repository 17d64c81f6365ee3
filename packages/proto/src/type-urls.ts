import type { DescMessage } from "@bufbuild/protobuf";

const prefix = "type.googleapis.com/";

/** The type URLs by which the resource types of xDS are asked for and named. */
export const typeUrls = {
  listener: "type.googleapis.com/envoy.config.listener.v3.Listener",
  routeConfiguration: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
  cluster: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  clusterLoadAssignment: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  secret: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
} as const;

/** The type URL that an Any has which holds such a message. */
export function typeUrlOf(schema: DescMessage): string {
  return prefix + schema.typeName;
}
