import { expect, it } from "vitest";
import { makeCall, makePeer } from "../../../test/kit/call.ts";
import { testEnv } from "../../../test/kit/env.ts";
import {
  chain,
  cluster,
  endpoint,
  forward,
  inboundListener,
  listener,
  meshConfig,
  route,
  virtualHost,
} from "../../../test/kit/mesh-config.ts";
import { MockPeer, waits } from "../../../test/kit/peer.ts";
import { TestSink } from "../../../test/kit/sink.ts";
import type { FilterConfig, OutboundListener, RbacConfig } from "./config.ts";
import { createEngine } from "./engine.ts";
import { HeaderList } from "./headers.ts";
import { noFlow } from "./service.ts";

// Opaque ports: a connection is a call of protocol `tcp`, from its routes to its end.

const db: OutboundListener = {
  ...listener("db:5432", [route(forward("db"))]),
  opaque: true,
  routes: {
    name: "db:5432",
    virtualHosts: [virtualHost([route(forward("db"))], { domains: ["db.example.com"] })],
  },
};
const web = listener("web:80", [route(forward("db"))]);
const config = meshConfig({
  outbound: [db, web],
  clusters: [cluster("db", { endpoints: [endpoint("10.0.0.1:5432")] })],
});

function world() {
  const env = testEnv();
  const engine = createEngine(env, config);
  const peer = new MockPeer(waits, waits);
  const go = (name: string, protocol: "tcp" | "http", authority = "db.example.com") => {
    const call = makeCall({
      snapshot: engine.current,
      transport: peer,
      startMs: env.clock.now(),
      protocol,
      path: "/",
      authority,
    });
    const sink = new TestSink();
    engine.outbound(name, call, sink);
    return sink;
  };
  return { env, engine, peer, go };
}

it("requests do not get into connections, nor connections into services of requests; both say what to do", () => {
  const { go, engine } = world();
  expect(engine.current.outbound("db:5432")).toBeUndefined();
  expect(engine.current.opaque("web:80")).toBeUndefined();
  expect(go("db:5432", "http").error).toMatchObject({
    code: "NO_ROUTE",
    message: expect.stringContaining("use mesh.connect()") as unknown,
  });
  expect(go("web:80", "tcp").error).toMatchObject({
    code: "NO_ROUTE",
    message: expect.stringContaining("declare its port TCP") as unknown,
  });
  expect(go("nobody:1", "tcp").error).toMatchObject({ code: "NO_CONFIG" });
  expect(go("db:5432", "tcp", "other.example.com").error).toMatchObject({
    code: "NO_ROUTE",
    message: 'no rule of "db:5432" takes a connection for the server name "other.example.com"',
  });
  expect(go("db:5432", "tcp", "").error?.message).toBe('no rule of "db:5432" takes a connection without a server name');
});

it("a drain does not wait for a connection, which keeps what it began with until it ends", async () => {
  const { env, engine, peer, go } = world();
  const sink = go("db:5432", "tcp");
  const attempt = peer.next();
  attempt.head(200);
  expect(sink.status).toBe(200);
  expect(engine.active).toBe(0);
  engine.publish(meshConfig({}));
  await engine.close(60_000);
  expect(env.clock.pending).toBe(0);
  expect(env.ended).toEqual([]);
  attempt.end();
  expect(env.ended).toHaveLength(1);
});

const peerIs = (name: string): RbacConfig => ({
  kind: "rbac",
  rules: {
    action: "allow",
    policies: [
      {
        name: "only",
        permissions: [{ kind: "any" }],
        principals: [{ kind: "authenticated", match: { kind: "exact", value: name, ignoreCase: false } }],
      },
    ],
  },
});

it("an inbound connection is judged by its peer, once when it begins, and whenever somebody asks whether it may stay", () => {
  const env = testEnv();
  const engine = createEngine(env);
  const me = makePeer();
  const facts = { ...me, transportProtocol: "raw_buffer" } as const;
  const admits = (rbac: RbacConfig, opaque: boolean, disabled = false): boolean => {
    const filters: FilterConfig[] = [{ name: "rbac", config: rbac, disabled }];
    engine.publish(meshConfig({ inbound: [inboundListener("a:1", { chains: [chain("c", { filters, opaque })] })] }));
    return engine.current.inbound("a:1")!.chain(facts)!.admits(me);
  };
  expect(admits(peerIs(me.spiffeId!), true)).toBe(true);
  expect(admits(peerIs("spiffe://cluster.local/ns/x/sa/other"), true)).toBe(false);
  expect(admits(peerIs("spiffe://cluster.local/ns/x/sa/other"), true, true)).toBe(true);
  // Of requests each is judged, and may be allowed where others are not.
  expect(admits(peerIs("spiffe://cluster.local/ns/x/sa/other"), false)).toBe(true);

  admits(peerIs("spiffe://cluster.local/ns/x/sa/other"), true);
  const call = makeCall({ snapshot: engine.current, side: "inbound", protocol: "tcp", path: "/", peer: me });
  const sink = new TestSink();
  engine.current
    .inbound("a:1")!
    .chain(facts)!
    .serve((_call, inner) => inner.onHead({ status: 200, headers: HeaderList.empty() }, noFlow))(call, sink);
  expect(sink.status).toBe(403);
});
