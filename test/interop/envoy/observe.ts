import type { MessageInitShape } from "@bufbuild/protobuf";
import { ComparisonFilter_Op } from "@trama/proto/envoy/config/accesslog/v3/accesslog_pb.js";
import type { HeaderValueOptionSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import type { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { RouterSchema } from "@trama/proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import { any, httpFilter, socketAddress } from "../../kit/xds-resources.ts";
import type { WireResponse } from "../oracle/http1.ts";

export type Init<T extends Parameters<typeof any>[0]> = Exclude<MessageInitShape<T>, { $typeName: string }>;
export type ManagerInit = Init<typeof HttpConnectionManagerSchema>;
export type HttpFilterInit = NonNullable<ManagerInit["httpFilters"]>[number];
export type NetworkFilterInit = NonNullable<
  NonNullable<Init<typeof ListenerSchema>["filterChains"]>[number]["filters"]
>[number];

/** What Envoy said of one request. */
export interface Told {
  /** `via_upstream`, `route_not_found`, `direct_response`, …; empty when Envoy closed the connection instead. */
  readonly details: string;
  readonly route: string;
  readonly cluster: string;
}

export function toldBy(response: WireResponse): Told {
  const { headers } = response;
  return {
    details: headers.get("x-local-details") ?? headers.get("x-told-details") ?? "",
    route: headers.get("x-local-route") ?? headers.get("x-told-route") ?? "",
    cluster: headers.get("x-told-cluster") ?? "",
  };
}

function header(key: string, value: string): Init<typeof HeaderValueOptionSchema> {
  return { header: { key, value }, keepEmptyValue: true };
}

/** Envoy substitutes `-` for what it does not know; a route without a name is `-` as well. */
const route = "%ROUTE_NAME%";
const details = "%RESPONSE_CODE_DETAILS%";

/** A listener on a free port of loopback, with such a connection manager. */
export function observingListener(
  name: string,
  ...manager: Parameters<typeof observingManager>
): Init<typeof ListenerSchema> {
  return {
    name,
    address: socketAddress("127.0.0.1", 0),
    filterChains: [{ filters: [observingManager(...manager)] }],
  };
}

/**
 * A connection manager that tells what it decided, and else passes requests on as they are: nothing is added, normalised or
 * taken away. What adapters do to a request is tested elsewhere; here the same text must get the same verdict.
 */
export function observingManager(
  routes: Init<typeof RouteConfigurationSchema>,
  filters: readonly HttpFilterInit[],
  /** More to be told, by Envoy's format strings: in `x-told-0`, `x-told-1`, … */
  more: readonly string[] = [],
): NetworkFilterInit {
  const manager: ManagerInit = {
    statPrefix: "oracle",
    routeSpecifier: {
      case: "routeConfig",
      value: {
        ...routes,
        // As in dynamic configuration: a route to a cluster that is not there is answered.
        validateClusters: false,
        responseHeadersToAdd: [
          header("x-told-cluster", "%UPSTREAM_CLUSTER_RAW%"),
          header("x-told-route", route),
          header("x-told-details", details),
          ...more.map((format, at) => header(`x-told-${at}`, format)),
        ],
      },
    },
    // What Envoy answers itself before it has a route carries no header of the routes.
    localReplyConfig: {
      mappers: [
        {
          filter: {
            filterSpecifier: {
              case: "statusCodeFilter",
              value: {
                comparison: { op: ComparisonFilter_Op.GE, value: { defaultValue: 100, runtimeKey: "oracle.status" } },
              },
            },
          },
          headersToAdd: [header("x-local-route", route), header("x-local-details", details)],
        },
      ],
    },
    generateRequestId: false,
    skipXffAppend: true,
    httpFilters: [...filters, httpFilter("envoy.filters.http.router", RouterSchema, { suppressEnvoyHeaders: true })],
  };
  return {
    name: "envoy.filters.network.http_connection_manager",
    configType: { case: "typedConfig", value: any(HttpConnectionManagerSchema, manager) },
  };
}
