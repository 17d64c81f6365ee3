import type { ResponseFlag } from "./errors.ts";
import type { ClusterInfo, EndpointConfig } from "./config.ts";

/**
 * What telemetry, access logs and tests want to know of one call. One object of fixed shape per call; layers write
 * plain fields, and whoever ends the call hands it once to `Telemetry.onCall`.
 */
export class CallRecord {
  /** Monotonic milliseconds. */
  readonly startMs: number;
  endMs = 0;
  /** Status the caller saw, or the one Envoy would have answered for an error; 0 = nobody was left to answer. */
  status = 0;
  /** gRPC status, -1 when not gRPC or not known. */
  grpcStatus = -1;
  flag: ResponseFlag = "-";
  /** Route name from the configuration; empty text before the match. */
  route = "";
  cluster: ClusterInfo | undefined = undefined;
  /** Endpoint of the last attempt. */
  endpoint: EndpointConfig | undefined = undefined;
  /** Attempts that were really started. */
  attempts = 0;
  /** Whether the connection that answered was mutually authenticated. */
  mtls = false;
  /** SPIFFE id of the other end, when known. */
  peerPrincipal: string | undefined = undefined;
  /** `workload;namespace;service;revision;cluster;app;version` of the other end, when known. */
  peerWorkload: string | undefined = undefined;
  responseBytes = 0;
  /** Messages of a gRPC call, counted by its adapter. */
  requestMessages = 0;
  responseMessages = 0;
  /** How many of them telemetry has counted already, while the call was open. */
  countedRequestMessages = 0;
  countedResponseMessages = 0;
  /** Whether a connection took it: who the other end is, is known from then on. */
  reached = false;
  /**
   * Path of a gRPC method that exists, as far as the adapter knows: at a client what it called, at a server only what somebody
   * registered (gRFC A66: anybody can make paths up). Empty text: none.
   */
  operation = "";

  constructor(startMs: number) {
    this.startMs = startMs;
  }
}
