import { type DescMessage, type MessageShape, fromBinary } from "@bufbuild/protobuf";
import { typeUrls } from "@trama/proto";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RBACSchema } from "@trama/proto/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "@trama/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { ConfigStore } from "../config-store.ts";
import { HostIndex } from "../model/host-index.ts";
import { defaultMesh } from "../model/mesh.ts";
import type { ConnectionRule } from "../model/route.ts";
import type { Service } from "../model/service.ts";
import type { NodeView, Snapshot } from "../snapshot.ts";
import { connections } from "./connections.ts";

// Ports that take whole connections: what is told of them follows the policy, and each caller's own part of it.

const entry = (host: string, ports: string, more = "resolution: DNS"): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${host.replaceAll(".", "-")}, namespace: shop }
spec: { hosts: [${host}], ports: [${ports}], ${more} }
---`;

const rules = (host: string, spec: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${host.replaceAll(".", "-")}, namespace: shop }
spec: { hosts: [${host}], ${spec} }
---`;

const client: NodeView = {
  id: "sidecar~10.0.0.1~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: {},
  addresses: ["10.0.0.1"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};
const admin: NodeView = { ...client, labels: { app: "admin" } };

function world(): { readonly apply: (yaml: string) => Snapshot; readonly advice: string[] } {
  const store = new ConfigStore({ ...defaultMesh, rootsPem: "-----BEGIN CERTIFICATE-----" });
  const advice: string[] = [];
  return {
    advice,
    apply(yaml) {
      const { snapshot, diagnostics } = store.apply(new Map([["mesh.yaml", { text: yaml }]]));
      expect(diagnostics.filter(({ severity }) => severity === "error")).toEqual([]);
      advice.splice(0, Infinity, ...diagnostics.map(({ message }) => message));
      return snapshot ?? expect.fail("no snapshot");
    },
  };
}

function read<T extends DescMessage>(found: { readonly bytes: Uint8Array } | undefined, schema: T): MessageShape<T> {
  return fromBinary(schema, found?.bytes ?? expect.fail("there is no such resource"));
}

/** Server names (none: the rest) → clusters. */
function leads(snapshot: Snapshot, name: string, node = client): unknown {
  const { apiListener, filterChains, defaultFilterChain } = read(
    snapshot.resource(node, typeUrls.listener, name),
    ListenerSchema,
  );
  if (apiListener !== undefined) return "requests";
  return [...filterChains, ...(defaultFilterChain === undefined ? [] : [defaultFilterChain])].map((chain) => {
    const config = chain.filters[0]?.configType;
    const { clusterSpecifier: one } = fromBinary(
      TcpProxySchema,
      config?.case === "typedConfig" ? config.value.value : expect.fail("no filter"),
    );
    const clusters = one.case === "weightedClusters" ? one.value.clusters.map((each) => each.name) : [one.value];
    // S19: what it names is there.
    for (const cluster of clusters)
      expect(snapshot.resource(node, typeUrls.cluster, cluster as string), String(cluster)).toBeDefined();
    return [...(chain.filterChainMatch?.serverNames ?? []), ...clusters].join(" ");
  });
}

const api = entry("api.example.com", "{ number: 443, name: https }");
const tlsRule = (match: string): string =>
  rules(
    "api.example.com",
    `tls: [{ match: [{ sniHosts: [api.example.com]${match} }], route: [{ destination: { host: api.example.com } }] }]`,
  );

test("an HTTPS port becomes one of connections with the tls rules that apply to it, and one of requests without them", () => {
  const { apply } = world();
  const cluster = "outbound|443||api.example.com";
  const routes = (snapshot: Snapshot) => snapshot.resource(client, typeUrls.routeConfiguration, cluster);
  const tls = (snapshot: Snapshot) =>
    read(snapshot.resource(client, typeUrls.cluster, cluster), ClusterSchema).transportSocket !== undefined;
  for (const [yaml, opaque] of [
    [api, false],
    [api + tlsRule(""), true],
    [api + tlsRule(", sourceNamespace: elsewhere"), false],
    [api + tlsRule(", gateways: [front]"), false],
    [api + tlsRule(", port: 443"), true],
    [api, false],
  ] as const) {
    const snapshot = apply(yaml);
    expect(leads(snapshot, "api.example.com:443")).toEqual(opaque ? [`api.example.com ${cluster}`] : "requests");
    expect(routes(snapshot) === undefined).toBe(opaque);
    expect(tls(snapshot)).toBe(!opaque);
  }
});

test("callers of one namespace that differ in their labels are told what is theirs", () => {
  const { apply } = world();
  const snapshot = apply(api + tlsRule(", sourceLabels: { app: admin }"));
  for (const node of [client, admin, client]) {
    const isTheirs = node === admin;
    expect(leads(snapshot, "api.example.com:443", node) === "requests").toBe(!isTheirs);
    const found = snapshot.resource(node, typeUrls.cluster, "outbound|443||api.example.com");
    expect(read(found, ClusterSchema).transportSocket === undefined).toBe(isTheirs);
  }
});

test("weights, destinations and silence follow the policy; what did not change is the same resource (S24)", () => {
  const { apply } = world();
  const db = entry("db", "{ number: 5432, name: tcp }") + entry("other", "{ number: 5432, name: tcp }");
  const split = (a: number, b: number): string =>
    rules(
      "db",
      `tcp: [{ route: [{ destination: { host: db }, weight: ${a} }, { destination: { host: other }, weight: ${b} }] }]`,
    );
  const own = "outbound|5432||db.shop.svc.cluster.local";
  const other = "outbound|5432||other.shop.svc.cluster.local";
  const listener = (snapshot: Snapshot, name: string) => snapshot.resource(client, typeUrls.listener, name);
  const first = apply(db);
  expect(leads(first, "db:5432")).toEqual([own]);
  const second = apply(db + split(9, 1));
  expect(leads(second, "db:5432")).toEqual([`${own} ${other}`]);
  expect(listener(second, "other:5432")).toBe(listener(first, "other:5432"));
  const third = apply(db + split(1, 9));
  expect(listener(third, "db:5432")?.version).not.toBe(listener(second, "db:5432")?.version);
  expect(leads(apply(db + split(0, 9)), "db:5432")).toEqual([other]);
  const silent = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: db, namespace: shop }
spec: { host: db, trafficPolicy: { connectionPool: { tcp: { idleTimeout: 7s } } } }
---`;
  const before = listener(apply(db), "db:5432")?.version;
  expect(before).toBe(listener(first, "db:5432")?.version);
  expect(listener(apply(db + silent), "db:5432")?.version).not.toBe(before);
});

test("11.2: where no request is read, an ALLOW rule about requests lets nobody in, and a DENY rule loses that condition", () => {
  const { apply, advice } = world();
  const server = entry(
    "db",
    "{ number: 5432, name: tcp }",
    "resolution: STATIC, location: MESH_INTERNAL, endpoints: [{ address: 10.0.0.1, serviceAccount: db }]",
  );
  const policy = (name: string, spec: string): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: ${spec}
---`;
  const allow = '{ rules: [{ to: [{ operation: { methods: [GET] } }, { operation: { ports: ["1"] } }] }] }';
  const deny =
    '{ action: DENY, rules: [{ from: [{ source: { namespaces: [batch] } }], to: [{ operation: { paths: [/a], notPorts: ["2"] } }, { operation: { notHosts: [b] } }] }] }';
  const snapshot = apply(server + policy("allow", allow) + policy("deny", deny));
  expect(advice.map((text) => text.replace(/: looks .*/, ""))).toEqual(["spec.rules[0].to", "spec.rules[0].to"]);
  const { filterChains } = read(
    snapshot.resource(client, typeUrls.listener, "xds.istio.io/grpc/lds/inbound/10.0.0.1:5432"),
    ListenerSchema,
  );
  expect(filterChains).toHaveLength(2);
  for (const { filters } of filterChains) {
    const judged = filters.slice(0, -1).map(({ name, configType: one }) => {
      const { rules: found } = fromBinary(RBACSchema, one.case === "typedConfig" ? one.value.value : new Uint8Array());
      const [only] = Object.values(found?.policies ?? {});
      return [name, only?.permissions.map(({ rule }) => rule.case)];
    });
    expect(judged).toEqual([
      ["envoy.filters.network.rbac.DENY", ["notRule", "any"]],
      // Matches nothing, and so lets nobody in.
      ["envoy.filters.network.rbac", ["notRule"]],
    ]);
  }
});

const service: Service = {
  host: "a.example.com",
  name: "a.example.com",
  namespace: "shop",
  ports: [443, 444].map((number) => ({ number, name: `tls-${number}`, protocol: "tls", targetPort: number })),
  resolution: "dns",
  internal: false,
  visible: { all: true, namespaces: new Set() },
  subjectAltNames: [],
};

const tlsRules = fc.array(
  fc.record({
    matches: fc.array(
      fc.record({
        serverNames: fc.uniqueArray(fc.constantFrom("a", "b", "*.c", "d"), { minLength: 1 }),
        port: fc.constantFrom(undefined, 443, 444),
        inMesh: fc.constantFrom(true, true, false),
        sourceNamespace: fc.constantFrom(undefined, "shop", "elsewhere"),
        sourceLabels: fc.constantFrom<Record<string, string>>({}, { app: "admin" }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    subset: fc.stringMatching(/^[a-z]{4}$/),
  }),
  { maxLength: 5 },
);

test("a server name leads where the first rule says that has it for this caller and port; no name is in two chains", () => {
  fc.assert(
    fc.property(tlsRules, fc.constantFrom(client, admin), fc.constantFrom(...service.ports), (written, node, port) => {
      const tls = written.map(({ matches, subset }): ConnectionRule => ({
        matches,
        destinations: [{ host: service.host, subset, port: undefined, weight: 0 }],
      }));
      const table = {
        namespace: "shop",
        name: "a",
        hosts: [service.host],
        visible: service.visible,
        rules: [],
        tcp: [],
      };
      const index = <T>(value: T): HostIndex<T> =>
        new HostIndex([{ host: service.host, visible: service.visible, value }]);
      const model = { mesh: defaultMesh, destinations: new Map(), selecting: new Map() };
      const found = connections(
        { ...model, services: index(service), routes: index({ ...table, tls }) },
        node,
        service,
        port,
      );
      const names = found.byName.flatMap(({ serverNames }) => serverNames);
      expect(new Set(names).size).toBe(names.length);
      const expected = (name: string): string | undefined => {
        for (const { matches, subset } of written)
          for (const match of matches)
            if (
              match.serverNames.some((each) => each === name) &&
              match.inMesh &&
              (match.port === undefined || match.port === port.number) &&
              match.sourceNamespace !== "elsewhere" &&
              (match.sourceLabels["app"] === undefined || node === admin)
            )
              return `outbound|${port.number}|${subset}|${service.host}`;
        return undefined;
      };
      const all = ["a", "b", "*.c", "d"];
      expect(all.map((name) => found.byName.find((one) => one.serverNames.includes(name))?.clusters[0]?.name)).toEqual(
        all.map(expected),
      );
      expect(found.rest === undefined).toBe(all.some((name) => expected(name) !== undefined));
    }),
  );
});
