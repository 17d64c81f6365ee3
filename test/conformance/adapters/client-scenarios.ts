import assert from "node:assert/strict";
import type { FilterConfig, MeshConfig, RetryPolicy, UpstreamTls } from "@trama/engine";

import { mutualTls } from "../../../packages/sdk/test/client-world.ts";
import { makeCertificate, spiffe } from "../../kit/certs.ts";
import { testIdentity } from "../../kit/identity.ts";
import {
  type ClusterOptions,
  cluster,
  endpoint,
  forward,
  listener,
  meshConfig,
  retryPolicy,
  route,
} from "../../kit/mesh-config.ts";
import { whileServing } from "./record.ts";
import type { Behaviour, ClientAdapter, Reply, Scope } from "./adapter.ts";

export type ClientScenario = (adapter: ClientAdapter, scope: Scope) => Promise<void>;

const ok =
  (text: string): Behaviour =>
  () => ({ ending: "ok", text });
const unavailable: Reply = { ending: "unavailable", text: "not now" };
const root = makeCertificate("root");

interface Parts {
  readonly retry?: Partial<RetryPolicy>;
  readonly timeoutMs?: number;
  readonly tls?: UpstreamTls;
  readonly filters?: readonly FilterConfig[];
  readonly cluster?: ClusterOptions;
}

/** `reviews:9090` at these addresses. */
function to(addresses: string | readonly string[], parts: Parts = {}): MeshConfig {
  const { retry, timeoutMs, tls, filters } = parts;
  const action = forward("c", {
    timeoutMs,
    grpcTimeoutMs: timeoutMs,
    retry:
      retry === undefined
        ? undefined
        : retryPolicy({
            retryOn: ["5xx", "unavailable", "connect-failure"],
            retries: 3,
            backoffBaseMs: 1,
            backoffMaxMs: 2,
            ...retry,
          }),
  });
  const endpoints = [addresses].flat().map((address) => endpoint(address));
  return meshConfig({
    outbound: [listener("reviews:9090", [route(action)], filters)],
    clusters: [
      cluster("c", { endpoints, tls, connectTimeoutMs: 2_000, balancer: { kind: "round_robin" }, ...parts.cluster }),
    ],
  });
}

/** Fails so many times before it answers. */
function flaky(failures: number): { readonly behaviour: Behaviour; readonly bodies: string[] } {
  const bodies: string[] = [];
  const behaviour: Behaviour = ({ body }) =>
    bodies.push(body) <= failures ? unavailable : { ending: "ok", text: `call ${bodies.length}` };
  return { behaviour, bodies };
}

/** What every client adapter must do, under the same engine and policy. */
export const clientScenarios: Readonly<Record<string, ClientScenario>> = {
  "host-by-name": async (adapter, scope) => {
    const client = adapter.open(scope, to(await adapter.backend(scope, ok("hello"))));
    const { ending, text } = await client.call();
    assert.deepEqual([ending, text], ["ok", "hello"]);
    assert.equal(client.recorded[0]!.cluster, "c");
  },
  "mutual-tls": async (adapter, scope) => {
    const server = await adapter.secured(scope, testIdentity(root, "shop", "reviews"));
    server.publish("STRICT");
    const client = adapter.open(
      scope,
      to(server.address, { tls: mutualTls(spiffe("shop", "reviews")) }),
      testIdentity(root, "shop", "web"),
    );
    assert.equal((await client.call()).ending, "ok");
    assert.equal(server.served[0]!.peer, spiffe("shop", "web"));
    assert.deepEqual(client.recorded[0], { attempts: 1, mtls: true, peer: spiffe("shop", "reviews"), cluster: "c" });
  },
  "nested-call-inherits": async (adapter, scope) => {
    const server = await adapter.secured(scope, testIdentity(root, "shop", "reviews"));
    server.publish("STRICT");
    const tls = mutualTls(spiffe("shop", "reviews"));
    const client = adapter.open(scope, to(server.address, { tls }), testIdentity(root, "shop", "web"));
    const [nested, alone] = await Promise.all([whileServing(() => client.call()), client.call()]);
    assert.deepEqual([nested.ending, alone.ending], ["ok", "ok"]);
    const handsOn = server.served.map((each) => each.handsOn);
    assert.deepEqual(new Set(handsOn.map((each) => each?.attempt)), new Set([2, undefined]));
    const left = handsOn.find((each) => each !== undefined)!.leftMs;
    assert.ok(left > 0 && left <= 4_990);
  },
  "wrong-server-identity-refused": async (adapter, scope) => {
    const server = await adapter.secured(scope, testIdentity(root, "shop", "ratings"));
    server.publish("STRICT");
    const client = adapter.open(
      scope,
      to(server.address, { tls: mutualTls(spiffe("shop", "reviews")) }),
      testIdentity(root, "shop", "web"),
    );
    assert.equal((await client.call()).ending, "unavailable");
    assert.equal(server.served.length, 0);
  },
  "certificate-renewal-fails-no-call": async (adapter, scope) => {
    const own = testIdentity(root, "shop", "web");
    const server = await adapter.secured(scope, testIdentity(root, "shop", "reviews"));
    server.publish("STRICT");
    const client = adapter.open(scope, to(server.address, { tls: mutualTls(spiffe("shop", "reviews")) }), own);
    for (let i = 0; i < 5; i++) {
      const under = client.call();
      own.renew();
      assert.equal((await under).ending, "ok");
      assert.equal((await client.call()).ending, "ok");
    }
  },
  "weights-80-20": async (adapter, scope) => {
    const [one, two] = [await adapter.backend(scope, ok("one")), await adapter.backend(scope, ok("two"))];
    const client = adapter.open(
      scope,
      meshConfig({
        outbound: [listener("reviews:9090", [route(forward({ one: 80, two: 20 }))])],
        clusters: [cluster("one", { endpoints: [endpoint(one)] }), cluster("two", { endpoints: [endpoint(two)] })],
      }),
    );
    let second = 0;
    for (let i = 0; i < 300; i++) if ((await client.call()).text === "two") second++;
    // The dice are seeded; four standard deviations around 60.
    assert.ok(Math.abs(second - 60) < 28, `${second} of 300`);
  },
  "route-by-path-and-header": async (adapter, scope) => {
    const [one, two] = [await adapter.backend(scope, ok("one")), await adapter.backend(scope, ok("two"))];
    const header = {
      name: "user",
      invert: false,
      missingIsEmpty: false,
      test: { kind: "string", match: { kind: "exact", value: "jason", ignoreCase: false } },
    } as const;
    const path = (value: string) => ({ kind: "exact", value, ignoreCase: false }) as const;
    const client = adapter.open(
      scope,
      meshConfig({
        outbound: [
          listener("reviews:9090", [
            route(forward("two"), { match: { path: path("/shop.Reviews/Two") } }),
            route(forward("two"), { match: { path: path("/shop.Reviews/One"), headers: [header] } }),
            route(forward("one")),
          ]),
        ],
        clusters: [cluster("one", { endpoints: [endpoint(one)] }), cluster("two", { endpoints: [endpoint(two)] })],
      }),
    );
    assert.equal((await client.call()).text, "one");
    assert.equal((await client.call({ path: "/shop.Reviews/Two" })).text, "two");
    assert.equal((await client.call({ headers: { user: "jason" } })).text, "two");
  },
  "retry-on-unavailable": async (adapter, scope) => {
    const server = flaky(2);
    const client = adapter.open(scope, to(await adapter.backend(scope, server.behaviour), { retry: {} }));
    assert.equal((await client.call()).text, "call 3");
    assert.equal(client.recorded[0]!.attempts, 3);
  },
  "retry-on-trailing-status": async (adapter, scope) => {
    const client = adapter.open(scope, to(await adapter.backend(scope, flaky(2).behaviour), { retry: {} }));
    assert.equal((await client.call({ headers: { trailing: "yes" } })).text, "call 3");
  },
  "retry-sends-the-body-again": async (adapter, scope) => {
    const server = flaky(1);
    const client = adapter.open(scope, to(await adapter.backend(scope, server.behaviour), { retry: {} }));
    assert.equal((await client.call({ body: "the very same" })).ending, "ok");
    assert.deepEqual(server.bodies, ["the very same", "the very same"]);
  },
  "retries-end": async (adapter, scope) => {
    const server = flaky(10);
    const client = adapter.open(scope, to(await adapter.backend(scope, server.behaviour), { retry: { retries: 2 } }));
    const reply = await client.call();
    assert.deepEqual([reply.ending, reply.text], ["unavailable", "not now"]);
    assert.equal(server.bodies.length, 3);
  },
  "dead-endpoint-is-passed-over": async (adapter, scope) => {
    const dead = await adapter.backend(scope, ok(""));
    await scope.close();
    const client = adapter.open(scope, to([dead, await adapter.backend(scope, ok("alive"))], { retry: {} }));
    for (let i = 0; i < 4; i++) assert.equal((await client.call()).text, "alive");
  },
  "time-out": async (adapter, scope) => {
    const silence = Promise.withResolvers<Reply>();
    scope.defer(() => silence.resolve(unavailable));
    const client = adapter.open(scope, to(await adapter.backend(scope, () => silence.promise), { timeoutMs: 50 }));
    assert.equal((await client.call()).ending, "deadline");
  },
  "cancel-returns-own-reason": async (adapter, scope) => {
    const silence = Promise.withResolvers<Reply>();
    const begun = Promise.withResolvers<void>();
    scope.defer(() => silence.resolve(unavailable));
    const address = await adapter.backend(scope, () => {
      begun.resolve();
      return silence.promise;
    });
    const client = adapter.open(scope, to(address));
    const controller = new AbortController();
    const reason = new Error("changed my mind");
    const reply = client.call({ signal: controller.signal });
    await begun.promise;
    controller.abort(reason);
    assert.equal((await reply).error, reason);
    assert.equal(client.active, 0);
  },
  "slow-reader-holds-the-server-back": async (adapter, scope) => {
    const client = adapter.open(scope, meshConfig({}));
    const { ahead, read, total } = await client.readSlowly();
    assert.ok(ahead < total / 2, `${ahead} of ${total} chunks were sent to a reader that had stopped`);
    assert.equal(read, total);
  },
  "breaker-refuses": async (adapter, scope) => {
    const silence = Promise.withResolvers<Reply>();
    const begun = Promise.withResolvers<void>();
    const address = await adapter.backend(scope, () => {
      begun.resolve();
      return silence.promise;
    });
    const breaker = { maxConnections: 1_024, maxPending: 1_024, maxRequests: 1, maxRetries: 1, retryBudget: undefined };
    const client = adapter.open(scope, to(address, { cluster: { breaker } }));
    const first = client.call();
    await begun.promise;
    assert.equal((await client.call()).ending, "unavailable");
    silence.resolve({ ending: "ok", text: "" });
    assert.equal((await first).ending, "ok");
  },
  "fault-is-injected": async (adapter, scope) => {
    let calls = 0;
    const address = await adapter.backend(scope, () => {
      calls++;
      return { ending: "ok", text: "" };
    });
    const abort = { httpStatus: 429, grpcStatus: 8, perMillion: 1_000_000 };
    const filter: FilterConfig = {
      name: "fault",
      disabled: false,
      config: { kind: "fault", delay: undefined, abort, headers: [], maxActive: undefined },
    };
    const client = adapter.open(scope, to(address, { filters: [filter] }));
    assert.equal((await client.call()).ending, "exhausted");
    assert.equal(calls, 0);
  },
  "new-configuration-for-the-next-call": async (adapter, scope) => {
    const held = Promise.withResolvers<Reply>();
    const begun = Promise.withResolvers<void>();
    const one = await adapter.backend(scope, () => {
      begun.resolve();
      return held.promise;
    });
    const client = adapter.open(scope, to(one));
    const first = client.call();
    await begun.promise;
    client.publish(to(await adapter.backend(scope, ok("new"))));
    assert.equal((await client.call()).text, "new");
    held.resolve({ ending: "ok", text: "old" });
    assert.equal((await first).text, "old");
  },
  "unknown-host-refused-under-registry-only": async (adapter, scope) => {
    const client = adapter.open(scope, meshConfig({}), undefined, "REGISTRY_ONLY");
    const { ending } = await client.call();
    assert.ok(ending === "unavailable" || ending === "other", ending);
    assert.deepEqual(client.asked, ["reviews:9090"]);
    assert.equal(client.recorded[0]!.cluster, "BlackHoleCluster");
  },
};
