import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { RouteConfiguration } from "@trama/engine";
import { typeUrls } from "@trama/proto";
import { RE2JS } from "re2js";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";

import { ConfigStore } from "../../control-plane/src/config-store.ts";
import { goldenConfig } from "../../control-plane/test/kit/golden-config.ts";
import { defaultMesh } from "../../control-plane/src/model/mesh.ts";
import type { NodeView, Snapshot } from "../../control-plane/src/snapshot.ts";
import { type DecodedCluster, clusterType } from "../../packages/xds/src/resources/cluster.ts";
import { endpointType } from "../../packages/xds/src/resources/endpoint.ts";
import { type DecodedListener, listenerType } from "../../packages/xds/src/resources/listener.ts";
import { routeType } from "../../packages/xds/src/resources/route.ts";
import type { DecodeOptions, ResourceType } from "../../packages/xds/src/resources/type.ts";

// What our control plane sends, our client takes: no NACK, no name that leads nowhere (S19), and the meaning survives.
const root = join(import.meta.dirname, "../..");
const options: DecodeOptions = {
  regex: (pattern) => RE2JS.compile(pattern),
  certificateProviders: new Set(["default"]),
};

const someNode: NodeView = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: { app: "client" },
  addresses: ["10.0.0.9"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};

function snapshotOf(texts: readonly string[]): Snapshot {
  const files = new Map(texts.map((text, index) => [`${index}.yaml`, { text }]));
  return new ConfigStore(defaultMesh).apply(files).snapshot ?? expect.fail("nothing to serve");
}

function ask<T>(snapshot: Snapshot, node: NodeView, type: ResourceType<T>, name: string): T {
  const resource = snapshot.resource(node, type.typeUrl, name) ?? expect.fail(`${name} does not exist`);
  const decoded = type.decode(resource.bytes, options);
  expect(decoded.name).toBe(name);
  return decoded.value;
}

/** Goes from every listener to every endpoint, as a client does; returns how many clusters it came to. */
function follow(snapshot: Snapshot, node: NodeView): number {
  const clusters = new Set(snapshot.names(node, typeUrls.cluster));
  for (const name of snapshot.names(node, typeUrls.listener)) {
    const listener = ask(snapshot, node, listenerType, name);
    const routes = routesOf(snapshot, node, listener);
    // Those of an opaque port are server names.
    if (!isOpaque(listener)) expect(routes.virtualHosts[0]?.domains).toContain(name);
    for (const cluster of targets(routes)) clusters.add(cluster);
  }
  for (const name of clusters) {
    // What a gRPC library cannot reach does not exist for it.
    if (node.kind === "grpc" && snapshot.resource(node, typeUrls.cluster, name) === undefined) continue;
    const { endpoints, dns } = ask(snapshot, node, clusterType, name);
    if ("eds" in endpoints) ask(snapshot, node, endpointType, endpoints.eds);
    else expect(dns, `${name} has neither EDS nor names`).toBeDefined();
  }
  return clusters.size;
}

/** By name, for a port of requests; for an opaque one they stand in the listener. */
function routesOf(snapshot: Snapshot, node: NodeView, listener: DecodedListener): RouteConfiguration {
  const routes = listener.kind === "outbound" ? listener.http.routes : expect.fail("no outbound listener");
  expect("rds" in routes).toBe(!isOpaque(listener));
  return "rds" in routes ? ask(snapshot, node, routeType, routes.rds) : routes;
}

function isOpaque(listener: DecodedListener): boolean {
  return listener.kind === "outbound" && listener.opaque;
}

function targets({ virtualHosts }: RouteConfiguration): readonly string[] {
  return virtualHosts
    .flatMap(({ routes }) => routes)
    .flatMap(({ action }) => (action.kind === "forward" ? action.clusters.map(({ name }) => name) : []));
}

function inbound(snapshot: Snapshot, node: NodeView, address: string): DecodedListener & { kind: "inbound" } {
  const listener = ask(snapshot, node, listenerType, `xds.istio.io/grpc/lds/inbound/${address}`);
  return listener.kind === "inbound" ? listener : expect.fail("no inbound listener");
}

describe("golden inputs", () => {
  const testdata = join(root, "control-plane/testdata");
  for (const stage of ["listeners", "routes", "clusters", "endpoints"]) {
    for (const file of readdirSync(join(testdata, stage)).filter((name) => name.endsWith(".in.yaml"))) {
      test(`${stage}/${file}`, () => {
        const input = readFileSync(join(testdata, stage, file), "utf8");
        const end = input.indexOf("\n---\n");
        const snapshot = goldenConfig(input.slice(end + 5), file).snapshot ?? expect.fail("nothing to serve");
        const questions = parse(input.slice(0, end)) as readonly { node?: Partial<NodeView>; ask: readonly string[] }[];
        for (const { node: part, ask: asked } of questions) {
          const node = { ...someNode, ...part };
          if (node.kind === "envoy") continue;
          follow(snapshot, node);
          const prefix = "lds xds.istio.io/grpc/lds/inbound/";
          for (const address of asked.filter((each) => each.startsWith(prefix))) {
            const name = address.slice("lds ".length);
            const resource = snapshot.resource(node, typeUrls.listener, name);
            if (resource !== undefined) {
              expect(inbound(snapshot, node, address.slice(prefix.length)).address).toBe(address.slice(prefix.length));
            }
          }
        }
      });
    }
  }
});

test("where connections go, how often they are tried and how long they may be silent survives", () => {
  const input = readFileSync(join(root, "control-plane/testdata/listeners/opaque.in.yaml"), "utf8");
  const snapshot = snapshotOf([input.slice(input.indexOf("\n---\n") + 5)]);
  const routes = (name: string): unknown[] =>
    routesOf(snapshot, someNode, ask(snapshot, someNode, listenerType, name)).virtualHosts.map(
      ({ domains, routes: [route] }) => ({ domains, action: route?.action }),
    );
  const cluster = (name: string, weight = 1) => expect.objectContaining({ name, weight }) as unknown;
  const retry = expect.objectContaining({ retryOn: ["connect-failure"], retries: 2 }) as unknown;
  expect(routes("db.shop:5432")).toEqual([
    {
      domains: ["*"],
      action: {
        kind: "forward",
        clusters: [
          cluster("outbound|5432|v1|db.shop.svc.cluster.local", 3),
          cluster("outbound|5432|v2|db.shop.svc.cluster.local"),
        ],
        timeoutMs: undefined,
        retry,
        hash: [{ kind: "source_ip", terminal: false }],
      },
    },
  ]);
  expect(routes("secure.example.com:443")).toMatchObject([
    { domains: ["a.any.example.com", "secure.example.com"], action: { idleTimeoutMs: 3_600_000, retry } },
    { domains: ["*.any.example.com"], action: { clusters: [cluster("outbound|443||secure.example.com")] } },
  ]);
  const [chain] = inbound(
    snapshot,
    { ...someNode, addresses: ["10.0.0.1"], labels: { app: "db" } },
    "10.0.0.1:5432",
  ).chains;
  expect(chain).toMatchObject({
    opaque: true,
    http: { filters: [{ config: { kind: "rbac" } }, { config: { kind: "rbac" } }] },
  });
});

test("how connections live and what they speak survives", () => {
  const input = readFileSync(join(root, "control-plane/testdata/clusters/connections.in.yaml"), "utf8");
  const snapshot = snapshotOf([input.slice(input.indexOf("\n---\n") + 5)]);
  const cluster = (name: string): DecodedCluster =>
    ask(snapshot, someNode, clusterType, `outbound|${name}|web.shop.svc.cluster.local`);
  const said = {
    idleTimeoutMs: 20_000,
    maxDurationMs: 600_000,
    maxRequests: 100,
    maxStreams: undefined,
    keepAlive: undefined,
    tcpKeepAliveMs: 30_000,
  };
  expect(cluster("80|")).toMatchObject({ http2: false, connections: said });
  const streams = { maxStreams: 50, keepAlive: { intervalMs: 10_000, timeoutMs: 1_500 } };
  expect(cluster("81|")).toMatchObject({ http2: true, connections: { ...said, ...streams } });
  // UPGRADE of an HTTP port, and an idle time of its own; the caller's protocol, which here is HTTP/1.1.
  expect(cluster("80|v2")).toMatchObject({ http2: true, connections: { idleTimeoutMs: 0 } });
  expect(cluster("81|v3")).toMatchObject({ http2: false });
});

test("zone aware routing survives, beside every balancer that it goes with, and so does where the callers are", () => {
  const input = readFileSync(join(root, "control-plane/testdata/clusters/zone-aware.in.yaml"), "utf8");
  const latency = `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: late, namespace: shop, annotations: { trama.io/load-balancer: PEAK_EWMA } }
spec: { host: late, trafficPolicy: { loadBalancer: { zoneAwareLbSetting: { enabled: true, minClusterSize: 3 } } } }
`;
  const yaml = input.slice(input.indexOf("\n---\n") + 5).replace("hosts: [on, off]", "hosts: [on, off, late]");
  const snapshot = snapshotOf([yaml + latency]);
  const cluster = (name: string): DecodedCluster =>
    ask(snapshot, someNode, clusterType, `outbound|80|${name}.shop.svc.cluster.local`);
  const zoneAware = { routingPercent: 100, minClusterSize: 6, failOnPanic: false };
  expect(cluster("|on")).toMatchObject({ zoneAware, panicPercent: 20, balancer: { kind: "round_robin" } });
  expect(cluster("small|on").zoneAware).toEqual({ ...zoneAware, minClusterSize: 2 });
  expect(cluster("|off").zoneAware).toBeUndefined();
  expect(cluster("|late")).toMatchObject({
    zoneAware: { ...zoneAware, minClusterSize: 3 },
    balancer: { kind: "peak_ewma" },
  });
  const caller = { ...someNode, addresses: ["10.0.0.1"], locality: { region: "r", zone: "z", subZone: "s" } };
  const place = { region: "r", zone: "z", subZone: "s" };
  const callers = snapshotOf([yaml.replace("address: 10.0.0.1,", "address: 10.0.0.1, locality: r/z/other,")]);
  expect(ask(callers, caller, endpointType, "local_cluster").priorities).toMatchObject([[{ locality: place }]]);
});

test("outlier detection and shares of localities survive, with what Envoy has no field for", () => {
  const input = readFileSync(join(root, "control-plane/testdata/clusters/outlier-detection.in.yaml"), "utf8");
  const snapshot = snapshotOf([input.slice(input.indexOf("\n---\n") + 5)]);
  const cluster = (subset: string): DecodedCluster =>
    ask(snapshot, someNode, clusterType, `outbound|80|${subset}|web.shop.svc.cluster.local`);
  const rates = { successRate: { enforcing: 0 }, failurePercentage: { enforcing: 0, enforcingLocalOrigin: 0 } };
  expect(cluster("")).toMatchObject({
    panicPercent: 0,
    outlier: {
      consecutive5xx: 5,
      enforcingConsecutiveGatewayFailure: 0,
      maxEjectionPercent: 50,
      probing: false,
      ...rates,
    },
  });
  expect(cluster("v1")).toMatchObject({
    panicPercent: 30,
    outlier: {
      consecutive5xx: 7,
      consecutiveGatewayFailure: 3,
      enforcingConsecutiveGatewayFailure: 100,
      splitLocalOrigin: true,
      consecutiveLocalOrigin: 2,
      intervalMs: 5_000,
      baseEjectionMs: 60_000,
      maxEjectionPercent: 100,
      errorStatuses: [
        { from: 429, to: 429 },
        { from: 503, to: 503 },
      ],
      ...rates,
    },
  });
  // Whoever counts local failures apart must not judge their rates either.
  expect(cluster("v1").outlier!.successRate.enforcingLocalOrigin).toBe(0);
  expect(cluster("v2").outlier).toMatchObject({ enforcingConsecutive5xx: 0, consecutiveLocalOrigin: 5 });
});

describe("the bookshop", () => {
  const mesh = join(root, "examples/bookshop/mesh");
  const workload = (
    app: string,
    version: string,
    port: number,
    name = "http",
  ): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${app}-${version}, namespace: shop }
spec: { address: 127.0.0.1, ports: { ${name}: ${port} }, labels: { app: ${app}, version: ${version} }, serviceAccount: ${app} }
`;
  const snapshot = snapshotOf([
    ...readdirSync(mesh).map((file) => readFileSync(join(mesh, file), "utf8")),
    workload("catalog", "v1", 3001),
    workload("catalog", "v2", 3002),
    workload("reviews", "v1", 3003),
    workload("storefront", "v1", 3004),
    workload("ratings", "v1", 3005, "grpc"),
  ]);

  test("every name leads somewhere, in each namespace", () => {
    expect(follow(snapshot, someNode)).toBe(6);
    expect(follow(snapshot, { ...someNode, namespace: "elsewhere" })).toBe(6);
  });

  test("the canary keeps its weights, time-out and retries", () => {
    const routes = ask(snapshot, someNode, routeType, "outbound|8080||catalog.shop.svc.cluster.local");
    expect(routes.virtualHosts[0]?.routes.map(({ name }) => name)).toEqual(["preview", "canary"]);
    const action = routes.virtualHosts[0]?.routes[1]?.action;
    expect(action).toMatchObject({
      kind: "forward",
      clusters: [{ weight: 90 }, { weight: 10 }],
      timeoutMs: 10_000,
      retry: {
        retries: 2,
        perTryTimeoutMs: 3_000,
        statusCodes: [503],
        backoffBaseMs: 25,
        backoffMaxMs: 250,
        avoidPreviousHosts: true,
      },
    });
  });

  test("calls are secured: always where the rule says so, else by endpoint", () => {
    const catalog: DecodedCluster = ask(
      snapshot,
      someNode,
      clusterType,
      "outbound|8080|v2|catalog.shop.svc.cluster.local",
    );
    expect(catalog.tls).toMatchObject({
      subjectNames: [{ kind: "exact", value: "spiffe://cluster.local/ns/shop/sa/catalog", ignoreCase: false }],
    });
    const reviews: DecodedCluster = ask(
      snapshot,
      someNode,
      clusterType,
      "outbound|8080||reviews.shop.svc.cluster.local",
    );
    expect(reviews.tls).toBeUndefined();
    expect(reviews.tlsByMode.get("istio")?.identity).toBe("default");
    expect(reviews.breaker.retryBudget).toEqual({ percent: 20, minConcurrency: 3 });
    const { priorities } = ask(snapshot, someNode, endpointType, "outbound|8080||reviews.shop.svc.cluster.local");
    expect(priorities[0]?.[0]?.endpoints).toMatchObject([
      { address: "127.0.0.1:3003", tlsMode: "istio", workload: "reviews-v1;shop;reviews;v1;Kubernetes;reviews;v1" },
    ]);
  });

  test("STRICT is one chain that demands a certificate, and the policy is in it", () => {
    const node: NodeView = { ...someNode, labels: { app: "catalog" }, addresses: ["127.0.0.1"] };
    const { chains, service } = inbound(snapshot, node, "0.0.0.0:3001");
    expect(service?.host).toBe("catalog.shop.svc.cluster.local");
    expect(chains).toHaveLength(1);
    expect(chains[0]?.tls).toMatchObject({
      requireClientCertificate: true,
      subjectNames: [{ kind: "prefix", value: "spiffe://cluster.local/" }],
    });
    expect(chains[0]?.http.filters).toMatchObject([
      {
        name: "envoy.filters.http.rbac",
        config: { rules: { action: "allow", policies: [{ name: "shop-catalog-0" }] } },
      },
    ]);
  });
});
