import { typeUrls } from "@trama/proto";
import type { DiscoveryResponse } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { describe, expect, test } from "vitest";

import { fakeClock } from "../../test/kit/fake-clock.ts";
import { type Contents, fakeSource } from "../../test/kit/fake-source.ts";
import { node, sotwPeer } from "../../test/kit/session-peer.ts";

const { cluster, clusterLoadAssignment: eds, listener, routeConfiguration: rds } = typeUrls;
const grpcNode = { ...node, metadata: { NAMESPACE: "shop", GENERATOR: "grpc" } };

function start(contents?: Contents) {
  const source = fakeSource(contents);
  const clock = fakeClock();
  return { source, clock, client: sotwPeer({ source, clock }), again: () => sotwPeer({ source, clock }) };
}

const brings = (response: DiscoveryResponse): string[] =>
  response.resources.map((resource) => Buffer.from(resource.value).toString());

describe("a state-of-the-world subscription", () => {
  test("S11: listeners and clusters go out whole, routes and endpoints only as far as they changed", () => {
    const contents = { [cluster]: { a: "1", b: "1" }, [rds]: { a: "1", b: "1" } };
    const { client, source } = start(contents);
    client.send({ node, typeUrl: cluster, resourceNames: ["a", "b"] });
    client.send({ typeUrl: rds, resourceNames: ["a", "b"] });
    for (const response of client.take()) client.ack(response);
    source.publish({ [cluster]: { a: "1", b: "2" }, [rds]: { a: "1", b: "2" } });
    const [clusters, routes] = client.take();
    expect(brings(clusters!)).toEqual(["a=1", "b=2"]);
    expect(brings(routes!)).toEqual(["b=2"]);
    expect(clusters).toMatchObject({ typeUrl: cluster, controlPlane: { identifier: "test" } });
    expect(clusters?.resources[0]).toMatchObject({ typeUrl: cluster });
  });

  test("S12: an unknown cluster is left out at once, an unknown route is no answer, both come when they exist", () => {
    const { client, source } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["a", "x"] });
    const first = client.one();
    expect(brings(first)).toEqual(["a=1"]);
    client.ack(first);
    client.send({ typeUrl: rds, resourceNames: ["x"] });
    expect(client.take()).toEqual([]);
    source.publish({ [cluster]: { a: "1", x: "1" }, [rds]: { x: "1" } });
    expect(client.take().map(brings)).toEqual([["a=1", "x=1"], ["x=1"]]);
  });

  test("S12: a listener that does not exist is answered by an empty response", () => {
    const { client } = start({});
    client.send({ node, typeUrl: listener, resourceNames: ["x"] });
    expect(brings(client.one())).toEqual([]);
  });

  test("S17: without the client saying that it takes them, no wrapper and no TTL is sent", () => {
    const { client } = start({ [cluster]: { a: "1" }, [eds]: { a: "1" } });
    for (const typeUrl of [cluster, eds]) {
      client.send({ node, typeUrl, resourceNames: ["a"] });
      expect(client.one().resources.map((resource) => resource.typeUrl)).toEqual([typeUrl]);
    }
  });

  test("S21: a part of what there is is answered at once, whatever else could be asked for", () => {
    const { client } = start({ [cluster]: { a: "1", b: "1" }, [eds]: { a: "1", b: "1" }, [rds]: { r: "1" } });
    client.send({ node, typeUrl: eds, resourceNames: ["b"] });
    expect(brings(client.one())).toEqual(["b=1"]);
    client.send({ typeUrl: cluster, resourceNames: ["a"] });
    expect(brings(client.one())).toEqual(["a=1"]);
  });

  test("S9: a first request without names means all; after names were given it means none", () => {
    const { client, source } = start({ [listener]: { a: "1", "bank/b": "1" } });
    client.send({ node, typeUrl: listener });
    const first = client.one();
    expect(brings(first)).toEqual(["a=1"]);
    client.send({ typeUrl: listener, responseNonce: first.nonce, versionInfo: first.versionInfo });
    source.publish({ [listener]: { a: "2" } });
    const second = client.one();
    expect(brings(second)).toEqual(["a=2"]);
    client.send({ typeUrl: listener, responseNonce: second.nonce, resourceNames: ["a"] });
    const named = client.one();
    client.send({ typeUrl: listener, responseNonce: named.nonce, resourceNames: [] });
    source.publish({ [listener]: { a: "3" } });
    expect(client.take()).toEqual([]);
  });

  test("S2: a request with a stale nonce gets no answer", () => {
    const { client } = start({ [cluster]: { a: "1", b: "1" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["a"] });
    const first = client.one();
    client.ack(first);
    client.send({ typeUrl: cluster, responseNonce: first.nonce, resourceNames: ["a", "b"] });
    const second = client.one();
    expect(brings(second)).toEqual(["a=1", "b=1"]);
    client.send({ typeUrl: cluster, responseNonce: first.nonce, resourceNames: ["a"] });
    expect(client.take()).toEqual([]);
    expect(client.events.staleNonce).toHaveBeenCalledOnce();
    client.ack(second);
    expect(client.take()).toEqual([]);
  });

  test("S6: an ACK gets no answer", () => {
    const { client } = start({ [cluster]: { a: "1" }, [eds]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["a"] });
    client.ack(client.one());
    client.send({ typeUrl: eds, resourceNames: ["a"] });
    client.ack(client.one());
    expect(client.take()).toEqual([]);
  });

  test("S10: a name newly asked for is sent even if it went out before", () => {
    const { client } = start({ [eds]: { a: "1", b: "1" } });
    client.send({ node, typeUrl: eds, resourceNames: ["a"] });
    const first = client.one();
    client.send({ typeUrl: eds, responseNonce: first.nonce, resourceNames: [] });
    client.send({ typeUrl: eds, responseNonce: first.nonce, resourceNames: ["a"] });
    expect(brings(client.one())).toEqual(["a=1"]);
  });

  test("S3: a NACK is `error_detail`; the same content does not go again, a change of names is answered", () => {
    const { client, source } = start({ [cluster]: { a: "bad", b: "1" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["a"] });
    const first = client.one();
    client.nack(first, "no");
    source.publish({ [cluster]: { a: "bad", b: "1" }, [rds]: { x: "1" } });
    expect(client.take()).toEqual([]);
    expect(client.events.nacked).toHaveBeenCalledWith(expect.anything(), cluster, "no");
    client.send({ typeUrl: cluster, responseNonce: first.nonce, versionInfo: "", resourceNames: ["a", "b"] });
    expect(brings(client.one())).toEqual(["a=bad", "b=1"]);
    expect(client.events.nacked).toHaveBeenCalledOnce();
  });

  test("S4, S5: on a new stream a known version saves the re-send, unless something new is asked for", () => {
    const { client, again } = start({ [cluster]: { a: "1", b: "1" }, [eds]: { a: "1" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["a"] });
    client.send({ typeUrl: eds, resourceNames: ["a"] });
    const [clusters, endpoints] = client.take();
    const same = again();
    same.send({ node, typeUrl: cluster, versionInfo: clusters!.versionInfo, resourceNames: ["a"] });
    same.send({ typeUrl: eds, versionInfo: endpoints!.versionInfo, resourceNames: ["a"] });
    expect(same.take()).toEqual([]);
    for (const resourceNames of [["a", "b"], ["a", "unknown"], ["b"]]) {
      const other = again();
      other.send({ node, typeUrl: cluster, versionInfo: clusters!.versionInfo, resourceNames });
      expect(other.take()).toHaveLength(1);
    }
  });

  test("S4: the version is a function of the content, not of how it came about", () => {
    const { client, source, again } = start({ [eds]: { a: "1" } });
    client.send({ node, typeUrl: eds, resourceNames: ["a", "b"] });
    client.ack(client.one());
    source.publish({ [eds]: { a: "1", b: "2" } });
    const late = client.one();
    const other = again();
    other.send({ node, typeUrl: eds, resourceNames: ["b", "a"] });
    expect(other.one().versionInfo).toBe(late.versionInfo);
  });

  test("S18: a cluster goes from the whole set only after the routes that dropped it were ACKed", () => {
    const { client, source, clock } = start({ [cluster]: { old: "1" }, [rds]: { r: "to old" } });
    client.send({ node, typeUrl: cluster, resourceNames: ["old", "new"] });
    client.send({ typeUrl: rds, resourceNames: ["r"] });
    for (const response of client.take()) client.ack(response);
    clock.advance(1_000);
    source.publish({ [cluster]: { new: "1" }, [rds]: { r: "to new" } });
    const [clusters, routes, ...more] = client.take();
    expect(brings(clusters!).sort()).toEqual(["new=1", "old=1"]);
    expect(brings(routes!)).toEqual(["r=to new"]);
    expect(more).toEqual([]);
    client.ack(clusters!);
    expect(client.take()).toEqual([]);
    client.ack(routes!);
    expect(brings(client.one())).toEqual(["new=1"]);
  });

  test("S20: endpoints go again, unasked, after a change of their cluster", () => {
    const { client, source } = start({ [cluster]: { a: "1", b: "1" }, [eds]: { a: "1", b: "1" } });
    client.send({ node: grpcNode, typeUrl: cluster, resourceNames: ["a", "b"] });
    client.send({ typeUrl: eds, resourceNames: ["a", "b"] });
    for (const response of client.take()) client.ack(response);
    source.publish({ [cluster]: { a: "2", b: "1" }, [eds]: { a: "1", b: "1" } });
    expect(client.take().map(brings)).toEqual([["a=2", "b=1"], ["a=1"]]);
  });

  test("S8: an unknown type is not answered, and the stream goes on", () => {
    const { client } = start({ [cluster]: { a: "1" } });
    client.send({ node, typeUrl: "type.googleapis.com/acme.Gadget", resourceNames: ["g"] });
    expect(client.take()).toEqual([]);
    client.send({ typeUrl: cluster, resourceNames: ["a"] });
    expect(client.take()).toHaveLength(1);
  });

  test("S13, R13: a route that went and comes back the same is sent again", () => {
    const { client, source, clock } = start({ [rds]: { a: "1" } });
    client.send({ node, typeUrl: rds, resourceNames: ["a"] });
    client.ack(client.one());
    clock.advance(1_000);
    source.publish({});
    expect(client.take()).toEqual([]);
    source.publish({ [rds]: { a: "1" } });
    expect(brings(client.one())).toEqual(["a=1"]);
  });
});
