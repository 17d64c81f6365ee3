import { type MessageInitShape, create, toBinary } from "@bufbuild/protobuf";
import { TrafficDirection } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { FilterChainSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RBACSchema } from "@trama/proto/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "@trama/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { expect, test } from "vitest";

import { any, inboundChain, inboundListener } from "../../../../test/kit/xds-resources.ts";
import { type DecodedOutbound, listenerType } from "./listener.ts";

// Listeners of opaque ports, as our control plane and Envoy's have them.

const options = { regex: () => undefined, certificateProviders: new Set(["default"]) };

type Chain = MessageInitShape<typeof FilterChainSchema>;
type Proxy = MessageInitShape<typeof TcpProxySchema>;

function tcp(proxy: Proxy): NonNullable<Chain["filters"]>[number] {
  return { name: "tcp", configType: { case: "typedConfig", value: any(TcpProxySchema, proxy) } };
}

function chain(name: string, serverNames: string[], proxy: Proxy): Chain {
  return { name, filterChainMatch: { serverNames }, filters: [tcp(proxy)] };
}

function to(cluster: string): Proxy {
  return { clusterSpecifier: { case: "cluster", value: cluster } };
}

function read(filterChains: Chain[], defaultFilterChain?: Chain): DecodedOutbound {
  const message = create(ListenerSchema, {
    name: "db:5432",
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains,
    ...(defaultFilterChain && { defaultFilterChain }),
  });
  const { value } = listenerType.decode(toBinary(ListenerSchema, message), options);
  if (value.kind !== "outbound") throw new Error("not outbound");
  return value;
}

function hosts(decoded: DecodedOutbound): unknown[] {
  const { routes } = decoded.http;
  if ("rds" in routes) throw new Error("not inline");
  return routes.virtualHosts.map(({ name, domains, routes: [route] }) => {
    const action = route!.action;
    return [name, domains, action.kind === "forward" && action.clusters.map(({ name: one, weight }) => [one, weight])];
  });
}

test("server names lead to clusters, and the default chain takes the rest", () => {
  const decoded = read(
    [chain("one", ["One.example.com", "*.one.example.com"], to("a")), chain("split", ["b.example.com"], weighted)],
    { name: "rest", filters: [tcp(to("c"))] },
  );
  expect(decoded.opaque).toBe(true);
  expect(hosts(decoded)).toEqual([
    ["one", ["one.example.com", "*.one.example.com"], [["a", 1]]],
    [
      "split",
      ["b.example.com"],
      [
        ["b1", 90],
        ["b2", 10],
      ],
    ],
    ["rest", ["*"], [["c", 1]]],
  ]);
});

const weighted: Proxy = {
  clusterSpecifier: {
    case: "weightedClusters",
    value: {
      clusters: [
        { name: "b1", weight: 90 },
        { name: "b2", weight: 10 },
      ],
    },
  },
};

test("attempts to connect, silence and hashing; Envoy's defaults where nothing is said", () => {
  const action = (proxy: Proxy): unknown => {
    const { routes } = read([], { filters: [tcp({ ...to("a"), ...proxy } as Proxy)] }).http;
    return "rds" in routes ? undefined : routes.virtualHosts[0]!.routes[0]!.action;
  };
  expect(action({})).toEqual({
    kind: "forward",
    clusters: [{ name: "a", weight: 1, overrides: new Map() }],
    timeoutMs: undefined,
    idleTimeoutMs: 3_600_000,
    retry: undefined,
  });
  const more = {
    maxConnectAttempts: 3,
    idleTimeout: { seconds: 0n },
    hashPolicy: [{ policySpecifier: { case: "sourceIp" as const, value: {} } }],
  };
  expect(action(more)).toEqual({
    kind: "forward",
    clusters: [{ name: "a", weight: 1, overrides: new Map() }],
    timeoutMs: undefined,
    retry: expect.objectContaining({ retryOn: ["connect-failure"], retries: 2 }) as unknown,
    hash: [{ kind: "source_ip", terminal: false }],
  });
  expect(() => action({ maxConnectAttempts: 0 })).toThrow("max_connect_attempts must be 1 or more");
  expect(() => action({ tunnelingConfig: { hostname: "x:1" } })).toThrow("tunneling_config is not supported");
  expect(() => action({ maxDownstreamConnectionDuration: { seconds: 1n } })).toThrow("is not supported");
});

test("refused: what would be passed over in silence, and what Envoy refuses", () => {
  expect(() => read([])).toThrow("there is no filter chain");
  expect(() => read([chain("a", ["x"], to("a")), chain("b", ["X"], to("b"))])).toThrow("another chain takes x already");
  expect(() => read([chain("a", [], to("a"))], { filters: [tcp(to("b"))] })).toThrow("takes everything already");
  expect(() => read([chain("a", ["a*.x"], to("a"))])).toThrow('"a*.x" is neither a name nor one behind "*."');
  expect(() => read([{ ...chain("a", ["x"], to("a")), filterChainMatch: { destinationPort: 1 } } as Chain])).toThrow(
    "destination_port is not supported",
  );
  expect(() => read([chain("a", ["x"], {})])).toThrow("it names no cluster");
  expect(() => read([{ ...chain("a", ["x"], to("a")), filters: [] } as Chain])).toThrow("must hold one TcpProxy");
});

test("inbound: rules about connections, then the application; requests are never among them", () => {
  const rbac = any(RBACSchema, {
    statPrefix: "tcp.",
    rules: {
      policies: {
        web: {
          permissions: [{ rule: { case: "any", value: true } }],
          principals: [{ identifier: { case: "any", value: true } }],
        },
      },
    },
  });
  const filter = { name: "rbac", configType: { case: "typedConfig" as const, value: rbac } };
  const application = tcp({ ...to("inbound|5432||"), statPrefix: "inbound" });
  const message = inboundListener("127.0.0.1", 5432, [
    { ...inboundChain("a"), filters: [filter, application] } as never,
  ]);
  const { value } = listenerType.decode(toBinary(ListenerSchema, message), options);
  const [only] = value.kind === "inbound" ? value.chains : [];
  expect(only?.opaque).toBe(true);
  expect(only?.http.filters).toMatchObject([{ name: "rbac", config: { kind: "rbac", rules: { action: "allow" } } }]);
  const wrong = inboundListener("127.0.0.1", 5432, [
    { ...inboundChain("a"), filters: [application, application] } as never,
  ]);
  expect(() => listenerType.decode(toBinary(ListenerSchema, wrong), options)).toThrow(
    "is not supported before a TcpProxy",
  );
});
