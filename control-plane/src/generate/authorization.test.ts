import { fromBinary } from "@bufbuild/protobuf";
import { typeUrls } from "@trama/proto";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { type RBAC, RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { describe, expect, test } from "vitest";

import { ConfigStore } from "../config-store.ts";
import { defaultMesh } from "../model/mesh.ts";
import type { NodeView } from "../snapshot.ts";

const service = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1, serviceAccount: reviews }]
---
`;

const policy = (name: string, spec: string, metadata = ""): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop${metadata} }
spec: ${spec}
---
`;

const client: NodeView = {
  id: "sidecar~10.0.0.1~reviews.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "reviews",
  workload: "reviews",
  labels: {},
  addresses: ["10.0.0.1"],
  locality: { region: "", zone: "", subZone: "" },
  kind: "trama",
  cluster: "Kubernetes",
};
const proxy = {
  identityFile: "/etc/trama/sds.json",
  outbound: { address: "127.0.0.1", port: 15_001 },
  application: "127.0.0.1",
  selfDiscovery: false,
  id: "x",
};
const nodes: readonly (readonly [string, NodeView])[] = [
  ["trama", client],
  ["grpc", { ...client, kind: "grpc" }],
  ["envoy", { ...client, kind: "envoy", proxy }],
];

function applied(yaml: string): ReturnType<ConfigStore["apply"]> {
  const store = new ConfigStore({ ...defaultMesh, rootsPem: "-----BEGIN CERTIFICATE-----" });
  return store.apply(new Map([["mesh.yaml", { text: service + yaml }]]));
}

/** The authorization filters of the inbound listener's chains, in order. */
function filters(node: NodeView, yaml: string): readonly (readonly [string, RBAC])[][] {
  const { snapshot, diagnostics } = applied(yaml);
  expect(diagnostics).toEqual([]);
  const [name] = [...(snapshot?.names(node, typeUrls.listener) ?? [])].filter((one) =>
    /10\.0\.0\.1:9080|inbound/.test(one),
  );
  const found = snapshot?.resource(node, typeUrls.listener, name ?? "xds.istio.io/grpc/lds/inbound/10.0.0.1:9080");
  const { filterChains } = fromBinary(ListenerSchema, found?.bytes ?? expect.fail(`no listener among ${name}`));
  expect(filterChains.length).toBeGreaterThan(0);
  return filterChains.map((chain) => {
    const { configType: manager } = chain.filters.at(-1) ?? expect.fail("no filter");
    const bytes = manager.case === "typedConfig" ? manager.value.value : undefined;
    const { httpFilters } = fromBinary(HttpConnectionManagerSchema, bytes ?? expect.fail("no manager"));
    return httpFilters.flatMap(({ name: filter, configType }) =>
      configType.case === "typedConfig" && configType.value.typeUrl.endsWith(".RBAC")
        ? [[filter, fromBinary(RBACSchema, configType.value.value)] as const]
        : [],
    );
  });
}

describe.each(nodes)("S41: authorization for %s", (_kind, node) => {
  test("S41: an ALLOW policy without rules is a filter that lets nobody in, never no filter", () => {
    for (const chain of filters(node, policy("nobody", "{}"))) {
      expect(chain.map(([name]) => name)).toEqual(["envoy.filters.http.rbac"]);
      const rules = chain[0]?.[1].rules;
      expect(rules?.action).toBe(0);
      // A policy that is never met, or none: with ALLOW both refuse everybody.
      for (const { permissions } of Object.values(rules?.policies ?? {}))
        expect(permissions).toMatchObject([
          { rule: { case: "notRule", value: { rule: { case: "any", value: true } } } },
        ]);
    }
  });

  test("S41: DENY filters stand before ALLOW filters, however the policies are named", () => {
    const yaml =
      policy("a", '{ rules: [{ to: [{ operation: { methods: ["GET"] } }] }] }') +
      policy("z", '{ action: DENY, rules: [{ to: [{ operation: { paths: ["/admin"] } }] }] }');
    for (const chain of filters(node, yaml))
      expect(chain.map(([name, { rules }]) => [name, rules?.action])).toEqual([
        ["envoy.filters.http.rbac.DENY", 1],
        ["envoy.filters.http.rbac", 0],
      ]);
  });
});

test.each([
  [
    "a policy for trying out, which nobody would enforce",
    policy("dry", "{ action: DENY, rules: [{}] }", ', annotations: { istio.io/dry-run: "true" }'),
  ],
  [
    "a condition that no client can judge",
    policy("odd", '{ action: DENY, rules: [{ when: [{ key: "experimental.envoy.filters.a.b", values: [x] }] }] }'),
  ],
])("S41: %s is refused at its place, and nothing is served without it", (_what, yaml) => {
  const { snapshot, diagnostics } = applied(yaml);
  const inPolicy = diagnostics.filter(
    ({ severity, line }) => severity === "error" && line > service.split("\n").length,
  );
  expect(inPolicy.length).toBeGreaterThan(0);
  expect(snapshot).toBeUndefined();
});
