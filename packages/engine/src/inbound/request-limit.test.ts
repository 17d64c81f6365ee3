import { expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { chain, inboundListener, meshConfig } from "../../../../test/kit/mesh-config.ts";
import { MockPeer } from "../../../../test/kit/peer.ts";
import { checkServiceLaws } from "../../../../test/kit/service-laws.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import type { FilterKind, InboundLimits, MeshConfig } from "../config.ts";
import { createEngine } from "../engine.ts";
import { requestLimit } from "./request-limit.ts";

const facts = {
  transportProtocol: "raw_buffer",
  remoteAddress: "10.0.0.2",
  remotePort: 1,
  localAddress: "10.0.0.1",
  localPort: 8_080,
} as const;

function world() {
  const engine = createEngine(testEnv());
  const peer = new MockPeer();
  const go = (protocol: "http" | "grpc" = "http", port = 8_080, path = "/") => {
    const sink = new TestSink();
    const call = makeCall({ side: "inbound", protocol, path, snapshot: engine.current });
    engine.current.inbound(`10.0.0.1:${port}`)!.chain(facts)!.serve(peer.service)(call, sink);
    return { sink, call };
  };
  const publish = (max: number | undefined, filters: FilterKind[] = []): void => engine.publish(ports(max, filters));
  return { peer, go, publish };
}

/** A port with a limit, and one without. */
function ports(maxRequests: number | undefined, filters: readonly FilterKind[]): MeshConfig {
  const limits: InboundLimits = { maxConnections: undefined, maxRequests };
  const named = filters.map((config, at) => ({ name: `f${at}`, config, disabled: false }));
  const chains = [chain("c", { filters: named })];
  return meshConfig({
    inbound: [inboundListener("10.0.0.1:8080", { chains, limits }), inboundListener("10.0.0.1:8081", { chains })],
  });
}

it("answers what is above the limit 503 with UO, and takes the next when one has ended, well or not", () => {
  const { peer, go, publish } = world();
  publish(2);
  const first = go();
  go();
  const refused = go();
  expect(refused.sink.status).toBe(503);
  expect(refused.sink.head?.headers.get("x-envoy-overloaded")).toBe("true");
  expect(refused.call.record.flag).toBe("UO");
  expect(peer.exchanges).toHaveLength(2);
  peer.exchanges[0]!.head();
  expect(go().sink.status).toBe(503);
  peer.exchanges[0]!.end();
  expect(first.sink.over).toBe(true);
  go();
  expect(peer.exchanges).toHaveLength(3);
  peer.exchanges[1]!.fail("ABORTED");
  go();
  expect(peer.exchanges).toHaveLength(4);
});

it("tells gRPC UNAVAILABLE, and counts each port for itself", () => {
  const { peer, go, publish } = world();
  publish(1);
  go("grpc");
  expect(go("grpc").call.record).toMatchObject({ flag: "UO", grpcStatus: 14 });
  go("http", 8_081);
  go("http", 8_081);
  expect(peer.exchanges).toHaveLength(3);
});

it("refuses no probe, and counts none", () => {
  const { peer, go, publish } = world();
  publish(1);
  go("http", 8_080, "/healthz?full");
  go("grpc", 8_080, "/grpc.health.v1.Health/Check");
  go();
  expect(peer.exchanges).toHaveLength(3);
  go("http", 8_080, "/livez");
  expect(peer.exchanges).toHaveLength(4);
  expect(go().sink.status).toBe(503);
});

it("does not count what a filter answers", () => {
  const { peer, go, publish } = world();
  publish(1, [{ kind: "rbac", rules: { action: "allow", policies: [] } }]);
  expect(go().sink.status).toBe(403);
  expect(go().sink.status).toBe(403);
  expect(peer.exchanges).toHaveLength(0);
});

it("counts requests that came by an older configuration against the newer limit (law 6)", () => {
  const { peer, go, publish } = world();
  publish(2);
  go();
  publish(1);
  expect(go().sink.status).toBe(503);
  publish(undefined);
  go();
  peer.exchanges[0]!.answer();
  peer.exchanges[1]!.answer();
  publish(1);
  go();
  expect(peer.exchanges).toHaveLength(3);
});

it("keeps the laws, and its count falls back to nothing", () => {
  const under = { value: 0 };
  checkServiceLaws(({ peer }) => requestLimit(1, under, () => false)(peer.service), {
    call: { side: "inbound" },
    after: () => expect(under.value).toBe(0),
  });
});
