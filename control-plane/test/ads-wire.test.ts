import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";
import { describe, expect, test, vi } from "vitest";

import { stalledClient } from "./kit/ads-client.ts";
import { fakeClock } from "./kit/fake-clock.ts";
import { running } from "./kit/running.ts";
import { node } from "./kit/session-peer.ts";

const { cluster, routeConfiguration: rds } = typeUrls;

describe("over gRPC and TLS", () => {
  test("S1: both dialects are served, with changes pushed", async () => {
    const { client, source } = await running({ [cluster]: { a: "1" } });
    const one = await client();
    const delta = one.delta();
    delta.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = await delta.next();
    expect(first.resources[0]?.name).toBe("a");
    delta.send({ typeUrl: cluster, responseNonce: first.nonce });
    const sotw = one.sotw();
    sotw.send({ node, typeUrl: cluster, resourceNames: ["a"] });
    const whole = await sotw.next();
    sotw.send({ typeUrl: cluster, responseNonce: whole.nonce, resourceNames: ["a"], versionInfo: whole.versionInfo });
    // The ACKs have been read once something that was sent after them is answered.
    delta.send({ typeUrl: rds, resourceNamesSubscribe: ["x"] });
    await delta.next();
    source.publish({ [cluster]: { a: "2" } });
    expect(Buffer.from((await delta.next()).resources[0]!.resource!.value).toString()).toBe("a=2");
    expect(Buffer.from((await sotw.next()).resources[0]!.value).toString()).toBe("a=2");
  });

  test("S31: several streams with one node id live side by side", async () => {
    const { client, controlPlane, source } = await running({ [cluster]: { a: "1" } });
    const one = await client();
    const streams = [one.delta(), one.delta(), (await client()).delta()];
    for (const stream of streams) {
      stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
      const first = await stream.next();
      stream.send({ typeUrl: cluster, responseNonce: first.nonce });
    }
    expect(controlPlane.status().clients.map(({ nodeId }) => nodeId)).toEqual([node.id, node.id, node.id]);
    source.publish({ [cluster]: { a: "2" } });
    const second = await Promise.all(streams.map((stream) => stream.next()));
    expect(second.map(({ resources }) => resources.length)).toEqual([1, 1, 1]);
  });

  test("S30: a request above 4 MiB is refused with a status", async () => {
    const { client } = await running({});
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["x".repeat(5 * 1_024 * 1_024)] });
    expect(await stream.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  });

  test("S30: too many streams of one identity are refused, and counted down when they end", async () => {
    const { client } = await running({}, {}, { limits: { maxStreamsPerIdentity: 1 } });
    const one = await client();
    const stream = one.delta();
    stream.send({ node, typeUrl: cluster });
    await stream.next();
    expect(await one.delta().ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    stream.close();
    expect(await stream.ended).toMatchObject({ code: status.OK });
    const again = one.delta();
    again.send({ node, typeUrl: cluster });
    await again.next();
  });

  test("S29: a storm of new streams is told to back off", async () => {
    const { client } = await running({}, {}, { limits: { acceptRate: 0.001, acceptBurst: 2 } });
    const one = await client();
    for (const stream of [one.delta(), one.delta()]) {
      stream.send({ node, typeUrl: cluster });
      await stream.next();
    }
    expect(await one.delta().ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringMatching(/back off/),
    });
  });

  test("S26: a client that stops reading is cut, the others are not", async () => {
    const big = "x".repeat(2_000_000);
    const { client, source, controlPlane, root } = await running(
      { [cluster]: { a: big } },
      {},
      { limits: { sendTimeoutMs: 300 } },
    );
    const token = await controlPlane.issueToken({ namespace: "shop", serviceAccount: "web", lifeSeconds: 60 });
    const closed = stalledClient(controlPlane.port, { root, token }, { node, typeUrl: cluster });
    const well = (await client()).delta();
    well.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = await well.next();
    well.send({ typeUrl: cluster, responseNonce: first.nonce });
    await closed;
    expect(controlPlane.status().clients).toHaveLength(1);
    source.publish({ [cluster]: { a: "1" } });
    expect((await well.next()).resources).toHaveLength(1);
  });

  test("S27: an old stream ends, without an error, when nothing is unanswered", async () => {
    const { client } = await running({ [cluster]: { a: "1" } }, {}, { limits: { maxConnectionAgeMs: 400 } });
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = await stream.next();
    stream.send({ typeUrl: cluster, responseNonce: first.nonce });
    expect(await stream.ended).toMatchObject({ code: status.OK });
  });

  test("S28: on shutdown streams end with UNAVAILABLE, and new ones are not taken", async () => {
    const { client, controlPlane } = await running({ [cluster]: { a: "1" } });
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    await stream.next();
    await controlPlane.close();
    expect(await stream.ended).toMatchObject({ code: status.UNAVAILABLE });
    expect(controlPlane.status().ready).toBe(false);
    expect(await (await client()).delta().ended).toMatchObject({ code: status.UNAVAILABLE });
  });

  test("S28: not ready at once, and the streams end one by one over the grace", async () => {
    // Certificates are judged by the machine's own clock.
    const clock = fakeClock(Date.now());
    const { client, controlPlane } = await running({ [cluster]: { a: "1" } }, { shutdownGraceSeconds: 9 }, { clock });
    const opened = await client();
    const ended: number[] = [];
    const streams = Array.from({ length: 3 }, (_, index) => {
      const stream = opened.delta();
      void stream.ended.then(() => ended.push(index));
      return stream;
    });
    for (const stream of streams) {
      stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
      await stream.next();
    }
    const closed = controlPlane.close();
    expect(controlPlane.status().ready).toBe(false);
    for (const count of [1, 2, 3]) {
      await vi.waitFor(() => expect(ended).toHaveLength(count), { timeout: 5_000 });
      clock.advance(3_000);
    }
    await closed;
  });

  test("S25: not ready, requests are held", async () => {
    const { client, source, controlPlane } = await running(undefined);
    expect(controlPlane.status().ready).toBe(false);
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const next = stream.next();
    source.publish({ [cluster]: { a: "1" } });
    expect((await next).resources).toHaveLength(1);
  });

  test("S4: after a restart on the same data, clients come back by the same root and token, and nothing goes again", async () => {
    const contents = { [cluster]: { a: "1" }, [rds]: { a: "1" } };
    const first = await running(contents);
    const token = await first.controlPlane.issueToken({ namespace: "shop", serviceAccount: "web", lifeSeconds: 60 });
    const before = first.bare({ token }).delta();
    before.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const { version } = (await before.next()).resources[0]!;
    const { port } = first.controlPlane;
    await first.controlPlane.close();

    const second = await running(contents, { dataDir: first.dataDir, port });
    expect(second.root).toBe(first.root);
    const after = second.bare({ token }).delta();
    after.send({
      node,
      typeUrl: cluster,
      resourceNamesSubscribe: ["a", "later"],
      initialResourceVersions: { a: version },
    });
    const response = await after.next();
    expect(response.resources).toEqual([]);
    expect(response.removedResources).toEqual(["later"]);
  });
});
