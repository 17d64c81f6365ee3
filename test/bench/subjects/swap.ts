import { createEngine, emptyConfig } from "@trama/engine";
import type { ClusterConfig, EndpointConfig, EndpointSet, MeshConfig, RouteConfig } from "@trama/engine";
import { serveSubject } from "../subject.ts";

/** How long one `publish` holds the event loop when the readiness of one of 10,000 endpoints changes. */
const endpointCount = 10_000;
const rounds = 60;

const endpoints = Array.from({ length: endpointCount }, (_, index) => endpointAt(index, "healthy"));
const route: RouteConfig = {
  name: "default",
  match: {
    path: { kind: "prefix", value: "/", ignoreCase: false },
    headers: [],
    query: [],
    fractionPerMillion: undefined,
  },
  action: {
    kind: "forward",
    clusters: [{ name: "big", weight: 1, overrides: new Map() }],
    timeoutMs: undefined,
    retry: undefined,
  },
  overrides: new Map(),
};
const outbound: MeshConfig["outbound"] = new Map([
  [
    "big:8080",
    {
      name: "big:8080",
      filters: [],
      routes: {
        name: "big",
        virtualHosts: [{ name: "big", domains: ["*"], routes: [route], retry: undefined, overrides: new Map() }],
      },
    },
  ],
]);

const engine = createEngine({
  clock: {
    now: () => performance.now(),
    wall: () => Date.now(),
    after: () => ({ cancel() {} }),
    set() {},
    unset() {},
    stalled: () => 0,
  },
  random: Math.random,
  telemetry: { onCall() {} },
  log: console,
  regex: () => ({ matches: () => false, replace: (text) => text }),
});
engine.publish(configOf(endpoints));
const took: number[] = [];
for (let round = 0; round < rounds; round++) {
  const at = (round * 163) % endpointCount;
  // The decoder reuses what did not change (R14): all objects but one are the same.
  const changed = endpoints.with(at, endpointAt(at, round % 2 === 0 ? "unhealthy" : "healthy"));
  const config = configOf(changed);
  const startMs = performance.now();
  engine.publish(config);
  took.push(performance.now() - startMs);
}
// The first rounds run before the optimising compiler has seen the code, as a change does in a service that has just started.
await serveSubject({
  ready: {
    firstMs: took[0] ?? NaN,
    medianMs: took.toSorted((a, b) => a - b)[rounds >> 1] ?? NaN,
    maxMs: Math.max(...took),
  },
  close: () => engine.close(0),
});

function endpointAt(index: number, health: EndpointConfig["health"]): EndpointConfig {
  const host = `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
  return {
    address: `${host}:8080`,
    host,
    port: 8080,
    weight: 1,
    health,
    tlsMode: "istio",
    workload: "big;bench;big;v1;Kubernetes",
  };
}

function configOf(all: readonly EndpointConfig[]): MeshConfig {
  const set: EndpointSet = {
    name: "big",
    priorities: [[{ locality: { region: "r", zone: "z", subZone: "" }, weight: 1, endpoints: all }]],
    drops: [],
  };
  const cluster: ClusterConfig = {
    name: "big",
    service: undefined,
    balancer: { kind: "least_request", choices: 2 },
    endpoints: set,
    connectTimeoutMs: 10_000,
    tls: undefined,
    tlsByMode: new Map(),
    breaker: { maxConnections: 1024, maxPending: 1024, maxRequests: 1024, maxRetries: 3, retryBudget: undefined },
    http2: false,
  };
  return { ...emptyConfig, outbound, clusters: new Map([["big", cluster]]) };
}
