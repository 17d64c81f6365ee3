// What authorization costs a request: ten policies of paths, methods and principals, as a mesh writes them.
// Run: node tools/task.mjs exec node --conditions=trama-source --expose-gc test/bench/micro/authorize.ts
import { bench, run } from "mitata";
import type { RbacPolicy, RbacRules } from "../../../packages/engine/src/config.ts";
import { filterLayer } from "../../../packages/engine/src/policy/chain.ts";
import { buildFilter } from "../../../packages/engine/src/policy/registry.ts";
import { header, is, makeCall, makePeer, testEnv, testState } from "../../../packages/engine/test/fixture.ts";
import type { Service, Sink } from "../../../packages/engine/src/service.ts";

const policies: RbacPolicy[] = Array.from({ length: 10 }, (_, at) => ({
  name: `policy-${at}`,
  permissions: [
    {
      kind: "and",
      of: [
        { kind: "header", match: header(":method", is("GET")) },
        { kind: "path", match: is(`/resource-${at}/`, "prefix") },
      ],
    },
  ],
  principals: [{ kind: "authenticated", match: is(`spiffe://cluster.local/ns/shop/sa/web-${at}`) }],
}));

const sink: Sink = { onHead() {}, onData() {}, onEnd() {}, onError() {} };
const peer = makePeer({ spiffeId: "spiffe://cluster.local/ns/shop/sa/web-9", mtls: true });

function chain(...rules: RbacRules[]): Service {
  const filters = rules.map((each, at) =>
    buildFilter({ kind: "rbac", rules: each }, `authz-${at}`, testEnv(), testState())!,
  );
  return filterLayer(filters, testEnv())(() => {});
}

const allow = chain({ action: "allow", policies });
const both = chain({ action: "deny", policies }, { action: "allow", policies });
for (const [name, path, authorize] of [
  ["ALLOW, the last of ten matches", "/resource-9/1?x=1", allow],
  ["DENY then ALLOW, a path that must be canonicalised, refused", "/resource-9/../resource-9/%61;v=1", both],
] as const) {
  // A call each time: readings are kept in the call.
  bench(name, () => authorize(makeCall({ side: "inbound", peer, path }), sink));
}
bench("the call alone, to subtract", () => makeCall({ side: "inbound", peer, path: "/resource-9/1" }));

await run();
