import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";
import type { DeltaDiscoveryResponse } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { describe, expect, test } from "vitest";

import { fakeClock } from "../../test/kit/fake-clock.ts";
import { type Contents, fakeSource } from "../../test/kit/fake-source.ts";
import { deltaPeer, node, type PeerOptions } from "../../test/kit/session-peer.ts";

const { cluster, clusterLoadAssignment: eds, listener, routeConfiguration: rds } = typeUrls;
const short = (response: DeltaDiscoveryResponse): string =>
  [
    response.typeUrl.split(".").at(-1),
    ...response.resources.map(({ name }) => name),
    ...response.removedResources.map((name) => `-${name}`),
  ].join(" ");

function start(contents?: Contents, options: Partial<PeerOptions> = {}) {
  const source = fakeSource(contents);
  const clock = fakeClock();
  return { source, clock, client: deltaPeer({ source, clock, ...options }) };
}

/** Asks for `a` and `b` of every type, in the order least fit, and ACKs all. */
function subscribed(contents: Contents) {
  const all = start(contents);
  for (const typeUrl of [rds, listener, eds, cluster])
    all.client.send({ node, typeUrl, resourceNamesSubscribe: ["a", "b"] });
  for (const response of all.client.take()) all.client.ack(response);
  all.client.take();
  all.clock.advance(1_000);
  return all;
}

const everywhere = (byName: Record<string, string>): Contents => ({
  [rds]: byName,
  [listener]: byName,
  [eds]: byName,
  [cluster]: byName,
});

describe("order", () => {
  test("S18: what is new comes as clusters, endpoints, listeners, routes", () => {
    const { client, source } = subscribed({});
    source.publish(everywhere({ a: "1" }));
    expect(client.take().map(short)).toEqual([
      "Cluster a",
      "ClusterLoadAssignment a",
      "Listener a",
      "RouteConfiguration a",
    ]);
  });

  test("S18: what is gone goes in a second round, each after the ACK of what referred to it", () => {
    const { client, source } = subscribed(everywhere({ a: "1" }));
    source.publish(everywhere({ b: "1" }));
    const made = client.take();
    expect(made.map(short)).toEqual(["Cluster b", "ClusterLoadAssignment b", "Listener b", "RouteConfiguration b"]);
    const [clusters, endpoints, listeners, routes] = made;
    client.ack(clusters!);
    client.ack(endpoints!);
    client.ack(routes!);
    expect(client.take()).toEqual([]);
    client.ack(listeners!);
    const order: string[] = [];
    for (let next = client.take(); next.length > 0; next = client.take()) {
      expect(next).toHaveLength(1);
      order.push(short(next[0]!));
      client.ack(next[0]!);
    }
    expect(order).toEqual(["Listener -a", "RouteConfiguration -a", "Cluster -a", "ClusterLoadAssignment -a"]);
  });

  test("S18: a route waits for the cluster that cannot go yet, but not for ever", () => {
    const { client, source, clock } = subscribed(everywhere({ a: "1" }));
    source.publish({ ...everywhere({ a: "1" }), [cluster]: { a: "2" } });
    const [pending] = client.take();
    source.publish({ ...everywhere({ a: "1" }), [cluster]: { a: "3" }, [rds]: { a: "3" } });
    expect(client.take()).toEqual([]);
    clock.advance(5_000);
    expect(client.take().map(short)).toEqual(["RouteConfiguration a"]);
    client.ack(pending!);
    expect(client.take().map(short)).toEqual(["Cluster a"]);
  });

  test("S16, S18: after a reconnect removals wait for the requests of the other types", () => {
    const { client, clock } = start({ [rds]: { r: "to new" }, [cluster]: { new: "1" } });
    const had = (name: string) => ({ [name]: "old version" });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["old"], initialResourceVersions: had("old") });
    client.send({ typeUrl: rds, resourceNamesSubscribe: ["r"], initialResourceVersions: had("r") });
    const [routes, ...none] = client.take();
    expect([short(routes!), none]).toEqual(["RouteConfiguration r", []]);
    clock.advance(100);
    expect(client.take()).toEqual([]);
    client.ack(routes!);
    expect(client.take().map(short)).toEqual(["Cluster -old"]);
  });
});

describe("pace", () => {
  test("S23: one unanswered response per type; what comes meanwhile is merged, the newest wins", () => {
    const { client, source } = subscribed({ [rds]: { a: "0" } });
    for (let n = 1; n <= 20; n += 1) source.publish({ [rds]: { a: `${n}` } });
    const first = client.one();
    client.ack(first);
    const last = client.one();
    expect(Buffer.from(last.resources[0]!.resource!.value).toString()).toBe("a=20");
    client.ack(last);
    expect(client.take()).toEqual([]);
  });

  test("S25: before the first synchronisation requests are held, and then answered", () => {
    const { client, source } = start();
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a", "x"] });
    client.send({ typeUrl: listener });
    expect(client.take()).toEqual([]);
    source.publish({ [cluster]: { a: "1" } });
    expect(client.take().map(short)).toEqual(["Cluster a -x", "Listener"]);
  });

  test("S24: of 1,000 clients only the 10 that use the endpoint are sent anything", () => {
    const names = Array.from({ length: 1_000 }, (_, index) => `service-${index}`);
    const endpoints = Object.fromEntries(names.map((name) => [name, "1"]));
    const source = fakeSource({ [eds]: endpoints, [cluster]: endpoints });
    const clock = fakeClock();
    const clients = names.map((_, index) => {
      const client = deltaPeer({ source, clock });
      // The first ten share service-0; every client uses five more that nobody of them shares it with.
      const own = [1, 2, 3, 4, 5].map((step) => `service-${1 + ((index * 5 + step) % 999)}`);
      const resourceNamesSubscribe = index < 10 ? ["service-0", ...own] : own;
      for (const typeUrl of [cluster, eds]) client.send({ node, typeUrl, resourceNamesSubscribe });
      for (const response of client.take()) client.ack(response);
      return client;
    });
    clock.advance(1_000);
    source.lookups = 0;
    source.publish({ [eds]: { ...endpoints, "service-0": "2" }, [cluster]: endpoints });
    const woken = clients.map((client) => client.take().map(short));
    expect(woken.filter((responses) => responses.length > 0)).toHaveLength(10);
    expect(woken.slice(0, 10).flat()).toEqual(Array.from({ length: 10 }, () => "ClusterLoadAssignment service-0"));
    // A look at each subscribed name in each of the two rounds, and none at anything else.
    expect(source.lookups).toBeLessThanOrEqual((1_000 * 5 + 10) * 2 * 2);
    for (const { session } of clients) session.close();
  });

  test("S26: a client that takes nothing off the wire is cut, and its timers with it", () => {
    const { client, clock } = start({ [cluster]: { a: "1" } }, { reads: false });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    clock.advance(9_999);
    expect(client.cuts).toEqual([]);
    clock.advance(1);
    expect(client.cuts).toHaveLength(1);
    expect(client.events.sendTimedOut).toHaveBeenCalledOnce();
    expect(clock.waiting).toBe(0);
  });
});

describe("a stream ends", () => {
  const faults: [string, object, status, RegExp][] = [
    [
      "S1: with another node id",
      { node: { id: "other" } },
      status.INVALID_ARGUMENT,
      /another node needs another stream/,
    ],
    [
      "S33: when a later request brings another namespace",
      { node: { ...node, metadata: { NAMESPACE: "bank" } } },
      status.PERMISSION_DENIED,
      /namespace bank/,
    ],
    ["S30: with too many names", { resourceNamesSubscribe: names(10_001) }, status.RESOURCE_EXHAUSTED, /10001/],
    [
      "S30: with a name that is too long",
      { resourceNamesSubscribe: ["x".repeat(1_025)] },
      status.INVALID_ARGUMENT,
      /1025/,
    ],
    ["without a type", { typeUrl: "" }, status.INVALID_ARGUMENT, /type_url/],
  ];
  test.each(faults)("%s", (_what, request, code, message) => {
    const { client, clock } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.send({ typeUrl: cluster, ...request });
    expect(client.ended).toEqual([{ code, message: expect.stringMatching(message) }]);
    expect(clock.waiting).toBe(0);
  });

  test("S30: with too many names over many requests, or too many types", () => {
    const many = start({}, { limits: { maxNamesPerStream: 25_000 } });
    for (let n = 0; n < 3; n += 1)
      many.client.send({ node, typeUrl: cluster, resourceNamesSubscribe: names(9_000, `r${n}-`) });
    expect(many.client.ended[0]).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    const wide = start({});
    for (let n = 0; n <= 32; n += 1) wide.client.send({ node, typeUrl: `t${n}`, resourceNamesSubscribe: ["a"] });
    expect(wide.client.ended[0]).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  });

  const nodes: [string, object, status, RegExp][] = [
    ["an empty id", { id: "" }, status.INVALID_ARGUMENT, /empty/],
    ["an id of three parts", { id: "sidecar~10.0.0.1~web.shop" }, status.INVALID_ARGUMENT, /node.id is not/],
    ["another namespace in its id", { id: "sidecar~1.1.1.1~a.bank~bank.svc.local" }, status.PERMISSION_DENIED, /bank/],
    ["another namespace in its domain", { id: "sidecar~1.1.1.1~a.shop~bank.svc.x" }, status.PERMISSION_DENIED, /bank/],
    ["another service account", { id: "x", metadata: { SERVICE_ACCOUNT: "root" } }, status.PERMISSION_DENIED, /root/],
    ["labels that are no text", { id: "x", metadata: { LABELS: { a: 1 } } }, status.INVALID_ARGUMENT, /LABELS.a/],
    ["huge metadata", { id: "x", metadata: { a: "x".repeat(70_000) } }, status.RESOURCE_EXHAUSTED, /larger/],
    ["deep metadata", { id: "x", metadata: nested(20) }, status.RESOURCE_EXHAUSTED, /deeper/],
  ];
  test.each(nodes)("S30, S33: for a node with %s", (_what, bad, code, message) => {
    const { client } = start({});
    client.send({ node: bad, typeUrl: cluster });
    expect(client.ended).toEqual([{ code, message: expect.stringMatching(message) }]);
  });

  test("S36: some time after the proof of identity has expired", () => {
    const clock = fakeClock();
    const source = fakeSource({});
    const client = deltaPeer({ source, clock, identity: { expiresAt: clock.now() + 60_000 } });
    client.send({ node, typeUrl: cluster });
    clock.advance(89_999);
    expect(client.ended).toEqual([]);
    clock.advance(1);
    expect(client.ended).toEqual([{ code: status.UNAUTHENTICATED, message: expect.stringMatching(/token.*expired/) }]);
  });

  test("when no request ever comes", () => {
    const { client, clock } = start({});
    clock.advance(20_000);
    expect(client.ended).toEqual([{ code: status.INVALID_ARGUMENT, message: "no request came on this stream" }]);
  });

  test("alone, when a resource cannot be made", () => {
    const { client, source } = start({ [cluster]: { a: "1" } });
    const current = source.current!;
    const broken = {
      ...source,
      current: {
        ...current,
        resource: () => {
          throw new Error("a bug");
        },
      },
    };
    const unlucky = deltaPeer({ source: broken, clock: fakeClock() });
    unlucky.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    expect(unlucky.ended).toMatchObject([{ code: status.INTERNAL }]);
    expect(unlucky.events.crashed).toHaveBeenCalledOnce();
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    expect(client.one().resources).toHaveLength(1);
  });
});

test.each([
  [{ NETWORK: "west", LABELS: { "topology.istio.io/network": "east" } }, "west"],
  [{ LABELS: { "topology.istio.io/network": "east" } }, "east"],
  [{}, undefined],
])("a node that says %j is in the network %s", (metadata, network) => {
  const { client } = start({});
  client.send({ node: { id: "x", metadata }, typeUrl: cluster });
  expect(client.session.node?.network).toBe(network);
});

test("a node is what it proved, and for the rest what it says", () => {
  const { client } = start({});
  client.send({
    node: {
      id: "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
      metadata: {
        NAMESPACE: "shop",
        WORKLOAD_NAME: "web-v1",
        LABELS: { app: "web", constructor: "x" },
        INSTANCE_IPS: "10.0.0.1, fd00::1",
        CLUSTER_ID: "east",
        GENERATOR: "grpc",
      },
    },
    typeUrl: cluster,
  });
  expect(client.session.node).toMatchObject({
    namespace: "shop",
    serviceAccount: "web",
    workload: "web-v1",
    labels: { app: "web", constructor: "x" },
    addresses: ["10.0.0.1", "fd00::1"],
    kind: "grpc",
    cluster: "east",
  });
});

function names(count: number, prefix = "n"): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

function nested(depth: number): Record<string, object> {
  return { inner: depth === 0 ? {} : nested(depth - 1) };
}
