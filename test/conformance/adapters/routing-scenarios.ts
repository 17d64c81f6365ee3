import assert from "node:assert/strict";
import type { FieldWrite, MeshConfig, RouteConfig } from "@trama/engine";

import { cluster, endpoint, forward, listener, meshConfig, route } from "../../kit/mesh-config.ts";
import type { ClientScenario } from "./client-scenarios.ts";

/** `reviews:9090` under one route, to one cluster. */
function under(rule: RouteConfig, address = "127.0.0.1:1"): MeshConfig {
  const clusters = [cluster("c", { endpoints: [endpoint(address)] })];
  return meshConfig({ outbound: [listener("reviews:9090", [rule])], clusters });
}

const write = (name: string, value: string, action: FieldWrite["action"] = "overwrite"): FieldWrite => ({
  name,
  value,
  action,
  keepEmpty: false,
});

/** What a route does to a call on its way, as its caller and its server see it. */
export const routingScenarios: Readonly<Record<string, ClientScenario>> = {
  "headers-changed-both-ways": async (adapter, scope) => {
    const address = await adapter.backend(scope, (request) => ({
      ending: "ok",
      text: ["x-own", "x-added", "x-gone"].map((name) => request.header(name)).join(","),
    }));
    const headers = {
      request: {
        remove: ["x-gone"],
        write: [write("x-own", "policy"), write("x-added", "%REQ(x-from)%!", "append")],
      },
      response: { remove: [], write: [write("x-answer", "%REQ(x-from)%")] },
    };
    const client = adapter.open(scope, under(route(forward("c"), { headers }), address));
    const reply = await client.call({ headers: { "x-own": "caller", "x-gone": "1", "x-from": "me" } });
    assert.equal(reply.text, "policy,me!,");
    assert.equal(reply.header?.("x-answer"), "me");
  },
  "path-and-host-rewritten": async (adapter, scope) => {
    const address = await adapter.backend(scope, ({ path, authority }) => ({
      ending: "ok",
      text: `${path} at ${authority}`,
    }));
    const rewrite = {
      path: { kind: "regex", pattern: "One$", substitution: "Two" },
      authority: { kind: "literal", value: "other.example" },
      forwardHost: false,
    } as const;
    const client = adapter.open(scope, under(route(forward("c", { rewrite })), address));
    assert.equal((await client.call()).text, "/shop.Reviews/Two at other.example");
  },
  redirected: async (adapter, scope) => {
    const address = await adapter.backend(scope, ({ path }) => ({ ending: "ok", text: path }));
    const elsewhere = {
      kind: "redirect",
      status: 307,
      scheme: undefined,
      authority: undefined,
      port: undefined,
      path: { kind: "whole", value: "/shop.Reviews/Two" },
      stripQuery: false,
    } as const;
    const one = { path: { kind: "exact", value: "/shop.Reviews/One", ignoreCase: false } } as const;
    const routes = [route(elsewhere, { match: one }), route(forward("c"))];
    const client = adapter.open(
      scope,
      meshConfig({
        outbound: [listener("reviews:9090", routes)],
        clusters: [cluster("c", { endpoints: [endpoint(address)] })],
      }),
    );
    const { ending, text, header } = await client.call();
    // fetch goes where it is sent to; undici's request says where that is; gRPC knows no redirects and fails.
    if (ending === "ok") assert.equal(text, "/shop.Reviews/Two");
    else {
      assert.equal(ending, "other");
      // In the scheme that the caller used.
      if (header !== undefined) assert.match(header("location") ?? "", /^https?:\/\/reviews:9090\/shop\.Reviews\/Two$/);
    }
  },
  "mirrored-and-not-waited-for": async (adapter, scope) => {
    const copied = Promise.withResolvers<{ path: string; body: string; authority: string }>();
    const silence = Promise.withResolvers<never>();
    const main = await adapter.backend(scope, ({ body }) => ({ ending: "ok", text: body }));
    // It never answers: nobody may notice.
    const shadow = await adapter.backend(scope, (request) => (copied.resolve(request), silence.promise));
    const mirrors = [{ cluster: "shadow", perMillion: 1_000_000, keepHost: false }];
    const client = adapter.open(
      scope,
      meshConfig({
        outbound: [listener("reviews:9090", [route(forward("c", { mirrors }))])],
        clusters: [cluster("c", { endpoints: [endpoint(main)] }), cluster("shadow", { endpoints: [endpoint(shadow)] })],
      }),
    );
    const reply = await client.call({ body: "the very same" });
    assert.deepEqual([reply.ending, reply.text], ["ok", "the very same"]);
    const { path, body, authority } = await copied.promise;
    assert.deepEqual([path, body], ["/shop.Reviews/One", "the very same"]);
    assert.equal(authority, "reviews-shadow:9090");
    assert.equal(client.recorded.length, 1);
  },
  "answered-by-the-route": async (adapter, scope) => {
    const body = new TextEncoder().encode("closed today");
    const client = adapter.open(scope, under(route({ kind: "direct", status: 503, body })));
    assert.equal((await client.call()).ending, "unavailable");
    assert.equal(client.recorded[0]!.attempts, 0);
  },
};
