import type {
  ClusterConfig,
  EndpointConfig,
  FilterConfig,
  ForwardAction,
  HealthCheckConfig,
  InboundListener,
  LocalityEndpoints,
  MeshConfig,
  OutboundListener,
  OutlierConfig,
  RetryPolicy,
  RouteConfig,
  VirtualHost,
} from "@trama/engine";

// Builders that make a MeshConfig short: each takes what the test is about and fills in what a plain mesh would have.

export function endpoint(address: string, overrides: Partial<EndpointConfig> = {}): EndpointConfig {
  const colon = address.lastIndexOf(":");
  // A Unix socket is its own text, and has no port.
  const pipe = /^[/@]/.test(address);
  return {
    address,
    host: pipe ? address : address.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: pipe ? 0 : Number(address.slice(colon + 1)),
    weight: 1,
    health: "healthy",
    tlsMode: "",
    workload: "",
    ...overrides,
  };
}

/** `n` endpoints with addresses of their own. */
export function endpoints(
  n: number,
  overrides: (at: number) => Partial<EndpointConfig> = () => ({}),
): EndpointConfig[] {
  return Array.from({ length: n }, (_, at) =>
    endpoint(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}:80`, overrides(at)),
  );
}

export function locality(
  list: readonly EndpointConfig[],
  overrides: { zone?: string; weight?: number } = {},
): LocalityEndpoints {
  return {
    locality: { region: "r1", zone: overrides.zone ?? "z1", subZone: "" },
    weight: overrides.weight ?? 1,
    endpoints: list,
  };
}

export interface ClusterOptions extends Partial<Omit<ClusterConfig, "endpoints" | "breaker">> {
  /** One locality of priority 0, or the whole of it. */
  readonly endpoints?: readonly EndpointConfig[];
  readonly priorities?: readonly (readonly LocalityEndpoints[])[];
  readonly drops?: ClusterConfig["endpoints"]["drops"];
  readonly breaker?: Partial<ClusterConfig["breaker"]>;
}

export function cluster(name: string, options: ClusterOptions = {}): ClusterConfig {
  const { endpoints: list, priorities, drops, breaker, ...rest } = options;
  const host = name.split("|")[3] ?? name;
  const [short = host, namespace = "default"] = host.split(".");
  return {
    name,
    service: { host, name: short, namespace },
    balancer: { kind: "least_request", choices: 2 },
    endpoints: {
      name,
      priorities: priorities ?? [[locality(list ?? [endpoint("10.0.0.1:80")])]],
      drops: drops ?? [],
    },
    connectTimeoutMs: 5_000,
    tls: undefined,
    tlsByMode: new Map(),
    breaker: {
      maxConnections: 1_024,
      maxPending: 1_024,
      maxRequests: 1_024,
      maxRetries: 1_024,
      retryBudget: undefined,
      ...breaker,
    },
    http2: false,
    ...rest,
  };
}

/** Envoy's defaults, which are nobody's wish: rates are judged, gateway failures are not. */
export function outlier(overrides: Partial<OutlierConfig> = {}): OutlierConfig {
  return {
    consecutive5xx: 5,
    enforcingConsecutive5xx: 100,
    consecutiveGatewayFailure: 5,
    enforcingConsecutiveGatewayFailure: 0,
    splitLocalOrigin: false,
    consecutiveLocalOrigin: 5,
    enforcingConsecutiveLocalOrigin: 100,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    maxEjectionMs: 300_000,
    maxEjectionJitterMs: 0,
    maxEjectionPercent: 10,
    alwaysEjectOne: false,
    successRate: { minHosts: 5, requestVolume: 100, stdevFactor: 1_900, enforcing: 100, enforcingLocalOrigin: 100 },
    failurePercentage: { threshold: 85, minHosts: 5, requestVolume: 50, enforcing: 0, enforcingLocalOrigin: 0 },
    unejectOnHealthCheck: true,
    errorStatuses: undefined,
    probing: true,
    ...overrides,
  };
}

/** Every second, three failures or two successes in a row. */
export function healthCheck(overrides: Partial<HealthCheckConfig> = {}): HealthCheckConfig {
  const intervalMs = overrides.intervalMs ?? 1_000;
  return {
    ask: { kind: "tcp" },
    timeoutMs: 500,
    intervalMs,
    initialJitterMs: 0,
    intervalJitterMs: 0,
    intervalJitterPercent: 0,
    unhealthyThreshold: 3,
    healthyThreshold: 2,
    noTrafficIntervalMs: 60_000,
    noTrafficHealthyIntervalMs: 60_000,
    unhealthyIntervalMs: intervalMs,
    unhealthyEdgeIntervalMs: intervalMs,
    healthyEdgeIntervalMs: intervalMs,
    ...overrides,
  };
}

export function retryPolicy(overrides: Partial<RetryPolicy> = {}): RetryPolicy {
  return {
    retryOn: ["5xx"],
    statusCodes: [],
    retries: 2,
    perTryTimeoutMs: undefined,
    backoffBaseMs: 25,
    backoffMaxMs: 250,
    avoidPreviousHosts: false,
    hostSelectionAttempts: 5,
    ...overrides,
  };
}

/** A forward to one cluster, or to several by weight. */
export function forward(to: string | Record<string, number>, overrides: Partial<ForwardAction> = {}): ForwardAction {
  const weights = typeof to === "string" ? { [to]: 1 } : to;
  return {
    kind: "forward",
    clusters: Object.entries(weights).map(([name, weight]) => ({ name, weight, overrides: new Map() })),
    timeoutMs: undefined,
    retry: undefined,
    ...overrides,
  };
}

export interface RouteOptions extends Partial<Omit<RouteConfig, "match">> {
  readonly prefix?: string;
  readonly match?: Partial<RouteConfig["match"]>;
}

export function route(action: RouteConfig["action"], options: RouteOptions = {}): RouteConfig {
  const { prefix, match, ...rest } = options;
  return {
    name: "default",
    match: {
      path: { kind: "prefix", value: prefix ?? "/", ignoreCase: false },
      headers: [],
      query: [],
      fractionPerMillion: undefined,
      ...match,
    },
    overrides: new Map(),
    ...rest,
    action,
  };
}

export function virtualHost(routes: readonly RouteConfig[], overrides: Partial<VirtualHost> = {}): VirtualHost {
  return { name: "all", domains: ["*"], retry: undefined, overrides: new Map(), ...overrides, routes };
}

export function listener(
  name: string,
  routes: readonly RouteConfig[],
  filters: readonly FilterConfig[] = [],
): OutboundListener {
  return { name, filters, routes: { name, virtualHosts: [virtualHost(routes)] } };
}

export function inboundListener(name: string, overrides: Partial<InboundListener> = {}): InboundListener {
  return {
    name,
    chains: [],
    defaultChain: undefined,
    service: { host: "reviews.shop.svc.cluster.local", name: "reviews", namespace: "shop" },
    ...overrides,
  };
}

/** A chain that takes every connection and lets the application answer. */
export function chain(
  name: string,
  overrides: Partial<InboundListener["chains"][number]> = {},
): InboundListener["chains"][number] {
  return {
    name,
    match: {
      transportProtocol: undefined,
      destinationPrefixes: [],
      sourceType: "any",
      sourcePrefixes: [],
      sourcePorts: [],
    },
    tls: undefined,
    filters: [],
    routes: { name, virtualHosts: [virtualHost([route({ kind: "non_forwarding" })])] },
    ...overrides,
  };
}

export function meshConfig(parts: {
  outbound?: readonly OutboundListener[];
  inbound?: readonly InboundListener[];
  clusters?: readonly ClusterConfig[];
}): MeshConfig {
  return {
    outbound: new Map((parts.outbound ?? []).map((each) => [each.name, each])),
    inbound: new Map((parts.inbound ?? []).map((each) => [each.name, each])),
    clusters: new Map((parts.clusters ?? []).map((each) => [each.name, each])),
  };
}
