import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { expect, test } from "vitest";

import { any, duration, edsCluster } from "../../../../test/kit/xds-resources.ts";
import { clusterType, type DecodedCluster } from "./cluster.ts";

type Options = MessageInitShape<typeof HttpProtocolOptionsSchema>;

function read(options: Options, more: Parameters<typeof edsCluster>[1] = {}): DecodedCluster {
  const typedExtensionProtocolOptions = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(HttpProtocolOptionsSchema, options),
  };
  const bytes = toBinary(ClusterSchema, edsCluster("outbound|80||a.b", { typedExtensionProtocolOptions, ...more }));
  return clusterType.decode(bytes, { regex: () => undefined, certificateProviders: new Set() }).value;
}

const http2 = (value: object): NonNullable<Options["upstreamProtocolOptions"]> => ({
  case: "explicitHttpConfig",
  value: { protocolConfig: { case: "http2ProtocolOptions", value } },
});

test("how connections live, whatever they speak", () => {
  const { connections } = read(
    {
      commonHttpProtocolOptions: {
        idleTimeout: duration(20_000),
        maxConnectionDuration: duration(600_000),
        maxRequestsPerConnection: 100,
      },
      upstreamProtocolOptions: http2({
        maxConcurrentStreams: 50,
        connectionKeepalive: { interval: duration(10_000), timeout: duration(1_500) },
      }),
    },
    { upstreamConnectionOptions: { tcpKeepalive: { keepaliveTime: 30 } } },
  );
  expect(connections).toEqual({
    idleTimeoutMs: 20_000,
    maxDurationMs: 600_000,
    maxRequests: 100,
    maxStreams: 50,
    keepAlive: { intervalMs: 10_000, timeoutMs: 1_500 },
    tcpKeepAliveMs: 30_000,
  });
});

test("what Envoy writes as no limit is none, and an idle time of zero is said", () => {
  const { connections } = read({
    commonHttpProtocolOptions: { idleTimeout: duration(0), maxRequestsPerConnection: 0 },
  });
  expect(connections).toMatchObject({ idleTimeoutMs: 0, maxRequests: undefined });
});

test("the caller's protocol is HTTP/1.1 for what no gRPC client sends", () => {
  const { http2: spoken, connections } = read({
    upstreamProtocolOptions: {
      case: "useDownstreamProtocolConfig",
      value: { httpProtocolOptions: {}, http2ProtocolOptions: { maxConcurrentStreams: 7 } },
    },
  });
  expect(spoken).toBe(false);
  expect(connections).toMatchObject({ maxStreams: 7 });
});

test.each([
  ["max_concurrent_streams must be at least 1", { upstreamProtocolOptions: http2({ maxConcurrentStreams: 0 }) }],
  [
    "connection_keepalive.timeout is missing",
    { upstreamProtocolOptions: http2({ connectionKeepalive: { interval: duration(1_000) } }) },
  ],
  [
    "connection_keepalive.interval must be at least a millisecond",
    {
      upstreamProtocolOptions: http2({ connectionKeepalive: { interval: duration(0), timeout: duration(1_000) } }),
    },
  ],
  [
    "max_connection_duration must be at least a millisecond",
    { commonHttpProtocolOptions: { maxConnectionDuration: duration(0) } },
  ],
] satisfies [string, Options][])("%s", (message, options) => {
  expect(() => read(options)).toThrow(message);
});

test("a plain cluster says nothing of its connections", () => {
  const bytes = toBinary(ClusterSchema, create(ClusterSchema, edsCluster("outbound|80||a.b")));
  const { value } = clusterType.decode(bytes, { regex: () => undefined, certificateProviders: new Set() });
  expect([value.http2, value.connections]).toEqual([false, undefined]);
});
