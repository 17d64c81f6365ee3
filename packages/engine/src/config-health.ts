/**
 * Active health checking (Envoy's `HealthCheck`): every endpoint is asked by itself, whether there is traffic or not.
 * Times in milliseconds; what a decoder was not told has Envoy's default, in brackets.
 */
export interface HealthCheckConfig {
  readonly ask: HealthQuestion;
  /** How long an answer may take, and from the end of one check to the begin of the next. */
  readonly timeoutMs: number;
  readonly intervalMs: number;
  /** By chance before the first check (0), and added to each interval (0), the latter also in percent of it (0). */
  readonly initialJitterMs: number;
  readonly intervalJitterMs: number;
  readonly intervalJitterPercent: number;
  /** Failures in a row that make an endpoint unhealthy, and successes that make it healthy again; at least 1. */
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  /** Instead of the interval as long as nobody called the cluster (60 s); and if it is healthy then (the same). */
  readonly noTrafficIntervalMs: number;
  readonly noTrafficHealthyIntervalMs: number;
  /** Instead of the interval while unhealthy, and right after it became so or became healthy (the interval). */
  readonly unhealthyIntervalMs: number;
  readonly unhealthyEdgeIntervalMs: number;
  readonly healthyEdgeIntervalMs: number;
}

export type HealthQuestion =
  | HttpHealthQuestion
  /** Whether a connection can be made. */
  | { readonly kind: "tcp" }
  /** grpc.health.v1; SERVING is healthy. */
  | { readonly kind: "grpc"; readonly service: string; readonly authority: string };

export interface HttpHealthQuestion {
  readonly kind: "http";
  /** Empty: the name of the cluster. */
  readonly authority: string;
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  /** Both bounds included; empty: 200. Another status is a failure at once, unless `retriable` has it. */
  readonly expected: readonly { readonly from: number; readonly to: number }[];
  readonly retriable: readonly { readonly from: number; readonly to: number }[];
  readonly http2: boolean;
}

/**
 * Outlier detection (Envoy's `OutlierDetection`, gRFC A50): which endpoints are left out for a while because of how they
 * answered. The decoder has applied Envoy's defaults, which are given in brackets. `enforcing…` is the chance in percent
 * that a detected outlier is really ejected; a consecutive count of 0 never detects anything.
 */
export interface OutlierConfig {
  /** Answers 5xx in a row, failures of our own side included unless they are split off (5, enforcing 100). */
  readonly consecutive5xx: number;
  readonly enforcingConsecutive5xx: number;
  /** Of those only 502, 503 and 504 (5, enforcing 0). */
  readonly consecutiveGatewayFailure: number;
  readonly enforcingConsecutiveGatewayFailure: number;
  /** Count connects, resets and time-outs apart from answers (false). */
  readonly splitLocalOrigin: boolean;
  /** Failures of our own side in a row; only when split (5, enforcing 100). */
  readonly consecutiveLocalOrigin: number;
  readonly enforcingConsecutiveLocalOrigin: number;
  /** Between sweeps, which judge rates and let endpoints come back (10 s). */
  readonly intervalMs: number;
  /** Times the number of ejections, up to `maxEjectionMs` (30 s; 300 s, never less than the base). */
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  /** At most so much is added by chance, so that not all come back at once (0). */
  readonly maxEjectionJitterMs: number;
  /** Share of all endpoints that may be out at a time (10), and whether one may always be (false). */
  readonly maxEjectionPercent: number;
  readonly alwaysEjectOne: boolean;
  readonly successRate: {
    /** Endpoints with enough requests for the rates to be compared at all (5), and what is enough in an interval (100). */
    readonly minHosts: number;
    readonly requestVolume: number;
    /** Thousandths of a standard deviation below the mean at which an endpoint is an outlier (1900). */
    readonly stdevFactor: number;
    /** 100; and of our own side's failures, when split (100). */
    readonly enforcing: number;
    readonly enforcingLocalOrigin: number;
  };
  readonly failurePercentage: {
    /** Percent of failures from which on an endpoint is an outlier (85). */
    readonly threshold: number;
    readonly minHosts: number;
    /** 50. */
    readonly requestVolume: number;
    /** 0 and 0. */
    readonly enforcing: number;
    readonly enforcingLocalOrigin: number;
  };
  /** An active health check that succeeds ends an ejection (true). */
  readonly unejectOnHealthCheck: boolean;
  /**
   * Statuses that count as failures, instead of 500 … 599: bounds included (Istio's `outlierDetectionHttpErrorCodes`). One
   * below 500 counts as a 500.
   */
  readonly errorStatuses: readonly { readonly from: number; readonly to: number }[] | undefined;
  /**
   * An endpoint whose time is over gets one request first, of those that may be repeated elsewhere, and comes back when
   * that is answered well. Without it, as in Envoy, it gets its whole share at once (true).
   */
  readonly probing: boolean;
}
