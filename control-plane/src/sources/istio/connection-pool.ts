import * as z from "zod";

import { message } from "./message.ts";
import { count, duration, durationOrOff, fail, whole } from "./values.ts";

/** `connectionPool` of a DestinationRule as validated (istio-api §3.4). `undefined` stands for absent and for 0 alike: both mean the default. */
export interface ConnectionPoolSpec {
  readonly tcp: {
    readonly maxConnections?: number | undefined;
    readonly connectTimeout?: number | undefined;
    readonly tcpKeepalive?: { readonly time?: number | undefined } | undefined;
    readonly maxConnectionDuration?: number | undefined;
    /** 0: never. */
    readonly idleTimeout?: number | undefined;
  };
  readonly http: {
    readonly http1MaxPendingRequests?: number | undefined;
    readonly http2MaxRequests?: number | undefined;
    readonly maxRetries?: number | undefined;
    readonly maxRequestsPerConnection?: number | undefined;
    /** 0: never. */
    readonly idleTimeout?: number | undefined;
    readonly h2UpgradePolicy: "DEFAULT" | "DO_NOT_UPGRADE" | "UPGRADE";
    readonly useClientProtocol: boolean;
    readonly maxConcurrentStreams?: number | undefined;
    readonly http2KeepAlive?: { readonly interval: number; readonly timeout: number } | undefined;
  };
}

const probes =
  "Node sets the time before the first probe only; set probes and intervals in the operating system, remove it";

/** On the wire a whole number of seconds, so less than one cannot be said. */
const wholeSeconds = duration.transform((ms, context) =>
  ms % 1_000 === 0 ? ms : fail(context, "must be a whole number of seconds"),
);

const http = message({
  http1MaxPendingRequests: count.optional(),
  http2MaxRequests: count.optional(),
  maxRetries: count.optional(),
  maxRequestsPerConnection: count.optional(),
  idleTimeout: durationOrOff.optional(),
  h2UpgradePolicy: z.enum(["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]).default("DEFAULT"),
  useClientProtocol: z.boolean().default(false),
  maxConcurrentStreams: whole(0, 2_147_483_647, "a number of streams")
    .transform((n) => (n === 0 ? undefined : n))
    .optional(),
  http2KeepAlive: message({ interval: duration, timeout: duration }).optional(),
}).refine(
  ({ h2UpgradePolicy, useClientProtocol }) => h2UpgradePolicy !== "UPGRADE" || !useClientProtocol,
  "h2UpgradePolicy UPGRADE and useClientProtocol contradict each other: remove one of the two",
);

export const connectionPool: z.ZodType<ConnectionPoolSpec> = message({
  tcp: message({
    maxConnections: count.optional(),
    connectTimeout: duration.optional(),
    tcpKeepalive: message({ time: wholeSeconds.optional() }, { probes, interval: probes })
      .refine(({ time }) => time !== undefined, "says nothing: write time, or remove it")
      .optional(),
    maxConnectionDuration: duration.optional(),
    idleTimeout: durationOrOff.optional(),
  }).default({}),
  http: http.default({ h2UpgradePolicy: "DEFAULT", useClientProtocol: false }),
});
