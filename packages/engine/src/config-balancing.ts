// The part of MeshConfig that says which endpoint a call goes to.

/**
 * What of a call is hashed (Envoy `RouteAction.hash_policy`, gRFC A42). A policy whose source is absent says nothing; the hashes of
 * several are combined in order, and a `terminal` one ends the list as soon as there is a hash.
 */
export type HashPolicy = HashSource & { readonly terminal: boolean };

export type HashSource =
  | {
      readonly kind: "header";
      /** Lower case; `:authority`, `:method` and `:path` are the pseudo headers. */
      readonly name: string;
      /** RE2, applied to every match in the value before it is hashed. */
      readonly rewrite: { readonly pattern: string; readonly substitution: string } | undefined;
    }
  | {
      readonly kind: "cookie";
      readonly name: string;
      /**
       * A caller without the cookie is given one, with this life; 0: until the browser closes; `undefined`: it is given none.
       * Whole seconds on the wire of HTTP.
       */
      readonly ttlMs: number | undefined;
      /** Empty: none. */
      readonly path: string;
      /** Of a cookie that is given; an empty value is an attribute without one (`Secure`). */
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    }
  /** Address of the caller: of the connection that the call came in by, else the workload's own. */
  | { readonly kind: "source_ip" }
  | { readonly kind: "query"; readonly name: string }
  /** The same for all calls to one listener from this process (`io.grpc.channel_id`). */
  | { readonly kind: "channel" };

export type BalancerConfig =
  | { readonly kind: "round_robin"; readonly slowStart?: SlowStartConfig | undefined }
  | {
      readonly kind: "least_request";
      /** Power of two choices; so many hosts are drawn a pick, at least 2. */
      readonly choices: number;
      /** Only with unequal weights: `weight / (active + 1) ^ bias`. Default 1; 0 is a weighted rotation (Envoy `active_request_bias`). */
      readonly bias?: number | undefined;
      readonly slowStart?: SlowStartConfig | undefined;
    }
  | { readonly kind: "random" }
  /** All calls to the first endpoint of the list, or of one shuffled once a process (gRFC A62). */
  | { readonly kind: "pick_first"; readonly shuffle: boolean }
  | RingHashConfig
  | MaglevConfig
  | PeakEwmaConfig;

/**
 * An endpoint that has just become ready gets a share that grows from `minPercent` of its weight to all of it within `windowMs`:
 * `weight × max(minPercent, (age / window) ^ (1 / aggression))` (Envoy `slow_start_config`, Istio `warmup`).
 */
export interface SlowStartConfig {
  readonly windowMs: number;
  /** 0 … 100; default on the wire 10. */
  readonly minPercent: number;
  /** > 0; 1 is linear, more gives more in the beginning. */
  readonly aggression: number;
}

/** Consistent hashing on a ring of points (ketama), point for point that of Envoy and gRPC (R47). */
export interface RingHashConfig {
  readonly kind: "ring_hash";
  /** Points; default 1024. */
  readonly minSize: number;
  /** Points; default and bound 8388608. */
  readonly maxSize: number;
  /** See {@link MaglevConfig.balanceFactor}. */
  readonly balanceFactor: number | undefined;
}

/** Consistent hashing by a table that gives each endpoint its exact share, entry for entry that of Envoy. */
export interface MaglevConfig {
  readonly kind: "maglev";
  /** A prime up to 5000011; default 65537. */
  readonly tableSize: number;
  /**
   * At least 100: an endpoint with more than this percentage of the average attempts in flight passes its keys on
   * (Envoy `hash_balance_factor`); `undefined`: it never does.
   */
  readonly balanceFactor: number | undefined;
}

/**
 * Least load by latency (Linkerd's and Finagle's peak EWMA): of two drawn endpoints the one of the lower
 * `latency × (attempts in flight + 1)`. A failure counts as a latency of `penaltyMs`, for what fails fast must not look fast.
 */
export interface PeakEwmaConfig {
  readonly kind: "peak_ewma";
  /** How long a measurement counts; a peak is taken at once, a fall in this time. Default 10 s. */
  readonly decayMs: number;
  /** Of an endpoint that was not measured yet. Default 10 ms. */
  readonly defaultRttMs: number;
  /** Default 5 s. */
  readonly penaltyMs: number;
}
