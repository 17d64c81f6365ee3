import type * as z from "zod";

import { message } from "./message.ts";
import { count } from "./values.ts";

/** `connectionPool` of a workload's own ports as validated (istio-api §8); `undefined` stands for absent and for 0 alike: no limit. */
export interface InboundPoolSpec {
  readonly tcp: { readonly maxConnections?: number | undefined };
  readonly http: { readonly http2MaxRequests?: number | undefined };
}

const proxys = "it is about the connection from a proxy to its application, and there is none; remove it";
const servers =
  "connections of a server are its own: set keepAliveTimeout or maxRequestsPerSocket on it, remove it here";
const noQueue = "a request never waits for the application here; http2MaxRequests bounds those that are at it";

/**
 * The two limits that a server has in its own process. The message is that of a DestinationRule, whose other fields are about a caller.
 */
export const inboundPool: z.ZodType<InboundPoolSpec> = message({
  tcp: message(
    { maxConnections: count.optional() },
    { connectTimeout: proxys, tcpKeepalive: servers, maxConnectionDuration: servers, idleTimeout: servers },
  ).default({}),
  http: message(
    { http2MaxRequests: count.optional() },
    {
      http1MaxPendingRequests: noQueue,
      maxRequestsPerConnection: servers,
      maxRetries: proxys,
      idleTimeout: servers,
      h2UpgradePolicy: proxys,
      useClientProtocol: proxys,
      maxConcurrentStreams: "http2MaxRequests bounds all requests of a port; remove it",
      http2KeepAlive: servers,
    },
  ).default({}),
}).refine(
  ({ tcp, http }) => tcp.maxConnections !== undefined || http.http2MaxRequests !== undefined,
  "limits nothing: write tcp.maxConnections or http.http2MaxRequests, or remove it",
);
