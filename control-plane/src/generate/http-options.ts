import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type {
  Http2ProtocolOptionsSchema,
  HttpProtocolOptionsSchema as CommonOptionsSchema,
} from "@trama/proto/envoy/config/core/v3/protocol_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";

import type { ConnectionPool, TrafficPolicy } from "../model/destination.ts";
import type { ServicePort } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";
import { errorMatcher } from "./outlier.ts";
import { durationOf, pack } from "./wire.ts";

type ClusterInit = MessageInitShape<typeof ClusterSchema>;
type Options = MessageInitShape<typeof HttpProtocolOptionsSchema>;

/** The protocol in which a port is called: `client` is that of the call which is passed on. */
export function protocolOf(port: ServicePort, pool: ConnectionPool | undefined): "http1" | "http2" | "client" {
  if (pool?.protocol === "client") return "client";
  return port.protocol === "http2" || pool?.protocol === "http2" ? "http2" : "http1";
}

/** How connections of a cluster live and what they speak. What is not said stays off the wire: the client's own default holds. */
export function httpOptions(
  port: ServicePort,
  traffic: Partial<TrafficPolicy>,
  kind: NodeView["kind"],
): Pick<ClusterInit, "typedExtensionProtocolOptions"> {
  const { pool } = traffic;
  const common = commonOptions(pool);
  const errors = errorMatcher(traffic, kind);
  const needed = common !== undefined || errors !== undefined;
  const upstream = upstreamOptions(protocolOf(port, pool), needed, pool);
  if (upstream === undefined) return {};
  return {
    typedExtensionProtocolOptions: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(HttpProtocolOptionsSchema, {
        ...(common === undefined ? {} : { commonHttpProtocolOptions: common }),
        upstreamProtocolOptions: upstream,
        ...(errors === undefined ? {} : { outlierDetection: { errorMatcher: errors } }),
      }),
    },
  };
}

export function keepAlive({ pool }: Partial<TrafficPolicy>): Pick<ClusterInit, "upstreamConnectionOptions"> {
  const ms = pool?.tcpKeepAliveMs;
  return ms === undefined ? {} : { upstreamConnectionOptions: { tcpKeepalive: { keepaliveTime: ms / 1_000 } } };
}

function commonOptions(pool: ConnectionPool | undefined): MessageInitShape<typeof CommonOptionsSchema> | undefined {
  const { idleTimeoutMs, maxConnectionDurationMs, maxRequestsPerConnection } = pool ?? {};
  if (idleTimeoutMs === undefined && maxConnectionDurationMs === undefined && maxRequestsPerConnection === undefined)
    return undefined;
  return {
    ...(idleTimeoutMs === undefined ? {} : { idleTimeout: durationOf(idleTimeoutMs) }),
    ...(maxConnectionDurationMs === undefined ? {} : { maxConnectionDuration: durationOf(maxConnectionDurationMs) }),
    ...(maxRequestsPerConnection === undefined ? {} : { maxRequestsPerConnection }),
  };
}

/** gRPC and h2c do not negotiate in plaintext: it is always said. HTTP/1.1 is what everyone speaks without a word. */
function upstreamOptions(
  protocol: ReturnType<typeof protocolOf>,
  needed: boolean,
  pool: ConnectionPool | undefined,
): Options["upstreamProtocolOptions"] {
  const http2ProtocolOptions = http2Options(pool);
  if (protocol === "client")
    return { case: "useDownstreamProtocolConfig", value: { httpProtocolOptions: {}, http2ProtocolOptions } };
  if (protocol === "http2")
    return {
      case: "explicitHttpConfig",
      value: { protocolConfig: { case: "http2ProtocolOptions", value: http2ProtocolOptions } },
    };
  if (!needed) return undefined;
  return { case: "explicitHttpConfig", value: { protocolConfig: { case: "httpProtocolOptions", value: {} } } };
}

function http2Options(pool: ConnectionPool | undefined): MessageInitShape<typeof Http2ProtocolOptionsSchema> {
  const { maxStreams, http2KeepAlive } = pool ?? {};
  return {
    ...(maxStreams === undefined ? {} : { maxConcurrentStreams: maxStreams }),
    ...(http2KeepAlive === undefined
      ? {}
      : {
          connectionKeepalive: {
            interval: durationOf(http2KeepAlive.intervalMs),
            timeout: durationOf(http2KeepAlive.timeoutMs),
          },
        }),
  };
}
