import assert from "node:assert/strict";
import type { BalancerConfig, HashSource, MeshConfig } from "@trama/engine";

import { cluster, endpoint, forward, listener, meshConfig, route } from "../../kit/mesh-config.ts";
import type { ClientAdapter, Scope } from "./adapter.ts";
import type { ClientScenario } from "./client-scenarios.ts";

const ring: BalancerConfig = { kind: "ring_hash", minSize: 1_024, maxSize: 8_388_608, balanceFactor: undefined };
const maglev: BalancerConfig = { kind: "maglev", tableSize: 65_537, balanceFactor: undefined };

/** `reviews:9090` at so many backends, each of which answers with its own number. */
async function servers(adapter: ClientAdapter, scope: Scope, count: number): Promise<string[]> {
  return Promise.all(
    Array.from({ length: count }, (_, at) => adapter.backend(scope, () => ({ ending: "ok", text: String(at) }))),
  );
}

function hashed(addresses: readonly string[], source: HashSource, balancer: BalancerConfig): MeshConfig {
  const action = forward("c", { hash: [{ ...source, terminal: false }] });
  return meshConfig({
    outbound: [listener("reviews:9090", [route(action)])],
    clusters: [cluster("c", { endpoints: addresses.map((address) => endpoint(address)), balancer })],
  });
}

/** How a balancer finds the endpoint of a call, with what the library sends and gives back. */
export const balancingScenarios: Readonly<Record<string, ClientScenario>> = {
  "hash-by-header": async (adapter, scope) => {
    const addresses = await servers(adapter, scope, 4);
    const source: HashSource = { kind: "header", name: "user", rewrite: undefined };
    const client = adapter.open(scope, hashed(addresses, source, ring));
    const home = async (user: string): Promise<string> => (await client.call({ headers: { user } })).text;
    const users = Array.from({ length: 30 }, (_, at) => `user-${at}`);
    const before = new Map<string, string>();
    for (const user of users) before.set(user, await home(user));
    assert.ok(new Set(before.values()).size > 2, "30 keys must not all fall to two of four endpoints");
    for (const user of users) assert.equal(await home(user), before.get(user));
    // The last one goes: who was elsewhere stays there.
    client.publish(hashed(addresses.slice(0, 3), source, { ...ring, minSize: 1 }));
    const small = adapter.open(scope, hashed(addresses, source, { ...ring, minSize: 1 }));
    for (const user of users) {
      const was = (await small.call({ headers: { user } })).text;
      if (was !== "3") assert.equal(await home(user), was);
    }
  },
  "hash-by-cookie": async (adapter, scope) => {
    const addresses = await servers(adapter, scope, 4);
    const source: HashSource = { kind: "cookie", name: "session", ttlMs: 60_000, path: "/", attributes: [] };
    const client = adapter.open(scope, hashed(addresses, source, maglev));
    const homes = new Set<string>();
    for (let caller = 0; caller < 12; caller++) {
      const first = await client.call();
      homes.add(first.text);
      const [, cookie] = /^(session="[0-9a-f]{16}"); Max-Age=60; Path=\/; HttpOnly$/.exec(
        first.header!("set-cookie")!,
      )!;
      for (let i = 0; i < 3; i++) {
        const next = await client.call({ headers: { cookie: cookie! } });
        assert.equal(next.text, first.text);
        assert.equal(next.header!("set-cookie") ?? "", "");
      }
    }
    assert.ok(homes.size > 1, "callers of twelve cookies must not all share one endpoint");
  },
};
