import type { InboundLimits, ServiceInfo } from "@trama/engine";
import { HttpConnectionManagerSchema, ListenerSchema, TrafficDirection, typeUrls } from "@trama/proto/lean";
import type { Metadata } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { Listener } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import type { HttpConnectionManager } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import { type Typed, decode, openAny } from "./any.ts";
import { ResourceError, each, within } from "./error.ts";
import { onlyFields, refuseFields } from "./fields.ts";
import { type DecodedChain, type DecodedHttp, filterChain, uniqueMatches } from "./filter-chain.ts";
import { httpFilters } from "./filters/chain.ts";
import { opaqueOutbound } from "./opaque-listener.ts";
import { routeConfiguration } from "./route.ts";
import { serviceInfo } from "./cluster.ts";
import type { DecodeOptions, ResourceType } from "./type.ts";

/** A listener whose routes may still have to be fetched. */
export type DecodedListener = DecodedOutbound | DecodedInbound;

export interface DecodedOutbound {
  readonly kind: "outbound";
  readonly http: DecodedHttp;
  /** `http` is then about connections; see `OutboundListener.opaque`. */
  readonly opaque: boolean;
}

export interface DecodedInbound {
  readonly kind: "inbound";
  /** `ip:port`, IPv6 in brackets; must be what is bound (R60). */
  readonly address: string;
  readonly chains: readonly DecodedChain[];
  readonly defaultChain: DecodedChain | undefined;
  readonly service: ServiceInfo | undefined;
  readonly limits: InboundLimits | undefined;
}

export const listenerType: ResourceType<DecodedListener> = {
  typeUrl: typeUrls.listener,
  decode(bytes, options) {
    const listener = decode(ListenerSchema, bytes);
    if (listener.name === "") throw new ResourceError("name is empty");
    return { name: listener.name, value: sided(listener, options) };
  },
};

function sided(listener: Listener, options: DecodeOptions): DecodedListener {
  if (listener.apiListener !== undefined) return outbound(listener, options);
  if (listener.trafficDirection !== TrafficDirection.OUTBOUND) return inbound(listener, options);
  onlyFields(
    listener,
    ["name", "filterChains", "defaultFilterChain", "trafficDirection"],
    ["address", "listenerFilters", ...harmless],
  );
  return { kind: "outbound", opaque: true, http: opaqueOutbound(listener) };
}

/** An ApiListener is for a library: nothing of it is about sockets, so only the connection manager inside counts. */
function outbound(listener: Listener, options: DecodeOptions): DecodedOutbound {
  return within("api_listener", () => {
    const any = listener.apiListener?.apiListener;
    if (any === undefined) throw new ResourceError("api_listener is empty");
    return { kind: "outbound", opaque: false, http: connectionManager(openAny(any), "outbound", options) };
  });
}

/** S44, R60, R61. */
function inbound(listener: Listener, options: DecodeOptions): DecodedInbound {
  onlyFields(listener, ["name", "address", "filterChains", "defaultFilterChain", "metadata"], harmless);
  const chains = each("filter_chains", listener.filterChains, (chain) => {
    return filterChain(chain, options, (typed) => connectionManager(typed, "inbound", options));
  });
  uniqueMatches(chains);
  const { defaultFilterChain } = listener;
  const defaultChain =
    defaultFilterChain &&
    within("default_filter_chain", () =>
      filterChain(defaultFilterChain, options, (typed) => connectionManager(typed, "inbound", options)),
    );
  if (chains.length === 0 && defaultChain === undefined) throw new ResourceError("there is no filter chain");
  return {
    kind: "inbound",
    address: within("address", () => boundAddress(listener)),
    // What can never match here was checked, and is not carried further.
    chains: chains.filter((chain) => chain.matchable),
    defaultChain,
    service: serviceInfo(listener.metadata),
    limits: within("metadata", () => inboundLimits(listener.metadata)),
  };
}

/**
 * `metadata.filter_metadata["trama.inbound_limits"]`: `max_connections` and `max_requests`. Envoy has them in the cluster behind an
 * inbound listener, and behind one that is for a library there is none.
 */
function inboundLimits(metadata: Metadata | undefined): InboundLimits | undefined {
  const own = metadata?.filterMetadata["trama.inbound_limits"];
  if (own === undefined) return undefined;
  const limit = (key: string): number | undefined => {
    const value: unknown = own[key];
    if (value === undefined || (Number.isInteger(value) && (value as number) >= 1)) return value as number | undefined;
    throw new ResourceError(`trama.inbound_limits.${key} is no whole number from 1 on`);
  };
  return { maxConnections: limit("max_connections"), maxRequests: limit("max_requests") };
}

/** How a proxy would hold its sockets. */
const harmless: readonly (keyof Listener)[] = [
  "statPrefix",
  "trafficDirection",
  "perConnectionBufferLimitBytes",
  "drainType",
  "listenerFiltersTimeout",
  "continueOnListenerFiltersTimeout",
  "socketOptions",
  "freebind",
  "tcpFastOpenQueueLength",
  "connectionBalanceConfig",
  "reusePort",
  "enableReusePort",
  "tcpBacklogSize",
  "maxConnectionsToAcceptPerSocketEvent",
  "bindToPort",
  "accessLog",
  "enableMptcp",
  "ignoreGlobalConnLimit",
  "bypassOverloadManager",
  "deprecatedV1",
];

function boundAddress(listener: Listener): string {
  const socket = listener.address?.address;
  if (socket?.case !== "socketAddress" || socket.value.portSpecifier.case !== "portValue") {
    throw new ResourceError("an inbound listener needs a socket_address with port_value");
  }
  const { address } = socket.value;
  const port = socket.value.portSpecifier.value;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Most of its fields are how a proxy speaks HTTP. Those that would change who is believed, or what is sent, are refused. */
function connectionManager(typed: Typed, side: "outbound" | "inbound", options: DecodeOptions): DecodedHttp {
  if (typed.typeName !== HttpConnectionManagerSchema.typeName) {
    throw new ResourceError(`${typed.typeName} is not supported; use HttpConnectionManager`);
  }
  const manager = typed.as(HttpConnectionManagerSchema);
  refuseFields(manager, [
    "xffNumTrustedHops",
    "originalIpDetectionExtensions",
    "earlyHeaderMutationExtensions",
    "localReplyConfig",
  ]);
  return { filters: httpFilters(manager.httpFilters, side, options), routes: routes(manager, options) };
}

function routes({ routeSpecifier: one }: HttpConnectionManager, options: DecodeOptions): DecodedHttp["routes"] {
  switch (one.case) {
    case "rds": {
      const source = one.value.configSource?.configSourceSpecifier.case;
      if (source !== "ads" && source !== "self") throw new ResourceError("rds.config_source must be ads or self");
      if (one.value.routeConfigName === "") throw new ResourceError("rds.route_config_name is empty");
      return { rds: one.value.routeConfigName };
    }
    case "routeConfig":
      return within("route_config", () => routeConfiguration(one.value, options));
    case "scopedRoutes":
      throw new ResourceError("scoped_routes is not supported by this release; use rds or route_config");
    case undefined:
      throw new ResourceError("neither rds nor route_config is given");
  }
}
