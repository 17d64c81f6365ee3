import { fromBinary } from "@bufbuild/protobuf";
import { typeUrls } from "@trama/proto";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import fc from "fast-check";
import { expect, test } from "vitest";

import { ConfigStore } from "../config-store.ts";
import { defaultMesh } from "../model/mesh.ts";
import { networks, oneNetwork, sameRange } from "../model/networks.ts";
import { type Endpoint, type ServicePort, itself } from "../model/service.ts";
import type { NodeView, Snapshot } from "../snapshot.ts";
import { loadAssignment } from "./endpoints.ts";
import { acrossNetworks } from "./networks.ts";

const port: ServicePort = { number: 80, name: "http", protocol: "http", targetPort: 80 };
const way = (last: number) => ({ address: `192.0.2.${last}`, port: 15_443 });
const described = networks([
  { name: "one", ranges: [], registry: false, gateways: [way(1)] },
  { name: "two", ranges: [], registry: false, gateways: [way(2), way(3)] },
  { name: "three", ranges: [], registry: false, gateways: [way(4), way(5), way(6)] },
  { name: "bare", ranges: [], registry: false, gateways: [] },
]);
const mesh = { ...defaultMesh, networks: described };
const names = ["", "one", "two", "three", "bare"];
const peers = { namespace: [], root: [] };

const workloads = fc.array(
  fc.record({
    network: fc.constantFrom(...names),
    region: fc.constantFrom("eu", "us"),
    weight: fc.integer({ min: 1, max: 65_535 }),
    secured: fc.boolean(),
  }),
  { maxLength: 12 },
);

test("every workload that can be reached has its weight behind one address or several, and no address stands there twice (R43)", () => {
  fc.assert(
    fc.property(workloads, fc.constantFrom(...names), fc.boolean(), (all, network, secured) => {
      const endpoints = all.map((each, index): Endpoint => {
        const { network: own, region, weight } = each;
        const at = { address: `10.0.0.${index + 1}`, network: own, weight, mesh: each.secured };
        return { ...itself({ host: "", namespace: "shop" }), ...at, locality: { region, zone: "", subZone: "" } };
      });
      const placing = acrossNetworks(undefined, {
        mesh,
        node: { network },
        port,
        endpoints,
        peers,
        secured: () => secured,
      });
      const { endpoints: localities = [] } = loadAssignment({
        name: "web",
        port,
        endpoints,
        subset: {},
        peers,
        placing,
      });
      const found = localities.flatMap(({ lbEndpoints = [] }) =>
        lbEndpoints.map(({ hostIdentifier, loadBalancingWeight = 0 }) => {
          const where = hostIdentifier?.case === "endpoint" ? hostIdentifier.value.address?.address : undefined;
          return [where?.case === "socketAddress" ? (where.value.address ?? "") : "", loadBalancingWeight] as const;
        }),
      );
      expect(new Set(found.map(([address]) => address)).size).toBe(found.length);
      const weights = new Map(found);
      const behind = (name: string): number =>
        endpoints.reduce((sum, each) => sum + (each.network === name && each.mesh && secured ? each.weight : 0), 0);
      const direct = endpoints.filter(
        (each) => network === "" || each.network === network || !described.gateways.has(each.network),
      );
      const [known] = direct;
      const far = network === "" ? [] : names.filter((name) => name !== network && described.gateways.has(name));
      const anyFar = far.find((name) => behind(name) > 0);
      const ways = (name: string) => described.gateways.get(name) ?? [];
      const total = (name: string): number =>
        ways(name).reduce((sum, { address }) => sum + (weights.get(address) ?? 0), 0);
      // All weights have one common factor, so that those of gateways are whole.
      const factor =
        known !== undefined
          ? weights.get(known.address)! / known.weight
          : anyFar === undefined
            ? 1
            : total(anyFar) / behind(anyFar);
      for (const each of direct) expect(weights.get(each.address)).toBe(each.weight * factor);
      for (const name of far) {
        expect(total(name)).toBe(behind(name) * factor);
        expect(new Set(ways(name).map(({ address }) => weights.get(address))).size).toBe(1);
      }
      expect(weights.size).toBe(
        direct.length + far.reduce((sum, name) => sum + (behind(name) > 0 ? ways(name).length : 0), 0),
      );
      for (const { lbEndpoints = [], loadBalancingWeight } of localities)
        expect(lbEndpoints.reduce((sum, each) => sum + (each.loadBalancingWeight as number), 0)).toBe(
          loadBalancingWeight,
        );
    }),
    { seed: 15_443 },
  );
});

const node = (network: string | undefined): NodeView => ({
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: {},
  addresses: [],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
  network,
});

const entry = (name: string, endpoints: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec: { hosts: [${name}], location: MESH_INTERNAL, resolution: STATIC, ports: [{ number: 80, name: http }], endpoints: ${endpoints} }
---`;
const rules = `${entry("web", "[{ address: 10.0.0.1, network: two, serviceAccount: web }]")}
${entry("shares", "[{ address: 10.0.0.2, network: one, serviceAccount: a, locality: eu }, { address: 10.0.0.3, network: one, serviceAccount: a, locality: us }]")}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: shares, namespace: shop }
spec:
  host: shares
  trafficPolicy: { loadBalancer: { localityLbSetting: { distribute: [{ from: "*", to: { eu: 80, us: 20 } }] } } }
`;

function snapshot(of: typeof described): Snapshot {
  const found = new ConfigStore({ ...defaultMesh, networks: of }).apply(
    new Map([["web.yaml", { text: rules }]]),
  ).snapshot;
  if (found === undefined) throw new Error("the rules are refused");
  return found;
}

const resource = (from: Snapshot, network: string | undefined, host = "web") =>
  from.resource(node(network), typeUrls.clusterLoadAssignment, `outbound|80||${host}.shop.svc.cluster.local`);

test("callers of one namespace get what is for their own network, and those of one network the same", () => {
  const from = snapshot(described);
  const near = resource(from, "two");
  const far = resource(from, "one");
  expect(far?.version).not.toBe(near?.version);
  expect(resource(from, "two")).toBe(near);
  expect(resource(from, "one")).toBe(far);
  expect(resource(from, undefined)?.version).toBe(near?.version);
  // With one network there is nothing to tell apart.
  const one = snapshot(oneNetwork);
  expect(resource(one, "one")).toBe(resource(one, "two"));
  expect(resource(one, "one")?.version).toBe(near?.version);
});

test("the same address in two networks is two workloads, each with its own services", () => {
  const text = `${entry("web", "[{ address: 10.0.0.1, network: one, serviceAccount: web }]")}
${entry("shop", "[{ address: 10.0.0.1, network: two, serviceAccount: shop }]")}`;
  const { snapshot: from, diagnostics } = new ConfigStore(mesh).apply(new Map([["web.yaml", { text }]]));
  expect(diagnostics).toEqual([]);
  const hosts = (network: string | undefined): readonly string[] => {
    const at = { ...node(network), addresses: ["10.0.0.1"] };
    const found = from?.resource(at, typeUrls.listener, "xds.istio.io/grpc/lds/inbound/10.0.0.1:80");
    const { metadata } = fromBinary(ListenerSchema, found!.bytes);
    const services = JSON.stringify(metadata?.filterMetadata["istio"]);
    return [...services.matchAll(/"host":"(\w+)/g)].map(([, host = ""]) => host);
  };
  expect(hosts("one")).toEqual(["web"]);
  expect(hosts("two")).toEqual(["shop"]);
  // Who does not say where it is may be either.
  expect(hosts(undefined)).toEqual(["shop", "web"]);
});

test("a gateway behind which several localities are has the shares of all of them", () => {
  const { bytes } = resource(snapshot(described), "two", "shares")!;
  const { endpoints } = fromBinary(ClusterLoadAssignmentSchema, bytes);
  expect(endpoints.map((each) => [each.locality?.region, each.loadBalancingWeight, each.lbEndpoints.length])).toEqual([
    ["eu", 100, 1],
  ]);
});

test("the registry goes before ranges, the smaller range before the larger, and a name is in none", () => {
  const findIn = (registry: boolean) => {
    const all = networks([
      { name: "large", ranges: ["10.0.0.0/8", "fd00::/16"], registry: false, gateways: [] },
      { name: "small", ranges: ["10.1.0.0/16", "10.2.3.4/32"], registry: false, gateways: [] },
      { name: "rest", ranges: [], registry, gateways: [] },
    ]);
    return (address: string) => all.find(address);
  };
  const asked = ["10.1.2.3", "10.2.3.4", "10.2.3.5", "fd00::1", "fe00::1", "db.example.com", ""];
  expect(asked.map(findIn(false))).toEqual(["small", "small", "large", "large", "", "", ""]);
  expect(asked.map(findIn(true))).toEqual(asked.map(() => "rest"));
  expect(sameRange("10.1.7.0/16", "10.1.0.0/16")).toBe(true);
  expect(sameRange("10.1.0.0/16", "10.1.0.0/17")).toBe(false);
  expect(sameRange("0.0.0.0/0", "::/0")).toBe(false);
});
