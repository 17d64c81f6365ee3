import { typeUrls } from "@trama/proto";
import { afterEach, describe, expect, test } from "vitest";

import type { AdsServer } from "../../../test/kit/ads-server.ts";
import { testEnv } from "../../../test/kit/env.ts";
import {
  assignment,
  duration,
  edsCluster,
  inboundChain,
  inboundListener,
  outboundListener,
  routeConfiguration,
  routeTo,
} from "../../../test/kit/xds-resources.ts";
import {
  type Joined,
  adsServer,
  host,
  join as joinWorld,
  leaveWorld,
  reviews,
  routeName,
  v1,
  v2,
  weightsOf,
} from "../test/client-world.ts";
import type { XdsClientOptions } from "./client-face.ts";
import type { XdsStatus } from "./status.ts";

afterEach(leaveWorld);

describe.each(["delta", "sotw"] as const)("%s", (variant) => {
  const join = (server: AdsServer, more: Partial<XdsClientOptions> = {}, features: string[] = []): Joined =>
    joinWorld(server, { variant, ...more }, features);

  test("an outbound name brings its routes, clusters and endpoints, whole and at once (R26)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client, configs } = join(server);
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
    expect(client.config).toBe(configs.at(-1));
    expect(configs).toHaveLength(1);
    expect(weightsOf(client.config)).toEqual([90, 10]);
    expect([...client.config.clusters.keys()].toSorted()).toEqual([v1, v2]);
    expect(client.config.clusters.get(v1)?.endpoints.priorities[0]?.[0]?.endpoints[0]).toMatchObject({
      address: "10.0.0.1:9080",
      tlsMode: "istio",
    });
    expect(client.status()).toMatchObject({ connected: true, lastError: undefined });
    expect(client.status().resources.map((one) => one.state)).toEqual(Array.from({ length: 6 }, () => "ACKED"));
  });

  test("the node is in the first request of each stream and in no other (R1), first requests of a type carry no nonce (R3, R23)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client, env } = join(server);
    await client.outbound("reviews:9080");
    await server.until(() => server.stream.acks.length === 4);
    const [first, ...rest] = server.stream.requests;
    expect(first?.node?.id).toBe("sidecar~127.0.0.1~test.shop~shop.svc.cluster.local");
    expect(first?.node?.clientFeatures).not.toContain("envoy.lb.does_not_support_overprovisioning");
    expect(first?.node?.metadata).toMatchObject({ NAMESPACE: "shop" });
    expect(rest.every((request) => request.node === undefined)).toBe(true);
    const questions = [...Map.groupBy(server.stream.requests, (one) => one.typeUrl).values()].map(([one]) => one);
    expect(questions.map((one) => one?.responseNonce)).toEqual(["", "", "", ""]);

    server.stream.kill();
    await server.until(() => !client.status().connected);
    env.clock.advance(1_000);
    await server.until(() => server.streams.length === 2 && server.stream.requests.length >= 4);
    expect(server.stream.requests[0]?.node?.id).toBe(first?.node?.id);
  });

  test("a name that does not exist is missing at once (R23); when it comes to be, it appears (R13)", async () => {
    const server = await adsServer();
    const { client, configs } = join(server);
    await expect(client.outbound("reviews:9080")).resolves.toBe("missing");
    await expect(client.outbound("reviews:9080")).resolves.toBe("missing");
    server.set(...reviews());
    await server.until(() => configs.length > 0);
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");

    server.remove(typeUrls.listener, "reviews:9080");
    await server.until(() => configs.length > 1);
    expect(client.config.outbound.size).toBe(0);
    expect(client.config.clusters.size).toBe(0);
    await server.until(() => server.stream.subscribed(typeUrls.cluster).size === 0);
    await expect(client.outbound("reviews:9080")).resolves.toBe("missing");

    server.set(...reviews());
    await server.until(() => client.config.outbound.size === 1);
  });

  test("a stream that stands is told before anything is answered: some servers never speak of what they do not know (R10)", async () => {
    const server = await adsServer({ manual: true });
    const statuses: XdsStatus[] = [];
    const { client } = join(server, { onStatus: (status) => void statuses.push(status) });
    const answer = client.outbound("reviews:9080");
    await server.until(() => statuses.some(({ connected }) => connected));
    expect(client.status().resources[0]?.state).toBe("REQUESTED");
    await client.close();
    await expect(answer).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("a server that says nothing: missing after 15 s of a standing stream, not before (R10)", async () => {
    const server = await adsServer({ manual: true });
    const { client, env } = join(server);
    const answer = client.outbound("reviews:9080");
    await server.until(() => server.stream.requests.length === 1 && env.clock.pending === 3);
    env.clock.advance(14_999);
    expect(client.status().resources[0]?.state).toBe("REQUESTED");
    env.clock.advance(1);
    await expect(answer).resolves.toBe("missing");
    expect(client.status().resources[0]?.state).toBe("DOES_NOT_EXIST");
  });

  test("one bad resource is refused with its name and place, the good ones are used (R5, R6)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client } = join(server);
    await client.outbound("reviews:9080");
    const bad = edsCluster(v1, { connectTimeout: duration(0) });
    server.set(bad, edsCluster(v2, { connectTimeout: duration(2_000) }));
    const nack = await server.until(() => server.stream.nacks[0]);
    expect(nack).toMatchObject({ typeUrl: typeUrls.cluster });
    expect(nack.message).toBe(`Cluster ${JSON.stringify(v1)}: connect_timeout must be greater than zero`);
    expect(client.config.clusters.get(v1)?.connectTimeoutMs).toBe(1_000);
    expect(client.config.clusters.get(v2)?.connectTimeoutMs).toBe(2_000);
    const status = client.status().resources.find((one) => one.name === v1 && one.type === "cluster");
    expect(status).toMatchObject({ state: "NACKED", failed: { message: "connect_timeout must be greater than zero" } });

    server.set(edsCluster(v1, { connectTimeout: duration(3_000) }));
    await server.until(() => client.config.clusters.get(v1)?.connectTimeoutMs === 3_000);
  });

  test("a refused first version is an error, not a missing name, and stops the timer (R11)", async () => {
    const server = await adsServer();
    server.set(outboundListener("reviews:9080", routeName, []));
    const { client, env } = join(server);
    await expect(client.outbound("reviews:9080")).rejects.toMatchObject({
      code: "RESOURCE_INVALID",
      field: "reviews:9080",
      message: expect.stringContaining("the last filter must be the router"),
    });
    env.clock.advance(60_000);
    expect(client.status().resources[0]?.state).toBe("NACKED");
  });

  test("the same name twice in one response is refused, and neither is used (R20)", async () => {
    const server = await adsServer({ manual: true });
    const { client } = join(server);
    const answer = client.outbound("a:1");
    void client.outbound("b:1").catch(() => {});
    await server.until(() => server.stream.subscribed(typeUrls.listener).size === 2);
    const twice = server.wrap(outboundListener("a:1", "r"), "1");
    const nonce = server.stream.respond({
      typeUrl: typeUrls.listener,
      resources: [twice, twice, server.wrap(outboundListener("b:1", "r"), "1")],
    });
    const nack = await server.until(() => server.stream.nacks[0]);
    expect(nack).toMatchObject({ nonce, message: expect.stringContaining('"a:1"') });
    expect(client.status().resources.find((one) => one.name === "b:1")?.state).toBe("ACKED");
    expect(client.status().resources.find((one) => one.name === "a:1")?.state).toBe("REQUESTED");
    void answer.catch(() => {});
  });

  test("a response of an unknown type, and resources nobody asked for, do no harm (R7, R8)", async () => {
    const server = await adsServer({ manual: true });
    const { client } = join(server);
    const answer = client.outbound("a:1");
    await server.until(() => server.stream.requests.length === 1);
    server.stream.respond({ typeUrl: "type.googleapis.com/envoy.config.unheard.v9.Of", resources: [] });
    const bytes = Uint8Array.of(0x0a, 7, ...Buffer.from("other:1"), 255, 255, 255);
    const broken = { typeUrl: typeUrls.listener, name: "other:1", bytes };
    const nonce = server.stream.respond({
      typeUrl: typeUrls.listener,
      resources: [server.wrap(broken, "1")],
      removedResources: ["a:1"],
    });
    await expect(answer).resolves.toBe("missing");
    await server.until(() => server.stream.acks.includes(nonce));
    expect(server.streams).toHaveLength(1);
    expect(server.stream.nacks).toEqual([]);
  });

  test("the loss of the stream leaves everything in service (R18), and the next one says what is held (R4, R22)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client, configs, env } = join(server);
    await client.outbound("reviews:9080");
    const before = client.config;
    await server.stop();
    await server.until(() => !client.status().connected);
    expect(client.config).toBe(before);
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
    await server.restart();
    await server.until(() => {
      env.clock.advance(1_000);
      return server.streams.some((stream) => !stream.ended && stream.requests.length >= 4);
    });
    for (const typeUrl of [typeUrls.listener, typeUrls.cluster, typeUrls.routeConfiguration]) {
      const first = server.stream.requests.find((one) => one.typeUrl === typeUrl);
      if (first?.$typeName === "envoy.service.discovery.v3.DeltaDiscoveryRequest") {
        expect(first.resourceNamesSubscribe.length).toBeGreaterThan(0);
        const held = Object.keys(first.initialResourceVersions).toSorted();
        expect(held).toEqual(first.resourceNamesSubscribe.toSorted());
      } else {
        expect(first).toMatchObject({ versionInfo: "1", responseNonce: "", resourceNames: expect.anything() });
        expect(first?.resourceNames).not.toEqual([]);
      }
    }
    expect(configs).toEqual([before]);

    // R24: what was removed while nobody was listening goes when the server says so.
    server.remove(typeUrls.listener, "reviews:9080");
    await server.until(() => client.config.outbound.size === 0);
  });

  test("a new cluster that is not known yet leaves the old routes in force (R27)", async () => {
    const server = await adsServer();
    server.set(...reviews({ [v1]: 1 }));
    const { client, configs } = join(server);
    await client.outbound("reviews:9080");
    const before = client.config.outbound.get("reviews:9080");
    server.remove(typeUrls.clusterLoadAssignment, v2);
    server.remove(typeUrls.cluster, v2);
    const v3 = `outbound|9080|v3|${host}`;
    // The cluster exists, its endpoints do not answer: still the old ones.
    server.set(edsCluster(v3));
    server.set(routeConfiguration(routeName, ["reviews:9080"], [routeTo({ [v1]: 1, [v3]: 1 })]), assignment(v3, []));
    await server.until(() => weightsOf(client.config)?.toString() === "1,1");
    for (const config of configs) {
      for (const { action } of config.outbound.get("reviews:9080")?.routes.virtualHosts[0]?.routes ?? []) {
        if (action.kind !== "forward") continue;
        for (const { name } of action.clusters) expect(config.clusters.has(name)).toBe(true);
      }
    }
    expect(client.config.outbound.get("reviews:9080")).not.toBe(before);
  });

  test("a cluster that does not exist is left out, the others of the route serve; weight 0 is asked for (R36)", async () => {
    const server = await adsServer();
    server.set(...reviews({ [v1]: 1, [v2]: 0 }));
    server.remove(typeUrls.cluster, v2);
    const { client } = join(server);
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
    expect(server.stream.subscribed(typeUrls.cluster)).toEqual(new Set([v1, v2]));
    expect([...client.config.clusters.keys()]).toEqual([v1]);
  });

  test("a cluster that is removed while its route still names it stays in service (R16, R27)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client } = join(server);
    await client.outbound("reviews:9080");
    server.remove(typeUrls.cluster, v2);
    await server.until(() => client.status().resources.some((one) => one.state === "DOES_NOT_EXIST"));
    expect(client.config.clusters.has(v2)).toBe(true);
    server.set(routeConfiguration(routeName, ["reviews:9080"], [routeTo(v1)]));
    await server.until(() => !client.config.clusters.has(v2));
    await server.until(() => !server.stream.subscribed(typeUrls.cluster).has(v2));
  });

  test("fail_on_data_errors: a removed cluster is gone at once (R16)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client } = join(server, {}, ["fail_on_data_errors"]);
    await client.outbound("reviews:9080");
    server.remove(typeUrls.cluster, v2);
    await server.until(() => !client.config.clusters.has(v2));
    expect(client.config.outbound.has("reviews:9080")).toBe(true);
  });

  test("ignore_resource_deletion keeps a deleted listener (R15)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client, env } = join(server, {}, ["ignore_resource_deletion"]);
    await client.outbound("reviews:9080");
    server.remove(typeUrls.listener, "reviews:9080");
    await server.until(() => env.logged.some((one) => one.message.includes("was removed")));
    expect(client.config.outbound.has("reviews:9080")).toBe(true);
  });

  test("re-sent bytes change nothing, a changed member publishes anew and keeps the rest by identity (R14)", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client, configs } = join(server);
    await client.outbound("reviews:9080");
    const before = client.config;
    server.set(...reviews());
    await server.until(() => server.stream.acks.length >= 8);
    expect(configs).toEqual([before]);

    server.set(assignment(v1, [{ address: "10.0.0.9", port: 9080 }]));
    await server.until(() => configs.length === 2);
    expect(client.config.outbound).toBe(before.outbound);
    expect(client.config.clusters.get(v2)).toBe(before.clusters.get(v2));
    expect(client.config.clusters.get(v1)).not.toBe(before.clusters.get(v1));
  });

  test("a large assignment is read in many turns and put in force in one; of the next only what changed is another object (R14)", async () => {
    const server = await adsServer();
    const many = Array.from({ length: 2_000 }, (_, at) => ({ address: `10.1.${at >> 8}.${at & 255}`, port: 80 }));
    server.set(outboundListener("a:1", "r"), routeConfiguration("r", ["*"], [routeTo("c")]), edsCluster("c"));
    server.set(assignment("c", many));
    const { clock } = testEnv();
    let nowMs = 0;
    let turns = 0;
    const { client, configs } = join(server, {
      // Each look at it takes a millisecond, so that every slice is as long as one may be.
      clock: {
        now: () => nowMs++,
        wall: () => clock.wall(),
        after: (delayMs, fire) => clock.after(delayMs, fire),
        set: (alarm, atMs) => clock.set(alarm, atMs),
        unset: (alarm) => clock.unset(alarm),
        stalled: () => 0,
      },
      nextTurn: () => Promise.resolve(void turns++),
    });
    await expect(client.outbound("a:1")).resolves.toBe("found");
    const listed = () => client.config.clusters.get("c")!.endpoints.priorities[0]![0]!.endpoints;
    const before = listed();
    expect(before).toHaveLength(2_000);
    expect(configs).toHaveLength(1);
    expect(turns).toBe(128);
    server.set(assignment("c", many.with(700, { address: "10.9.9.9", port: 81 })));
    await server.until(() => configs.length === 2);
    expect(listed().filter((each, at) => each !== before[at])).toEqual([
      expect.objectContaining({ address: "10.9.9.9:81" }),
    ]);
  });

  test("the next response is acknowledged only when the last was applied (R25)", async () => {
    const server = await adsServer({ manual: true });
    const gates: (() => void)[] = [];
    const applied: number[] = [];
    const { client } = join(server, {
      onConfig: (config) => {
        applied.push(config.outbound.size);
        return new Promise<void>((resolve) => gates.push(resolve));
      },
    });
    void client.outbound("a:1").catch(() => {});
    void client.outbound("b:1").catch(() => {});
    await server.until(() => server.stream.subscribed(typeUrls.listener).size === 2);
    const route = routeConfiguration("r", ["*"], []);
    server.stream.respond({ typeUrl: typeUrls.listener, resources: [server.wrap(outboundListener("a:1", "r"), "1")] });
    await server.until(() => server.stream.subscribed(typeUrls.routeConfiguration).size === 1);
    const slow = server.stream.respond({ typeUrl: typeUrls.routeConfiguration, resources: [server.wrap(route, "1")] });
    await server.until(() => applied.length === 1);
    const next = server.stream.respond({
      typeUrl: typeUrls.listener,
      resources: ["a:1", "b:1"].map((name) => server.wrap(outboundListener(name, "r"), "1")),
    });
    expect(server.stream.acks).not.toContain(slow);
    gates[0]?.();
    await server.until(() => applied.length === 2);
    expect(server.stream.acks).not.toContain(next);
    expect(applied).toEqual([1, 2]);
    gates[1]?.();
    await server.until(() => server.stream.acks.includes(next));
  });

  test("an inbound listener is served for the very address, and for no other (R60)", async () => {
    const server = await adsServer();
    server.set(inboundListener("127.0.0.1", 8080, [inboundChain("inbound-plaintext")]));
    const { client } = join(server);
    await expect(client.inbound("127.0.0.1:8080")).resolves.toBe("found");
    expect(client.config.inbound.get("127.0.0.1:8080")?.chains[0]).toMatchObject({
      name: "inbound-plaintext",
      tls: undefined,
    });
    const wrong = inboundListener("127.0.0.2", 8081, [inboundChain("inbound-plaintext")]);
    wrong.name = "xds.istio.io/grpc/lds/inbound/127.0.0.1:8081";
    server.set(wrong);
    await expect(client.inbound("127.0.0.1:8081")).rejects.toMatchObject({
      code: "RESOURCE_INVALID",
      message: expect.stringContaining("127.0.0.2:8081 is not the bound address"),
    });
  });

  test("release ends what nothing else needs; a stale waiter is told", async () => {
    const server = await adsServer();
    server.set(...reviews());
    const { client } = join(server);
    await client.outbound("reviews:9080");
    client.release("reviews:9080");
    await server.until(() => client.config.outbound.size === 0);
    await server.until(() => server.stream.subscribed(typeUrls.clusterLoadAssignment).size === 0);
    expect(client.status().resources).toEqual([]);
    // R24: subscribed again, it is sent again.
    await expect(client.outbound("reviews:9080")).resolves.toBe("found");
  });

  test("the number of names is bounded: missing ones go first, then the one asked longest ago", async () => {
    const server = await adsServer();
    server.set(
      outboundListener("a:1", routeName),
      outboundListener("b:1", routeName),
      outboundListener("c:1", routeName),
      ...reviews(),
    );
    const { client, env } = join(server, { maxNames: 2 });
    await expect(client.outbound("a:1")).resolves.toBe("found");
    const nowhere = client.outbound("nowhere:1");
    // In the state of the world it takes a moment to be sure (R12).
    await server.until(() => {
      env.clock.advance(100);
      return client.status().resources.some((one) => one.state === "DOES_NOT_EXIST");
    });
    await expect(nowhere).resolves.toBe("missing");
    await expect(client.outbound("b:1")).resolves.toBe("found");
    expect([...client.config.outbound.keys()]).toEqual(["a:1", "b:1"]);
    await expect(client.outbound("a:1")).resolves.toBe("found");
    await expect(client.outbound("c:1")).resolves.toBe("found");
    expect([...client.config.outbound.keys()]).toEqual(["a:1", "c:1"]);
    await server.until(() => server.stream.subscribed(typeUrls.listener).size === 2);
  });

  test("a control plane that cannot be reached: one clear error in time, and no storm of attempts", async () => {
    const server = await adsServer();
    await server.stop();
    const { client, env } = join(server, { waitTimeoutMs: 5_000 });
    const answer = client.outbound("reviews:9080");
    await server.until(() => client.status().lastError !== undefined);
    env.clock.advance(5_000);
    await expect(answer).rejects.toMatchObject({ code: "CONTROL_PLANE_UNREACHABLE" });
    expect(client.status().lastError?.message).toContain(server.address);
    const attempts = env.logged.filter((one) => one.level === "warn").length;
    expect(attempts).toBeLessThanOrEqual(3);
  });

  test.each([
    [16, "UNAUTHENTICATED"],
    [7, "PERMISSION_DENIED"],
  ])("a refusal (%i) is told at once to who waits, and the client keeps trying", async (code, expected) => {
    let refuse = true;
    const server = await adsServer({ authorize: () => (refuse ? { code, details: "not you" } : undefined) });
    server.set(...reviews());
    const { client, env } = join(server);
    await expect(client.outbound("reviews:9080")).rejects.toMatchObject({
      code: expected,
      message: expect.stringContaining("not you"),
    });
    refuse = false;
    env.clock.advance(1_000);
    await server.until(() => client.config.outbound.has("reviews:9080"));
  });

  test("close ends the stream and every wait, and leaves no timer", async () => {
    const server = await adsServer({ manual: true });
    const { client, env } = join(server);
    const answer = client.outbound("reviews:9080");
    await server.until(() => server.stream.requests.length === 1);
    await client.close();
    await expect(answer).rejects.toMatchObject({ code: "CLOSED" });
    await expect(client.outbound("other:1")).rejects.toMatchObject({ code: "CLOSED" });
    await server.until(() => server.streams.every((stream) => stream.ended));
    expect(env.clock.pending).toBe(0);
  });

  test("a time to live that runs out removes the resource, a heartbeat renews it (R21)", async () => {
    const server = await adsServer({ manual: true });
    const { client, env } = join(server);
    void client.outbound("a:1").catch(() => {});
    await server.until(() => server.stream.requests.length === 1);
    const resource = server.wrap(outboundListener("a:1", "r"), "1");
    resource.ttl = duration(10_000);
    const heartbeat = { ...resource };
    delete heartbeat.resource;
    server.stream.respond({ typeUrl: typeUrls.listener, resources: [resource] });
    await server.until(() => client.status().resources[0]?.state === "ACKED");
    env.clock.advance(9_000);
    const nonce = server.stream.respond({ typeUrl: typeUrls.listener, resources: [heartbeat] });
    await server.until(() => server.stream.acks.includes(nonce));
    env.clock.advance(9_000);
    expect(client.status().resources[0]?.state).toBe("ACKED");
    env.clock.advance(1_000);
    expect(client.status().resources[0]?.state).toBe("DOES_NOT_EXIST");
  });
});
