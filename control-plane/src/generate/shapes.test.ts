import { type DescMessage, type MessageShape, fromBinary } from "@bufbuild/protobuf";
import { typeUrls } from "@trama/proto";
import { Cluster_LbPolicy, ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import type { RouteAction } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import {
  type CommonTlsContext,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { describe, expect, test } from "vitest";

import { ConfigStore } from "../config-store.ts";
import { defaultMesh } from "../model/mesh.ts";
import type { NodeView, Snapshot } from "../snapshot.ts";

const mesh = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }, { number: 9090, name: grpc, protocol: GRPC }]
  endpoints:
    - { address: 10.0.0.1, labels: { version: v1 }, serviceAccount: reviews, locality: r1/z1 }
    - { address: 10.0.0.2, labels: { version: v2 }, serviceAccount: reviews, locality: r1/z2 }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: empty, namespace: shop }
spec:
  hosts: [empty.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: shop }
spec:
  host: reviews.shop.svc.cluster.local
  trafficPolicy: { loadBalancer: { simple: RANDOM } }
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews.shop.svc.cluster.local]
  http:
    - match: [{ uri: { prefix: /third } }]
      route:
        - { destination: { host: reviews.shop.svc.cluster.local, subset: v1 }, weight: 1 }
        - { destination: { host: reviews.shop.svc.cluster.local, subset: v2 }, weight: 2 }
    - timeout: 3s
      route:
        - { destination: { host: reviews.shop.svc.cluster.local, subset: v1 }, weight: 1 }
        - { destination: { host: reviews.shop.svc.cluster.local, subset: v2 }, weight: 3 }
`;

const client: NodeView = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: {},
  addresses: ["10.0.0.1"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};
const proxy = {
  identityFile: "/etc/trama/sds.json",
  outbound: { address: "127.0.0.1", port: 15_001 },
  application: "127.0.0.1",
  selfDiscovery: false,
  id: "x",
};
const nodes: readonly NodeView[] = [client, { ...client, kind: "grpc" }, { ...client, kind: "envoy", proxy }];
const [trama, grpc, envoy] = nodes as [NodeView, NodeView, NodeView];
const reviews = "outbound|9080||reviews.shop.svc.cluster.local";
const inbound = "xds.istio.io/grpc/lds/inbound/10.0.0.1:9080";

const snapshot = load();

function load(): Snapshot {
  const store = new ConfigStore({ ...defaultMesh, rootsPem: "-----BEGIN CERTIFICATE-----" });
  const { snapshot: made, diagnostics } = store.apply(new Map([["mesh.yaml", { text: mesh }]]));
  expect(diagnostics).toEqual([]);
  return made ?? expect.fail("no snapshot");
}

function read<T extends DescMessage>(node: NodeView, schema: T, typeUrl: string, name: string): MessageShape<T> {
  const found = snapshot.resource(node, typeUrl, name) ?? expect.fail(`${node.kind} gets no ${name}`);
  return fromBinary(schema, found.bytes);
}

const clusterOf = (node: NodeView, name = reviews) => read(node, ClusterSchema, typeUrls.cluster, name);
const routesOf = (node: NodeView, name = reviews) =>
  read(node, RouteConfigurationSchema, typeUrls.routeConfiguration, node.kind === "envoy" ? "outbound" : name);

/** Actions of the routes to `reviews`, in order. */
function actions(node: NodeView): readonly RouteAction[] {
  const host = routesOf(node).virtualHosts.find(({ name }) => name === "reviews.shop.svc.cluster.local:9080");
  return (host?.routes ?? []).flatMap(({ action }) => (action.case === "route" ? [action.value] : []));
}

function upstream(node: NodeView): CommonTlsContext {
  const { transportSocket, transportSocketMatches } = clusterOf(node);
  const config = (transportSocketMatches[0]?.transportSocket ?? transportSocket)?.configType;
  return tls(UpstreamTlsContextSchema, config?.value?.value);
}

function tls<T extends typeof UpstreamTlsContextSchema | typeof DownstreamTlsContextSchema>(
  schema: T,
  bytes: Uint8Array | undefined,
): CommonTlsContext {
  const { commonTlsContext } = fromBinary(schema as typeof UpstreamTlsContextSchema, bytes ?? expect.fail("no TLS"));
  return commonTlsContext ?? expect.fail("an empty TLS context");
}

describe("what resources hold, by class of client", () => {
  test("S19: whatever a node can learn of is there: clusters of routes, endpoints of clusters, routes of listeners", () => {
    for (const node of nodes) {
      const clusters = [...snapshot.names(node, typeUrls.cluster)];
      expect(clusters).toContain(reviews);
      for (const name of clusters) {
        const { edsClusterConfig, clusterDiscoveryType } = clusterOf(node, name);
        if (clusterDiscoveryType.value === 3)
          expect(
            snapshot.resource(node, typeUrls.clusterLoadAssignment, edsClusterConfig?.serviceName ?? ""),
            name,
          ).toBeDefined();
      }
      for (const { clusterSpecifier } of actions(node)) {
        const named =
          clusterSpecifier.case === "weightedClusters"
            ? clusterSpecifier.value.clusters.map(({ name }) => name)
            : clusterSpecifier.case === "cluster"
              ? [clusterSpecifier.value]
              : [];
        for (const name of named) expect(clusters).toContain(name);
      }
    }
  });

  test("S38: a gRPC library gets a balancer that all of them know", () => {
    expect(clusterOf(trama).lbPolicy).toBe(Cluster_LbPolicy.RANDOM);
    expect(clusterOf(envoy).lbPolicy).toBe(Cluster_LbPolicy.RANDOM);
    expect(clusterOf(grpc).lbPolicy).toBe(Cluster_LbPolicy.ROUND_ROBIN);
  });

  test("S38: who can choose by endpoint gets matches, gRPC libraries one socket, Envoy secrets", () => {
    expect(clusterOf(trama).transportSocketMatches.map(({ name }) => name)).toEqual([
      "tlsMode-istio",
      "tlsMode-disabled",
    ]);
    expect(clusterOf(grpc).transportSocketMatches).toEqual([]);
    expect(clusterOf(grpc).transportSocket).toBeDefined();
    expect(upstream(envoy).tlsCertificateSdsSecretConfigs).toMatchObject([{ name: "default" }]);
    expect(upstream(envoy).tlsCertificateProviderInstance).toBeUndefined();
  });

  test("S39: weights are whole numbers of 100 where these can say it, else as written; the total is their sum", () => {
    for (const node of nodes) {
      const weights = actions(node).map(({ clusterSpecifier }) =>
        clusterSpecifier.case === "weightedClusters" ? clusterSpecifier.value : expect.fail("not weighted"),
      );
      expect(weights.map(({ clusters }) => clusters.map(({ weight }) => weight))).toEqual([
        [1, 2],
        [25, 75],
      ]);
      expect(weights.every(({ totalWeight }) => totalWeight === undefined)).toBe(true);
    }
  });

  test("S40: a time-out goes out in both forms, and none is none for HTTP", () => {
    for (const node of nodes) {
      const [third, others] = actions(node);
      expect(third?.timeout).toMatchObject({ seconds: 0n, nanos: 0 });
      expect(third?.maxStreamDuration).toBeUndefined();
      expect(others?.timeout).toMatchObject({ seconds: 3n });
      expect(others?.maxStreamDuration?.maxStreamDuration).toMatchObject({ seconds: 3n });
    }
  });

  test("S42: priorities without a gap, from 0, and no assumption about overprovisioning", () => {
    for (const node of nodes) {
      const { endpoints, policy } = read(node, ClusterLoadAssignmentSchema, typeUrls.clusterLoadAssignment, reviews);
      const priorities = new Set(endpoints.map(({ priority }) => priority));
      expect([...priorities].sort((a, b) => a - b)).toEqual([...priorities].map((_, index) => index));
      expect(endpoints.every(({ loadBalancingWeight }) => (loadBalancingWeight ?? 0) > 0)).toBe(true);
      expect(policy?.overprovisioningFactor).toBeUndefined();
    }
  });

  test("S43: a service without endpoints is an empty assignment, and is sent", () => {
    for (const node of nodes) {
      const name = "outbound|80||empty.shop.svc.cluster.local";
      expect(read(node, ClusterLoadAssignmentSchema, typeUrls.clusterLoadAssignment, name)).toMatchObject({
        clusterName: name,
        endpoints: [],
      });
    }
  });

  test("S44: an inbound Listener has the name and the address asked, and nothing that only a proxy needs", () => {
    for (const node of [trama, grpc]) {
      const listener = read(node, ListenerSchema, typeUrls.listener, inbound);
      expect(listener.name).toBe(inbound);
      expect(listener.address?.address.value).toMatchObject({ address: "10.0.0.1", portSpecifier: { value: 9_080 } });
      expect(listener.listenerFilters).toEqual([]);
      expect(listener.useOriginalDst).toBeUndefined();
    }
    // gRPC libraries cannot look at bytes to choose a chain.
    expect(read(grpc, ListenerSchema, typeUrls.listener, inbound).filterChains).toHaveLength(1);
  });

  test("S45: provider instances in current and deprecated fields, exact names of the server", () => {
    for (const node of [trama, grpc]) {
      const context = upstream(node);
      expect(context.tlsCertificateProviderInstance?.instanceName).toBe("default");
      expect(context.tlsCertificateCertificateProviderInstance?.instanceName).toBe("default");
      expect(sans(context)).toEqual(["spiffe://cluster.local/ns/shop/sa/reviews"]);
    }
    expect(sans(upstream(envoy))).toEqual(["spiffe://cluster.local/ns/shop/sa/reviews"]);
  });

  test("S45: a client's certificate is demanded only with something to check it against", () => {
    const chain = read(grpc, ListenerSchema, typeUrls.listener, inbound).filterChains[0];
    const bytes = chain?.transportSocket?.configType.value?.value ?? expect.fail("no TLS");
    const downstream = fromBinary(DownstreamTlsContextSchema, bytes);
    expect(downstream.requireClientCertificate).toBe(true);
    expect(downstream.commonTlsContext?.validationContextType).toMatchObject({
      case: "combinedValidationContext",
      value: { defaultValidationContext: { caCertificateProviderInstance: { instanceName: "default" } } },
    });
  });

  test("S35: no node of any class gets a private key", () => {
    for (const node of nodes) {
      for (const name of ["default", "kubernetes://key", "file-cert:/etc/key.pem"])
        expect(snapshot.resource(node, typeUrls.secret, name)).toBeUndefined();
    }
    const roots = snapshot.resource(envoy, typeUrls.secret, "ROOTCA") ?? expect.fail("no roots");
    expect(Buffer.from(roots.bytes).toString("latin1")).not.toContain("PRIVATE KEY");
  });
});

function sans({ validationContextType }: CommonTlsContext): readonly unknown[] {
  if (validationContextType.case !== "combinedValidationContext") return [];
  const context = validationContextType.value.defaultValidationContext;
  const typed = context?.matchTypedSubjectAltNames.map(({ matcher }) => matcher) ?? [];
  return [...typed, ...(context?.matchSubjectAltNames ?? [])].map((matcher) => matcher?.matchPattern.value);
}
