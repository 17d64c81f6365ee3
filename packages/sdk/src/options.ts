import type { Logger } from "@trama/engine";

/**
 * How a process joins the mesh. Every option can also come from an environment variable, so that `joinMesh()` without
 * any is the usual form; what is given in code wins.
 */
export interface MeshOptions {
  /**
   * `host:port` of the control plane (ADS and certificates, TLS). `TRAMA_CONTROL_PLANE`. Required unless `bootstrap` is
   * given. Istio: `discoveryAddress`.
   */
  readonly controlPlane?: string | undefined;
  /** Name in the control plane's certificate, where it is not the dialled host. `TRAMA_CONTROL_PLANE_NAME`. */
  readonly controlPlaneName?: string | undefined;
  /**
   * PEM file of the root(s) that vouch for the control plane and for every peer; all blocks are read, anew for each
   * connection (I3). `TRAMA_ROOT_CERT_FILE`. Istio: `./var/run/secrets/istio/root-cert.pem`.
   */
  readonly rootCertFile?: string | undefined;
  /** The same as PEM text. `TRAMA_ROOT_CERT`. */
  readonly rootCert?: string | undefined;
  /** Join token: a JWT that says which service account this process is (I4, I8). `TRAMA_TOKEN`. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** File with the join token, read anew for each use, for a platform that renews it. `TRAMA_TOKEN_FILE`. */
  readonly tokenFile?: string | undefined;
  /**
   * A gRPC xDS bootstrap (gRFC A27): path of a file. Node, servers and certificate providers are taken from it.
   * `TRAMA_BOOTSTRAP`, or gRPC's own `GRPC_XDS_BOOTSTRAP` and `GRPC_XDS_BOOTSTRAP_CONFIG`. Instead of `controlPlane` and what belongs
   * to it. Without `certificate_providers.default` in it the process has no certificate: it calls in plaintext where policy says so,
   * and its servers serve nobody.
   */
  readonly bootstrap?: string | undefined;
  /** Namespace of this workload. Default: that of the token's subject. `TRAMA_NAMESPACE`. Istio: `NAMESPACE`. */
  readonly namespace?: string | undefined;
  /** Service account. Default: that of the token's subject. `TRAMA_SERVICE_ACCOUNT`. Istio: `SERVICE_ACCOUNT`. */
  readonly serviceAccount?: string | undefined;
  /** Name of the workload, for telemetry. Default: the service account. `TRAMA_WORKLOAD`. Istio: `WORKLOAD_NAME`. */
  readonly workload?: string | undefined;
  /** Labels of the workload: they choose policies. `TRAMA_LABELS` as `app=reviews,version=v1`. Istio: `LABELS`. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** The workload's own address, by which Istio recognises it (I13). Default: 127.0.0.1. `TRAMA_ADDRESS`. Istio: `INSTANCE_IPS`. */
  readonly address?: string | undefined;
  /**
   * Where this process runs, `region/zone/subzone` or the first of these: calls go to the nearest endpoints where the policy says so.
   * Default: nowhere in particular, every endpoint is equally near. `TRAMA_LOCALITY`. Istio: `node.locality`.
   */
  readonly locality?: string | undefined;
  /** Name of the Kubernetes cluster, where tokens are reviewed by several (I5). Default: `Kubernetes`. `TRAMA_CLUSTER_ID`. */
  readonly clusterId?: string | undefined;
  /**
   * What becomes of calls to hosts that the mesh does not know: `ALLOW_ANY` (default) lets them pass as they are,
   * `REGISTRY_ONLY` fails them with `BLOCKED`. Loopback is never touched. `TRAMA_OUTBOUND_TRAFFIC_POLICY`.
   * Istio: `outboundTrafficPolicy.mode`.
   */
  readonly outboundTrafficPolicy?: "ALLOW_ANY" | "REGISTRY_ONLY" | undefined;
  /**
   * Folder for key, certificate and last good configuration (mode 0600), so that a process can start while the control plane is
   * away. Default: none, all stays in memory. `TRAMA_IDENTITY_DIR`. Istio: `OUTPUT_CERTS`.
   */
  readonly identityDir?: string | undefined;
  /** Asked life of the certificate in seconds, 10 to 7,776,000 (90 days). Default 86,400. `TRAMA_CERTIFICATE_LIFE_SECONDS`. Istio: `SECRET_TTL`. */
  readonly certificateLifeSeconds?: number | undefined;
  /** How long `joinMesh` waits for identity and control plane, 100 to 600,000. Default 20,000. `TRAMA_JOIN_TIMEOUT_MS`. */
  readonly joinTimeoutMs?: number | undefined;
  /** How long a call to a new host waits for its configuration, 100 to 600,000. Default 10,000. `TRAMA_DISCOVERY_TIMEOUT_MS`. */
  readonly discoveryTimeoutMs?: number | undefined;
  /**
   * How long servers keep serving after `close` began, so that clients let go of their connections (theirs idle for 4 s),
   * 0 to 600,000. Default 5,000. `TRAMA_DRAIN_MS`. Istio: `terminationDrainDuration`.
   */
  readonly drainMs?: number | undefined;
  /** When the servers of this process refuse requests for their own sake (docs/policy.md, Overload). Default: never. */
  readonly overload?: OverloadOptions | undefined;
  /** What is told apart in the metrics (docs/metrics.md). */
  readonly metrics?: MetricsChoice | undefined;
  /** Where messages for people go; a pino logger or `console` will do. Default: warnings and errors to stderr. */
  readonly log?: Logger | undefined;
}

export interface MetricsChoice {
  /**
   * How many gRPC methods get series of their own, 0 to 10,000: their calls, durations and messages carry a label
   * `request_operation="package.Service/Method"`. Methods past that number, and those that no server registered, are `other`. Default 0: no
   * such label. `TRAMA_METRICS_GRPC_METHODS`. Istio: `tagOverrides` with `request_operation`.
   */
  readonly grpcMethods?: number | undefined;
}

/**
 * A refused request is answered 503 with `x-envoy-overloaded`, gRPC UNAVAILABLE, before its body is read and before any other policy.
 * Envoy: the overload manager's `stop_accepting_requests`, and the filter `adaptive_concurrency`.
 */
export interface OverloadOptions {
  /**
   * From this delay of the event loop on (over a quarter of a second, weighted by time) a growing share is refused, at twice of it all.
   * Milliseconds, 10 to 60,000; 0 = off (default). `TRAMA_OVERLOAD_LOOP_DELAY_MS`.
   */
  readonly loopDelayMs?: number | undefined;
  /** The same for the share of its time that the loop is busy, in percent, 1 to 99, all at 100; 0 = off (default). `TRAMA_OVERLOAD_UTILIZATION_PERCENT`. */
  readonly utilizationPercent?: number | undefined;
  /**
   * Bounds how many requests are under way by their latency; at most so many, 1 to 1,000,000; 0 = off (default). Envoy: `max_concurrency_limit`.
   * `TRAMA_OVERLOAD_MAX_CONCURRENCY`.
   */
  readonly maxConcurrency?: number | undefined;
  /** At least so many, and all while latency is measured without queues: every minute, over 50 requests. Default 3. Envoy: `min_concurrency`. `TRAMA_OVERLOAD_MIN_CONCURRENCY`. */
  readonly minConcurrency?: number | undefined;
  /** Paths without query that are never refused, by a limit of the port neither, besides those of gRPC's health service. Default `/healthz`, `/livez`, `/readyz`. `TRAMA_OVERLOAD_EXEMPT` with commas. */
  readonly exempt?: readonly string[] | undefined;
}
