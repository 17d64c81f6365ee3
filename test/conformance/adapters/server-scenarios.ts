import assert from "node:assert/strict";
import type { RbacConfig } from "@trama/engine";

import { mutualTls } from "../../../packages/sdk/test/client-world.ts";
import { allow } from "../../../packages/sdk/test/server-world.ts";
import { makeCertificate, spiffe } from "../../kit/certs.ts";
import { type TestIdentity, testIdentity } from "../../kit/identity.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../kit/mesh-config.ts";
import { until } from "../../kit/until.ts";
import { whileServing } from "./record.ts";
import type { ClientUnderTest, Scope, ServerAdapter, ServerUnderTest } from "./adapter.ts";

export type ServerScenario = (adapter: ServerAdapter, scope: Scope) => Promise<void>;

const root = makeCertificate("root");
const webId = spiffe("shop", "web");

const serve = (
  adapter: ServerAdapter,
  scope: Scope,
  identity = testIdentity(root, "shop", "reviews"),
): Promise<ServerUnderTest> => adapter.serve(scope, identity);

/** A client of the mesh, by default the service account `web`. */
function caller(
  adapter: ServerAdapter,
  scope: Scope,
  { address }: ServerUnderTest,
  identity: TestIdentity = testIdentity(root, "shop", "web"),
): ClientUnderTest {
  const config = meshConfig({
    outbound: [listener("reviews:9090", [route(forward("c"))])],
    clusters: [
      cluster("c", {
        endpoints: [endpoint(address)],
        tls: mutualTls(spiffe("shop", "reviews")),
        connectTimeoutMs: 2_000,
      }),
    ],
  });
  return adapter.client.open(scope, config, identity);
}

const onlyPath = (path: string): RbacConfig => allow(webId, path);

/** What every server adapter must do, under the same engine and policy. */
export const serverScenarios: Readonly<Record<string, ServerScenario>> = {
  "handler-knows-its-peer": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    assert.equal((await caller(adapter, scope, server).call()).text, "served");
    assert.equal(server.served[0]!.peer, webId);
    assert.deepEqual(
      [server.recorded[0]!.mtls, server.recorded[0]!.peer, server.recorded[0]!.status],
      [true, webId, 200],
    );
  },
  "nested-calls-inherit": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    const client = caller(adapter, scope, server);
    await whileServing(() => client.call());
    await client.call();
    const [first, second] = server.served;
    assert.equal(first!.handsOn?.attempt, 2);
    assert.ok(first!.handsOn.leftMs > 0 && first!.handsOn.leftMs <= 5_000);
    assert.equal(second!.handsOn, undefined);
    assert.ok(!first!.headers.some((name) => name.startsWith("x-envoy-")));
  },
  "strict-cuts-plaintext": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    assert.equal((await adapter.plain(scope, server.address)).ending, "unavailable");
    assert.equal(server.served.length, 0);
  },
  "permissive-takes-both": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("PERMISSIVE");
    assert.equal((await adapter.plain(scope, server.address)).text, "served");
    assert.equal((await caller(adapter, scope, server).call()).text, "served");
    assert.deepEqual(
      server.served.map(({ peer }) => peer),
      [undefined, webId],
    );
  },
  "foreign-certificate-refused": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    const stranger = testIdentity(makeCertificate("another root"), "shop", "web");
    assert.equal((await caller(adapter, scope, server, stranger).call()).ending, "unavailable");
    assert.equal(server.served.length, 0);
    assert.equal((await caller(adapter, scope, server).call()).ending, "ok");
  },
  "authorization-before-the-handler": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT", [onlyPath("/shop.Reviews/One")]);
    const web = caller(adapter, scope, server);
    assert.equal((await web.call({ path: "/shop.Reviews/Two" })).ending, "denied");
    assert.equal(server.served.length, 0);
    assert.equal((await web.call({ path: "/shop.Reviews/One" })).ending, "ok");
    const other = caller(adapter, scope, server, testIdentity(root, "shop", "other"));
    assert.equal((await other.call()).ending, "denied");
    assert.equal(server.served.length, 1);
  },
  "policy-reaches-live-connections": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("PERMISSIVE");
    const web = caller(adapter, scope, server);
    assert.equal((await web.call()).ending, "ok");
    server.publish("STRICT", [onlyPath("/nothing")]);
    assert.equal((await web.call()).ending, "denied");
    server.publish("STRICT");
    assert.equal((await web.call()).ending, "ok");
  },
  "internal-fields-removed": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("DISABLE");
    const headers = {
      "x-trama-peer": "lie;shop",
      "x-forwarded-client-cert": "lie",
      "x-envoy-retry-on": "5xx",
      "x-mine": "kept",
    };
    assert.equal((await adapter.plain(scope, server.address, { headers })).ending, "ok");
    assert.deepEqual(
      server.served[0]!.headers.filter((name) => name.startsWith("x-")),
      ["x-mine"],
    );
  },
  "browsers-are-told-what-they-may-read": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    const policy = {
      origins: [{ kind: "suffix", value: ".shop.example", ignoreCase: false }],
      allowMethods: "GET,PUT",
      allowHeaders: "*",
      exposeHeaders: "x-version",
      maxAge: "60",
      allowCredentials: true,
      forwardUnmatched: true,
      allowPrivateNetwork: false,
    } as const;
    server.publish("DISABLE", [{ kind: "cors", policy }]);
    const origin = "https://www.shop.example";
    const asking = { "access-control-request-method": "PUT", "access-control-request-headers": "x-a" };
    const preflight = await adapter.plain(scope, server.address, { method: "OPTIONS", headers: { origin, ...asking } });
    assert.equal(preflight.ending, "ok");
    assert.equal(server.served.length, 0);
    const told = (name: string, { header } = preflight): string | undefined => header?.(`access-control-${name}`);
    assert.deepEqual(
      ["allow-origin", "allow-methods", "allow-headers", "max-age", "allow-credentials"].map((name) => told(name)),
      [origin, "GET,PUT", "x-a", "60", "true"],
    );
    const answer = await adapter.plain(scope, server.address, { headers: { origin } });
    assert.equal(answer.text, "served");
    assert.deepEqual([told("allow-origin", answer), told("expose-headers", answer)], [origin, "x-version"]);
    const stranger = await adapter.plain(scope, server.address, { headers: { origin: "https://evil.example" } });
    assert.deepEqual([stranger.text, told("allow-origin", stranger)], ["served", undefined]);
  },
  "fault-is-injected": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    const abort = { httpStatus: 429, grpcStatus: 8, perMillion: 1_000_000 };
    server.publish("STRICT", [{ kind: "fault", delay: undefined, abort, headers: [], maxActive: undefined }]);
    assert.equal((await caller(adapter, scope, server).call()).ending, "exhausted");
    assert.equal(server.served.length, 0);
    assert.equal(server.recorded[0]!.flag, "FI");
  },
  "drain-loses-no-call": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    const release = server.hold();
    const calls = Promise.all(
      [caller(adapter, scope, server), caller(adapter, scope, server)].map((web) => web.call()),
    );
    await until(() => server.served.length === 2, "both calls are being served");
    const stopped = server.stop(5_000);
    release();
    assert.deepEqual(
      (await calls).map(({ ending }) => ending),
      ["ok", "ok"],
    );
    await stopped;
    assert.equal((await adapter.plain(scope, server.address)).ending, "unavailable");
  },
  "a-peer-that-leaves-is-noticed": async (adapter, scope) => {
    const server = await serve(adapter, scope);
    server.publish("STRICT");
    const release = server.hold();
    scope.defer(release);
    const controller = new AbortController();
    const reply = caller(adapter, scope, server).call({ signal: controller.signal });
    await until(() => server.active === 1, "the call is being served");
    controller.abort(new Error("gone"));
    await reply;
    await until(() => server.active === 0, "the server noticed");
    assert.equal(server.recorded[0]!.flag, "DC");
  },
  "certificate-renewal-fails-no-call": async (adapter, scope) => {
    const own = testIdentity(root, "shop", "reviews");
    const server = await serve(adapter, scope, own);
    server.publish("STRICT");
    const before = caller(adapter, scope, server);
    for (let i = 0; i < 3; i++) {
      assert.equal((await before.call()).ending, "ok");
      own.renew();
      assert.equal((await caller(adapter, scope, server).call()).ending, "ok");
    }
  },
};
