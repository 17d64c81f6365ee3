// The budget of design.md: a route among 1,000 virtual hosts × 100 routes in ≤ 2 µs.
// Run: node tools/task.mjs exec node --conditions=trama-source --expose-gc test/bench/micro/route.ts
import { bench, group, run, summary } from "mitata";
import type { ClusterConfig, RouteConfig } from "../../../packages/engine/src/config.ts";
import { compileRoutes } from "../../../packages/engine/src/route/router.ts";
import { compileHosts } from "../../../packages/engine/src/route/virtual-host.ts";
import {
  exact,
  header,
  host,
  is,
  makeCall,
  prefix,
  route,
  testEnv,
  testState,
  to,
} from "../../../packages/engine/test/fixture.ts";
import type { Sink } from "../../../packages/engine/src/service.ts";

const HOSTS = 1_000;
const ROUTES = 100;

/** Strings that come from the wire are flat; a template makes a rope, which V8 compares slowly. */
const flat = (text: string): string => Buffer.from(text).toString("latin1");

const routesOf = (shape: "prefixes" | "exact" | "mixed"): RouteConfig[] =>
  Array.from({ length: ROUTES }, (_, at) => {
    const last = at === ROUTES - 1;
    const path = flat(`/api/v1/resource-${at}/`);
    if (last) return route("default", prefix("/"), to("default"));
    if (shape === "exact") return route(`r${at}`, exact(path), to("one"));
    if (shape === "mixed" && at % 3 === 0) return route(`r${at}`, exact(path), to("one"));
    const headers = shape === "mixed" && at % 3 === 1 ? [header("x-user", is("jason"))] : [];
    return route(`r${at}`, prefix(path, { headers }), to(["one", 90], ["two", 10]));
  });

const domainsOf = (at: number): string[] => [
  `svc-${at}.shop.svc.cluster.local`,
  `svc-${at}.shop.svc.cluster.local:9080`,
  `svc-${at}:9080`,
];

function router(shape: "prefixes" | "exact" | "mixed") {
  const before = process.memoryUsage().heapUsed;
  const start = performance.now();
  const service = compileRoutes(
    {
      name: "bench",
      virtualHosts: Array.from({ length: HOSTS }, (_, at) => host(domainsOf(at), routesOf(shape))),
    },
    {
      env: testEnv(),
      filters: [],
      state: testState(),
      cluster: (name) => ({ config: { name } as ClusterConfig, service: () => () => {} }),
    },
  );
  const ms = performance.now() - start;
  globalThis.gc?.();
  const megabytes = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  process.stdout.write(
    `compile ${HOSTS} × ${ROUTES} ${shape}: ${ms.toFixed(0)} ms, ${megabytes.toFixed(0)} MB with its configuration\n`,
  );
  return service;
}

const sink: Sink = {
  onHead() {},
  onData() {},
  onEnd() {},
  onError: (error) => {
    throw error;
  },
};
const call = (path: string, authority = "svc-777:9080") =>
  makeCall({ authority, path, headers: ["accept", "*/*", "user-agent", "bench", "x-user", "jane"] });

for (const shape of ["prefixes", "exact", "mixed"] as const) {
  const service = router(shape);
  group(`${HOSTS} hosts × ${ROUTES} routes, ${shape}`, () => {
    summary(() => {
      for (const [name, path] of [
        ["first", "/api/v1/resource-0/"],
        ["middle", "/api/v1/resource-50/"],
        ["last: the default", "/other?x=1"],
      ] as const) {
        const one = call(path);
        bench(`${shape}: ${name}`, () => service(one, sink));
      }
    });
  });
}

const everywhere = router("mixed");
const cold = Array.from({ length: HOSTS }, (_, at) =>
  call(flat(`/api/v1/resource-${at % ROUTES}/x`), flat(`svc-${(at * 7) % HOSTS}:9080`)),
);
let turn = 0;
bench("mixed: another host and another route each time", () => everywhere(cold[turn++ % HOSTS]!, sink));

const wildcards = compileHosts(
  Array.from({ length: HOSTS }, (_, at) => ({ domains: [`*.${"x".repeat(at % 20)}svc-${at}.example.com`], value: at })),
);
bench("wildcard host among 1,000 of 20 lengths", () => wildcards("a.svc-20.example.com"));

await run();
