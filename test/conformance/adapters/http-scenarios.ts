import assert from "node:assert/strict";

import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../kit/mesh-config.ts";
import { until } from "../../kit/until.ts";
import type { MeshConfig } from "@trama/engine";
import type { ClientScenario } from "./client-scenarios.ts";

function to(address: string, retries = 0): MeshConfig {
  const retry =
    retries === 0 ? undefined : retryPolicy({ retryOn: ["5xx"], retries, backoffBaseMs: 1, backoffMaxMs: 2 });
  return meshConfig({
    outbound: [listener("reviews:9090", [route(forward("c", { retry }))])],
    clusters: [cluster("c", { endpoints: [endpoint(address)] })],
  });
}

/** What HTTP has and gRPC has not, or has in its own way. */
export const httpScenarios: Readonly<Record<string, ClientScenario>> = {
  "opaque-port": async (adapter, scope) => {
    const [down, up] = ["127.0.0.1:1", await adapter.backend(scope, () => ({ ending: "ok", text: "as it is" }))];
    const retry = retryPolicy({ retryOn: ["connect-failure"], avoidPreviousHosts: true, backoffBaseMs: 1 });
    const client = adapter.open(
      scope,
      meshConfig({
        outbound: [{ ...listener("reviews:9090", [route(forward("c", { retry }))]), opaque: true }],
        clusters: [cluster("c", { endpoints: [endpoint(down), endpoint(up)] })],
      }),
    );
    for (let i = 0; i < 4; i++) assert.equal((await client.call()).text, "as it is");
  },
  "interim-answer": async (adapter, scope) => {
    const address = await adapter.backend(scope, () => ({ ending: "ok", text: "then this", interim: [103] }));
    const reply = await adapter.open(scope, to(address)).call();
    assert.deepEqual([reply.interim, reply.text], [[103], "then this"]);
  },
  "trailers-of-the-answer": async (adapter, scope) => {
    const address = await adapter.backend(scope, () => ({ ending: "ok", text: "body", trailers: { "x-sum": "4" } }));
    const reply = await adapter.open(scope, to(address)).call();
    assert.equal(reply.text, "body");
    assert.equal(reply.trailers?.["x-sum"], "4");
  },
  head: async (adapter, scope) => {
    const client = adapter.open(scope, to(await adapter.backend(scope, () => ({ ending: "ok", text: "unseen" }))));
    for (let i = 0; i < 3; i++) {
      const reply = await client.call({ method: "HEAD" });
      assert.deepEqual([reply.ending, reply.text], ["ok", ""]);
    }
  },
  "retry-sends-a-streamed-body-again": async (adapter, scope) => {
    const bodies: string[] = [];
    const address = await adapter.backend(scope, ({ body }) =>
      bodies.push(body) === 1 ? { ending: "unavailable", text: "" } : { ending: "ok", text: "" },
    );
    const reply = await adapter.open(scope, to(address, 2)).call({ body: "piece by piece", streams: true });
    assert.equal(reply.ending, "ok");
    assert.deepEqual(bodies, ["piece by piece", "piece by piece"]);
  },
  upgrade: async (adapter, scope) => {
    const client = adapter.open(scope, to(await adapter.backend(scope, () => ({ ending: "ok", text: "" }))));
    assert.equal(await client.upgrade!("hello"), "HELLO");
    await until(() => client.active === 0, "the call has ended with its socket");
  },
};
