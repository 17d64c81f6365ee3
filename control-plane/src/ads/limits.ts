import { status } from "@grpc/grpc-js";

/** Ends a stream: a status and a text for the client. */
export class StreamFault extends Error {
  override readonly name = "StreamFault";
  readonly code: status;

  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** Bounds on what one client can make this server hold (S30), and the times after which it is given up. */
export interface AdsLimits {
  /** Largest message that is received: gRPC's own default. */
  readonly maxMessageBytes: number;
  readonly maxNamesPerRequest: number;
  readonly maxNamesPerStream: number;
  readonly maxNameLength: number;
  readonly maxTypesPerStream: number;
  /** Counted as text: keys and values. */
  readonly maxMetadataLength: number;
  readonly maxMetadataDepth: number;
  readonly maxStreams: number;
  /** One identity may be many replicas. */
  readonly maxStreamsPerIdentity: number;
  /** A partial response is cut here and continued after its ACK, because clients receive 4 MiB by default. */
  readonly maxResponseBytes: number;
  /** New streams per second, and how many may come at once (S29). */
  readonly acceptRate: number;
  readonly acceptBurst: number;
  /** A stream whose first request does not come by then ends. */
  readonly firstRequestMs: number;
  /** A client that does not take a response from the wire by then is cut (S26). */
  readonly sendTimeoutMs: number;
  /** How long a push may wait for the ACK of one that should come before it (S18); a client may never give it. */
  readonly orderHoldMs: number;
  /** After the first request of a type, removals wait this long for the requests of the types that refer to it. */
  readonly settleMs: number;
  /** How long a stream outlives the proof of identity that opened it (S36). */
  readonly expiryGraceMs: number;
  /** Age of a connection at which its streams end, ± 10 % (S27). */
  readonly maxConnectionAgeMs: number;
}

export const defaultLimits: AdsLimits = {
  maxMessageBytes: 4 * 1_024 * 1_024,
  maxNamesPerRequest: 10_000,
  maxNamesPerStream: 50_000,
  maxNameLength: 1_024,
  maxTypesPerStream: 32,
  maxMetadataLength: 65_536,
  maxMetadataDepth: 8,
  maxStreams: 10_000,
  maxStreamsPerIdentity: 2_000,
  maxResponseBytes: 3 * 1_024 * 1_024,
  acceptRate: 500,
  acceptBurst: 2_000,
  firstRequestMs: 20_000,
  sendTimeoutMs: 10_000,
  orderHoldMs: 5_000,
  settleMs: 100,
  expiryGraceMs: 30_000,
  maxConnectionAgeMs: 1_800_000,
};

/** Checks the names of one request. */
export function checkNames(names: readonly string[], limits: AdsLimits): void {
  if (names.length > limits.maxNamesPerRequest)
    throw new StreamFault(
      status.RESOURCE_EXHAUSTED,
      `${names.length} resource names in one request; at most ${limits.maxNamesPerRequest} are taken`,
    );
  for (const name of names) {
    if (name.length > limits.maxNameLength)
      throw new StreamFault(
        status.INVALID_ARGUMENT,
        `a resource name of ${name.length} characters; at most ${limits.maxNameLength} are taken`,
      );
  }
}
