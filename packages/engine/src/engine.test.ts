import { describe, expect, it } from "vitest";
import { makeCall, makePeer } from "../../../test/kit/call.ts";
import type { CallOptions } from "../../../test/kit/call.ts";
import { testEnv } from "../../../test/kit/env.ts";
import {
  chain,
  cluster,
  endpoint,
  endpoints,
  forward,
  inboundListener,
  listener,
  meshConfig,
  retryPolicy,
  route,
} from "../../../test/kit/mesh-config.ts";
import { MockPeer, answers, waits } from "../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../test/kit/service-laws.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import type { CompiledSnapshot } from "./compile.ts";
import type { MeshConfig } from "./config.ts";
import { createEngine } from "./engine.ts";
import type { Env } from "./env.ts";
import { HeaderList } from "./headers.ts";
import { noFlow } from "./service.ts";
import type { Service } from "./service.ts";

const NAME = "reviews:9080";
const v1 = cluster("v1", { endpoints: endpoints(2) });
const v2 = cluster("v2", { endpoints: [endpoint("10.2.0.1:80")] });
const toV1 = listener(NAME, [route(forward("v1", { retry: retryPolicy() }))]);
const plain = meshConfig({ outbound: [toV1], clusters: [v1, v2] });

function world(
  config: MeshConfig = plain,
  script: ConstructorParameters<typeof MockPeer> = [],
  over: Partial<Env> = {},
) {
  const env = testEnv({ telemetry: over.telemetry ?? undefined } as Parameters<typeof testEnv>[0]);
  const engine = createEngine(env, config);
  const peer = new MockPeer(...script);
  const go = (options: CallOptions = {}, name = NAME) => {
    const call = makeCall({ snapshot: engine.current, transport: peer, startMs: env.clock.now(), ...options });
    const sink = new TestSink();
    engine.outbound(name, call, sink);
    return { call, sink };
  };
  return { env, engine, peer, go };
}

describe("outbound", () => {
  it("takes a call from its listener to an endpoint, and tells telemetry once", () => {
    const { env, peer, go, engine } = world(plain, [waits]);
    const { call, sink } = go();
    expect(engine.active).toBe(1);
    env.clock.advance(12);
    peer.next().answer(200, "hello");
    expect(sink.text).toBe("hello");
    expect(env.ended).toEqual([call]);
    expect(call.record).toMatchObject({
      status: 200,
      flag: "-",
      attempts: 1,
      responseBytes: 5,
      endMs: call.record.startMs + 12,
    });
    expect(call.record.cluster?.name).toBe("v1");
    expect(engine.active).toBe(0);
  });

  it("knows no such listener: NO_CONFIG, and that is recorded too", () => {
    const { env, go } = world();
    const { sink, call } = go({}, "nobody:80");
    expect(sink.error?.code).toBe("NO_CONFIG");
    expect(env.ended).toEqual([call]);
    expect(call.record).toMatchObject({ status: 503, flag: "NC" });
  });

  it("a cluster that nobody sent: NO_CLUSTER", () => {
    const { go } = world(meshConfig({ outbound: [listener(NAME, [route(forward("gone"))])] }));
    expect(go().sink.error?.code).toBe("NO_CLUSTER");
  });

  it("an aborted call has no status and the flag DC", () => {
    const { env, go } = world(plain, [waits]);
    const { call, sink } = go();
    call.abort("enough");
    expect(sink.error?.cause).toBe("enough");
    expect(call.record).toMatchObject({ status: 0, flag: "DC" });
    expect(env.ended).toHaveLength(1);
  });

  it("telemetry fails open: what it throws is counted and said seldom", () => {
    const telemetry = {
      onCall() {
        throw new Error("full");
      },
    };
    const { env, engine, peer, go } = world(plain, [], { telemetry });
    peer.allow(100);
    for (let i = 0; i < 100; i++) expect(go().sink.status).toBe(200);
    expect(engine.telemetryFailures).toBe(100);
    expect(env.logged).toHaveLength(7);
    expect(engine.active).toBe(0);
  });

  it("a gRPC status reaches the record from the head, the trailers, or the error", () => {
    const { peer, go } = world(plain, [
      answers(200, undefined, { "grpc-status": "5" }),
      (exchange) => void exchange.head(200).data().end({ "grpc-status": "7" }),
    ]);
    expect(go({ protocol: "grpc" }).call.record.grpcStatus).toBe(5);
    expect(go({ protocol: "grpc" }).call.record.grpcStatus).toBe(7);
    const { call } = go({ protocol: "grpc", method: "POST" });
    peer.exchanges[2]!.fail("RESET");
    expect(call.record.grpcStatus).toBe(14);
  });

  it("keeps the laws in random orders, retries and swaps included", () => {
    let engine: ReturnType<typeof createEngine>;
    checkServiceLaws(
      ({ env }) => {
        engine = createEngine(env, plain);
        return (call, sink) => {
          engine.outbound(NAME, call, sink);
          engine.publish(meshConfig({ outbound: [toV1], clusters: [{ ...v1 }, v2] }));
        };
      },
      {
        call: () => ({ snapshot: engine.current }),
        after: ({ env }, { call }) => {
          expect(env.ended).toEqual([call]);
          expect(engine.active).toBe(0);
        },
      },
    );
  });
});

describe("publish", () => {
  it("a call keeps the snapshot it began with; the next one sees the new (law 6)", () => {
    const { env, engine, peer, go } = world(plain, [answers(503)]);
    const first = go();
    engine.publish(meshConfig({ outbound: [listener(NAME, [route(forward("v2"))])], clusters: [v1, v2] }));
    peer.allow(2);
    expect(go().call.record.cluster?.name).toBe("v2");
    env.clock.advance(1_000);
    expect(first.sink.status).toBe(200);
    expect(peer.tried[2]).toBe(first.call.record.endpoint?.address);
    expect(v1.endpoints.priorities[0]![0]!.endpoints).toContain(first.call.record.endpoint);
  });

  it("a cluster that changes is rebuilt alone", () => {
    const { engine } = world();
    const before = engine.current as CompiledSnapshot;
    const changed = cluster("v1", { endpoints: endpoints(3) });
    engine.publish(meshConfig({ outbound: [toV1], clusters: [changed, v2] }));
    const after = engine.current as CompiledSnapshot;
    expect(after.version).toBe(before.version + 1);
    expect(after.outbound(NAME)).toBe(before.outbound(NAME));
    expect(after.clusters.get("v2")).toBe(before.clusters.get("v2"));
    expect(after.clusters.get("v1")).not.toBe(before.clusters.get("v1"));
  });

  it("a listener whose service did not change still reaches the new endpoints of its cluster", () => {
    const { engine, peer, go } = world();
    const added = endpoint("10.5.5.5:80");
    engine.publish(meshConfig({ outbound: [toV1], clusters: [cluster("v1", { endpoints: [added] }), v2] }));
    peer.allow(1);
    expect(go().call.record.endpoint).toBe(added);
  });

  it("a cluster that appears or goes is noticed by the routes that name it", () => {
    const { engine, peer, go } = world(meshConfig({ outbound: [toV1] }));
    expect(go().sink.error?.code).toBe("NO_CLUSTER");
    engine.publish(plain);
    peer.allow(1);
    expect(go().sink.status).toBe(200);
    engine.publish(meshConfig({ outbound: [toV1] }));
    expect(go().sink.error?.code).toBe("NO_CLUSTER");
  });

  it("what cannot be compiled changes nothing, holds nothing, and is told to the publisher", () => {
    const { engine, peer, go } = world();
    const before = engine.current;
    const bad = route(forward("v1"), { match: { path: { kind: "regex", value: "(" } } });
    expect(() =>
      engine.publish(meshConfig({ outbound: [listener(NAME, [bad])], clusters: [cluster("new"), v1] })),
    ).toThrow();
    expect(engine.current).toBe(before);
    peer.allow(1);
    expect(go().sink.status).toBe(200);
  });

  it("load survives swaps under calls in flight, and nothing is left when they ended", () => {
    const { engine, peer, go } = world();
    const started = Array.from({ length: 50 }, (_, i) => {
      const begun = go();
      if (i % 5 === 0)
        engine.publish(
          meshConfig({ outbound: [toV1], clusters: [cluster("v1", { endpoints: endpoints(2 + (i % 3)) })] }),
        );
      return begun;
    });
    engine.publish(meshConfig({}));
    for (const exchange of peer.exchanges) exchange.answer(200);
    for (const { sink } of started) expect(sink).toMatchObject({ status: 200, breaches: [] });
    expect(engine.active).toBe(0);
  });

  it("100 swaps of the weights fail no call", () => {
    const { engine, peer, go } = world();
    for (let i = 0; i < 100; i++) {
      const split = listener(NAME, [route(forward({ v1: i, v2: 100 - i }))]);
      const under = [go(), go()];
      engine.publish(meshConfig({ outbound: [split], clusters: [v1, v2] }));
      under.push(go());
      for (const each of under) {
        peer.next().answer(200);
        expect(each.sink.status).toBe(200);
      }
    }
    expect(engine.active).toBe(0);
  });
});

describe("inbound", () => {
  const tls = { identity: "default", trust: "ROOTCA", requireClientCertificate: true, subjectNames: [] };
  const strict = chain("inbound-mtls", { tls, match: { ...chain("").match, transportProtocol: "tls" } });
  const config = meshConfig({ inbound: [inboundListener("10.0.0.1:9080", { chains: [strict] })] });
  const facts = {
    transportProtocol: "tls",
    remoteAddress: "10.0.0.9",
    remotePort: 1,
    localAddress: "10.0.0.1",
    localPort: 9_080,
  } as const;
  const handler: Service = (_call, sink) => {
    sink.onHead({ status: 204, headers: HeaderList.empty() }, noFlow);
    sink.onEnd(undefined);
  };

  function serve(options: CallOptions) {
    const { env, engine } = world(config);
    const found = engine.current.inbound("10.0.0.1:9080")!.chain(facts)!;
    const call = makeCall({ snapshot: engine.current, side: "inbound", startMs: env.clock.now(), ...options });
    const sink = new TestSink();
    found.serve(handler)(call, sink);
    return { env, call, sink, found, engine };
  }

  it("serves a verified peer and records who it was", () => {
    const { env, call, sink, found } = serve({ peer: makePeer() });
    expect(sink.status).toBe(204);
    expect(env.ended).toEqual([call]);
    expect(call.record).toMatchObject({ mtls: true, peerPrincipal: makePeer().spiffeId, status: 204 });
    expect(call.record.cluster).toMatchObject({ name: "inbound|9080||", service: { name: "reviews" } });
    expect(found.serve(handler)).toBe(found.serve(handler));
  });

  it("closes what no chain takes", () => {
    const { engine } = serve({ peer: makePeer() });
    expect(
      engine.current.inbound("10.0.0.1:9080")!.chain({ ...facts, transportProtocol: "raw_buffer" }),
    ).toBeUndefined();
  });

  it("refuses a peer whose certificate has ended since the handshake", () => {
    const peer = makePeer({ notAfterMs: Date.UTC(2025, 11, 31) });
    const { sink, found, call } = serve({ peer });
    expect(sink.error).toMatchObject({ code: "DENIED", status: 403 });
    expect(call.record.status).toBe(403);
    expect(found.admits(peer)).toBe(false);
    expect(found.admits(makePeer())).toBe(true);
  });

  it("refuses a call without a verified peer where one is required", () => {
    expect(serve({}).sink.error?.code).toBe("DENIED");
    expect(serve({ peer: makePeer({ mtls: false, spiffeId: undefined }) }).sink.error?.code).toBe("DENIED");
  });

  it("falls back to the default chain", () => {
    const { engine } = world(meshConfig({ inbound: [inboundListener("a:1", { defaultChain: chain("default") })] }));
    expect(engine.current.inbound("a:1")!.chain(facts)?.config.name).toBe("default");
  });
});

describe("close", () => {
  it("waits for calls under way, then refuses new ones", async () => {
    const { env, engine, peer, go } = world(plain, [waits]);
    go();
    let closed = false;
    const closing = engine.close(5_000).then(() => (closed = true));
    peer.allow(1);
    expect(go().sink.status).toBe(200);
    await Promise.resolve();
    expect(closed).toBe(false);
    peer.next().answer(200);
    await closing;
    expect(go().sink.error?.code).toBe("CLOSED");
    expect(env.clock.pending).toBe(0);
  });

  it("does not wait longer than it was told", async () => {
    const { env, engine, go } = world(plain, [waits]);
    go();
    const closing = engine.close(5_000);
    env.clock.advance(5_000);
    await closing;
    expect(engine.active).toBe(1);
    await engine.close(1);
  });
});
