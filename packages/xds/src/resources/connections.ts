import type { ConnectionConfig, OutlierConfig } from "@trama/engine";
import { HttpProtocolOptionsSchema } from "@trama/proto/lean";
import type { Cluster } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { Duration } from "@bufbuild/protobuf/wkt";
import type { Http2ProtocolOptions } from "@trama/proto/envoy/config/core/v3/protocol_pb.js";
import type { HttpProtocolOptions } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";

import { openAny } from "./any.ts";
import { durationMs } from "./duration.ts";
import { ResourceError, unsupported, within } from "./error.ts";
import { errorStatuses } from "./error-statuses.ts";
import { onlyFields } from "./fields.ts";

type Mutable = { -readonly [K in keyof ConnectionConfig]: ConnectionConfig[K] };

/** What a cluster's connections speak and how they live: `typed_extension_protocol_options` and `upstream_connection_options`. */
export function connections(cluster: Cluster): {
  readonly http2: boolean;
  readonly connections: ConnectionConfig | undefined;
  /** Answers that outlier detection takes for failures; `undefined`: 500 … 599. */
  readonly errorStatuses: OutlierConfig["errorStatuses"];
} {
  const found: Mutable = {
    idleTimeoutMs: undefined,
    maxDurationMs: undefined,
    maxRequests: undefined,
    maxStreams: undefined,
    keepAlive: undefined,
    tcpKeepAliveMs: undefined,
  };
  let http2 = false;
  let errors: OutlierConfig["errorStatuses"];
  if (cluster.http2ProtocolOptions !== undefined) {
    http2 = true;
    const options = cluster.http2ProtocolOptions;
    within("http2_protocol_options", () => readHttp2(options, found));
  }
  within("typed_extension_protocol_options", () => {
    for (const [name, any] of Object.entries(cluster.typedExtensionProtocolOptions)) {
      const typed = openAny(any);
      if (typed.typeName !== HttpProtocolOptionsSchema.typeName) return unsupported(name);
      const options = typed.as(HttpProtocolOptionsSchema);
      if (readOptions(options, found)) http2 = true;
      const matcher = options.outlierDetection?.errorMatcher;
      if (matcher !== undefined) errors = within("outlier_detection.error_matcher", () => errorStatuses(matcher));
    }
    return undefined;
  });
  const time = cluster.upstreamConnectionOptions?.tcpKeepalive?.keepaliveTime;
  if (time !== undefined && time > 0) found.tcpKeepAliveMs = time * 1_000;
  const said = Object.values(found).some((value) => value !== undefined);
  return { http2, connections: said ? found : undefined, errorStatuses: errors };
}

/** Returns whether HTTP/2 is spoken. */
function readOptions(options: HttpProtocolOptions, found: Mutable): boolean {
  onlyFields(
    options,
    ["commonHttpProtocolOptions", "upstreamProtocolOptions", "outlierDetection"],
    ["upstreamHttpProtocolOptions"],
  );
  const common = options.commonHttpProtocolOptions;
  if (common !== undefined) {
    // The rest bounds what a proxy passes on; the limits of our own parsers are fixed.
    const { idleTimeout, maxConnectionDuration, maxRequestsPerConnection } = common;
    if (idleTimeout !== undefined) found.idleTimeoutMs = durationMs(idleTimeout, "idle_timeout");
    if (maxConnectionDuration !== undefined)
      found.maxDurationMs = positive(maxConnectionDuration, "max_connection_duration");
    if (maxRequestsPerConnection !== undefined && maxRequestsPerConnection > 0)
      found.maxRequests = maxRequestsPerConnection;
  }
  const { upstreamProtocolOptions: upstream } = options;
  if (upstream.case === "explicitHttpConfig") {
    const { protocolConfig } = upstream.value;
    if (protocolConfig.case === "http3ProtocolOptions") return unsupported("http3_protocol_options");
    if (protocolConfig.case !== "http2ProtocolOptions") return false;
    readHttp2(protocolConfig.value, found);
    return true;
  }
  // In a process there is no other caller than the application: HTTP clients speak HTTP/1.1, gRPC clients HTTP/2, as ever.
  if (upstream.case === "useDownstreamProtocolConfig" && upstream.value.http2ProtocolOptions !== undefined)
    readHttp2(upstream.value.http2ProtocolOptions, found);
  return false;
}

/** Windows and buffers of a proxy are passed over: ours are fixed (dataplane.md §8). */
function readHttp2({ maxConcurrentStreams, connectionKeepalive }: Http2ProtocolOptions, found: Mutable): void {
  if (maxConcurrentStreams !== undefined) {
    if (maxConcurrentStreams < 1) throw new ResourceError("max_concurrent_streams must be at least 1");
    found.maxStreams = maxConcurrentStreams;
  }
  if (connectionKeepalive?.interval === undefined) return;
  if (connectionKeepalive.timeout === undefined) throw new ResourceError("connection_keepalive.timeout is missing");
  found.keepAlive = {
    intervalMs: positive(connectionKeepalive.interval, "connection_keepalive.interval"),
    timeoutMs: positive(connectionKeepalive.timeout, "connection_keepalive.timeout"),
  };
}

/** Envoy asks for at least a millisecond. */
function positive(duration: Duration, field: string): number {
  const ms = durationMs(duration, field);
  if (ms < 1) throw new ResourceError(`${field} must be at least a millisecond`);
  return ms;
}
