import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";
import type { DeltaDiscoveryResponse } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { describe, expect, test } from "vitest";

import { fakeClock } from "../../test/kit/fake-clock.ts";
import { type Contents, fakeSource, hash } from "../../test/kit/fake-source.ts";
import { deltaPeer, node } from "../../test/kit/session-peer.ts";

const { cluster, clusterLoadAssignment: eds, listener, routeConfiguration: rds } = typeUrls;

function start(contents?: Contents) {
  const source = fakeSource(contents);
  const clock = fakeClock();
  return { source, clock, client: deltaPeer({ source, clock }) };
}

/** What a response brings: `name=content` of each resource, and `-name` of each that is removed. */
function brings(response: DeltaDiscoveryResponse): string[] {
  return [
    ...response.resources.map((resource) => Buffer.from(resource.resource?.value ?? []).toString()),
    ...response.removedResources.map((name) => `-${name}`),
  ];
}

describe("a delta subscription", () => {
  test("S7: names the type, the replica and each resource's own name and version", () => {
    const { client } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const response = client.one();
    expect(response).toMatchObject({ typeUrl: cluster, controlPlane: { identifier: "test" } });
    expect(response.resources).toMatchObject([{ name: "a", version: hash("1"), resource: { typeUrl: cluster } }]);
    expect(brings(response)).toEqual(["a=1"]);
  });

  test("S2: nonces are never empty and never come again on a stream", () => {
    const { client, source } = start({ [cluster]: { a: "0" }, [rds]: { a: "0" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.send({ typeUrl: rds, resourceNamesSubscribe: ["a"] });
    for (let n = 1; n < 20; n += 1) {
      for (const response of client.take()) client.ack(response);
      source.publish({ [cluster]: { a: `${n}` }, [rds]: { a: `${n}` } });
    }
    const nonces = client.responses.map(({ nonce }) => nonce);
    expect(nonces).not.toContain("");
    expect(new Set(nonces).size).toBe(nonces.length);
  });

  test("S13: an unknown name is removed at once, and sent when it comes to be", () => {
    const { client, source } = start({});
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = client.one();
    expect(brings(first)).toEqual(["-a"]);
    client.ack(first);
    source.publish({ [cluster]: { a: "1" } });
    expect(brings(client.one())).toEqual(["a=1"]);
  });

  test("S34: a name that is hidden from this node is answered exactly as an unknown one", () => {
    const { client } = start({ [cluster]: { "bank/vault": "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["bank/vault", "bank/nothing"] });
    expect(brings(client.one())).toEqual(["-bank/vault", "-bank/nothing"]);
  });

  test("S8: of an unknown type the names are removed, and the stream goes on", () => {
    const { client } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: "type.googleapis.com/acme.Gadget", resourceNamesSubscribe: ["g"] });
    expect(brings(client.one())).toEqual(["-g"]);
    expect(client.events.unknownType).toHaveBeenCalledOnce();
    client.send({ typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    expect(brings(client.one())).toEqual(["a=1"]);
    expect(client.ended).toEqual([]);
  });

  test("S6: an ACK is not answered, and the same content does not go again", () => {
    const { client, source } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.ack(client.one());
    source.publish({ [cluster]: { a: "1" }, [rds]: { other: "2" } });
    expect(client.take()).toEqual([]);
    expect(client.events.acked).toHaveBeenCalledOnce();
  });

  test("S3: a NACK keeps its text, and its content does not go again until it changes", () => {
    const { client, source } = start({ [cluster]: { a: "bad" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.nack(client.one(), "a: no such policy");
    source.publish({ [cluster]: { a: "bad", b: "1" } });
    expect(client.take()).toEqual([]);
    const [{ status: record } = { status: undefined }] = [...client.session.channels];
    expect(record).toMatchObject({ sent: 1, acked: 0, nacked: 1, nackText: "a: no such policy" });
    expect(client.events.nacked).toHaveBeenCalledWith(expect.anything(), cluster, "a: no such policy");
    source.publish({ [cluster]: { a: "good" } });
    client.ack(client.one());
    expect(record).toMatchObject({ acked: 1, nackText: undefined });
  });

  test("S3: a request without nonce is a change of subscription, not a NACK", () => {
    const { client } = start({ [cluster]: { a: "1", b: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = client.one();
    client.send({ typeUrl: cluster, resourceNamesSubscribe: ["b"] });
    expect(client.events.nacked).not.toHaveBeenCalled();
    client.ack(first);
    expect(brings(client.one())).toEqual(["b=1"]);
  });

  test("S2: a subscription with a stale nonce counts all the same", () => {
    const { client } = start({ [cluster]: { a: "1", b: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.ack(client.one());
    client.send({ typeUrl: cluster, responseNonce: "stale", resourceNamesSubscribe: ["b"] });
    expect(brings(client.one())).toEqual(["b=1"]);
    expect(client.events.staleNonce).toHaveBeenCalledOnce();
  });

  test("S14: a name asked for again is always answered", () => {
    const { client } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.ack(client.one());
    client.send({ typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.ack(client.one());
    // Even if the client claims a version now: these count in the first request of the type only.
    client.send({ typeUrl: cluster, resourceNamesSubscribe: ["a"], initialResourceVersions: { a: hash("1") } });
    expect(brings(client.one())).toEqual(["a=1"]);
  });

  test("S14, S16: a reconnecting client is told what differs and what is gone, and nothing else", () => {
    const { client, clock } = start({ [cluster]: { same: "1", other: "2", fresh: "1" } });
    client.send({
      node,
      typeUrl: cluster,
      resourceNamesSubscribe: ["same", "other", "fresh", "gone", "bank/hidden"],
      initialResourceVersions: { same: hash("1"), other: hash("1"), gone: hash("1"), "bank/hidden": hash("1") },
    });
    const first = client.one();
    expect(brings(first)).toEqual(["other=2", "fresh=1"]);
    client.ack(first);
    clock.advance(200);
    expect(brings(client.one())).toEqual(["-gone", "-bank/hidden"]);
  });

  test("S4: after a restart nothing goes again to a client that has it all", () => {
    const { client, clock } = start({ [cluster]: { a: "1" }, [eds]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"], initialResourceVersions: { a: hash("1") } });
    client.send({ typeUrl: eds, resourceNamesSubscribe: ["a"], initialResourceVersions: { a: hash("1") } });
    clock.advance(1_000);
    expect(client.take()).toEqual([]);
  });

  test("S9: a first request for listeners or clusters without names means all that are visible", () => {
    const { client, source } = start({ [cluster]: { a: "1", "shop/b": "1", "bank/c": "1" } });
    client.send({ node, typeUrl: cluster });
    const first = client.one();
    expect(brings(first)).toEqual(["a=1", "shop/b=1"]);
    client.ack(first);
    source.publish({ [cluster]: { a: "1", "shop/b": "1", d: "1" } });
    expect(brings(client.one())).toEqual(["d=1"]);
    client.send({ typeUrl: rds });
    expect(client.take()).toEqual([]);
  });

  test("S9: an empty wildcard is answered once, because a client waits for it", () => {
    const { client, source } = start({});
    client.send({ node, typeUrl: listener, resourceNamesSubscribe: ["*"] });
    const first = client.one();
    expect(brings(first)).toEqual([]);
    client.ack(first);
    source.publish({ [rds]: { a: "1" } });
    expect(client.take()).toEqual([]);
  });

  test("S14: a wildcard asked for again brings everything again", () => {
    const { client } = start({ [cluster]: { a: "1", b: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["*"] });
    client.ack(client.one());
    client.send({ typeUrl: cluster, resourceNamesSubscribe: ["*"] });
    expect(brings(client.one())).toEqual(["a=1", "b=1"]);
  });

  test("S15: a name that is unsubscribed while the wildcard covers it is answered", () => {
    const { client } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["*", "a", "b"] });
    const first = client.one();
    expect(brings(first)).toEqual(["a=1", "-b"]);
    client.ack(first);
    client.send({ typeUrl: cluster, resourceNamesUnsubscribe: ["a"] });
    const stays = client.one();
    expect(brings(stays)).toEqual(["a=1"]);
    client.ack(stays);
    client.send({ typeUrl: cluster, resourceNamesUnsubscribe: ["b"] });
    expect(brings(client.one())).toEqual(["-b"]);
  });

  test("S15: unsubscribing what was not subscribed is no error, and unsubscribed names are silent", () => {
    const { client, source } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"], resourceNamesUnsubscribe: ["x"] });
    client.ack(client.one());
    client.send({ typeUrl: cluster, resourceNamesUnsubscribe: ["a", "y"] });
    source.publish({ [cluster]: { a: "2" } });
    source.publish({});
    expect(client.take()).toEqual([]);
    expect(client.ended).toEqual([]);
  });

  test("R13: what was removed and comes back the same is sent again", () => {
    const { client, source, clock } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    client.ack(client.one());
    clock.advance(1_000);
    source.publish({});
    const removal = client.one();
    expect(brings(removal)).toEqual(["-a"]);
    client.ack(removal);
    source.publish({ [cluster]: { a: "1" } });
    expect(brings(client.one())).toEqual(["a=1"]);
  });

  test("a response that would be too large is cut, and goes on after its ACK", () => {
    const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
    const source = fakeSource({ [eds]: Object.fromEntries(names.map((name) => [name, "x".repeat(100)])) });
    const client = deltaPeer({ source, clock: fakeClock(), limits: { maxResponseBytes: 350 } });
    client.send({ node, typeUrl: eds, resourceNamesSubscribe: names });
    const sizes: number[] = [];
    for (let next = client.one(); sizes.length < 5; next = client.one()) {
      sizes.push(next.resources.length);
      client.ack(next);
      if (sizes.reduce((sum, size) => sum + size, 0) === 10) break;
    }
    expect(sizes).toEqual([3, 3, 3, 1]);
    expect(client.take()).toEqual([]);
  });

  test("S1: without a node in the first request the stream ends", () => {
    const { client } = start({});
    client.send({ typeUrl: cluster });
    expect(client.ended).toEqual([{ code: status.INVALID_ARGUMENT, message: "the first request has no node" }]);
  });
});
