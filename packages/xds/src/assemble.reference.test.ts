import type {
  ClusterConfig,
  EndpointSet,
  InboundListener,
  Locality,
  MeshConfig,
  OutboundListener,
  RouteConfiguration,
} from "@trama/engine";
import * as fc from "fast-check";
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";

import { Assembly, type Touched } from "./assemble.ts";
import type { Outcome, Root } from "./published.ts";
import { clusterNames } from "./cluster-names.ts";
import type { Entry } from "./resource-table.ts";
import type { DecodedCluster } from "./resources/cluster.ts";
import type { DecodedHttp } from "./resources/filter-chain.ts";
import type { DecodedListener } from "./resources/listener.ts";
import { localClusterName } from "./resources/zone-aware.ts";

// The assembly looks at what was touched and at what depends on it. The model below looks at everything each time, as its definition says.

type Type = "listener" | "route" | "cluster" | "endpoint";
type Held = { -readonly [K in keyof Entry<unknown>]: Entry<unknown>[K] };

class Table {
  readonly entries = new Map<string, Held>();
  get(name: string): never {
    return this.entries.get(name) as never;
  }
  want(name: string): void {
    if (!this.entries.has(name))
      this.entries.set(name, { state: "REQUESTED", value: undefined, version: "", failed: undefined });
  }
  unwant(name: string): void {
    this.entries.delete(name);
  }
}

class Tables {
  readonly listener = new Table();
  readonly route = new Table();
  readonly cluster = new Table();
  readonly endpoint = new Table();
}

const place: Locality = { region: "r", zone: "z", subZone: "" };
const noEndpoints: EndpointSet = { name: "", priorities: [], drops: [] };

interface Part {
  readonly http: DecodedHttp | undefined;
  readonly listener: DecodedListener;
  readonly routes: readonly RouteConfiguration[];
}
interface Used {
  readonly cluster: DecodedCluster;
  readonly endpoints: EndpointSet;
  readonly local: EndpointSet | undefined;
}

class Model {
  readonly tables = new Tables();
  readonly inForce = new Map<string, Part>();
  readonly outcomes = new Map<string, Outcome["kind"]>();
  clusters = new Map<string, Used>();

  update(roots: ReadonlyMap<string, Root>): void {
    for (const resource of this.outcomes.keys())
      if (!roots.has(resource)) {
        this.outcomes.delete(resource);
        this.inForce.delete(resource);
      }
    const before = this.clusters;
    const made = (name: string): Used | "absent" | "pending" => this.#make(name, before.get(name));
    this.clusters = new Map();
    for (const root of roots.values()) {
      this.#updateRoot(root, made);
      const published = this.inForce.get(root.resource);
      if (root.side === "inbound" || published === undefined) continue;
      for (const name of clusterNames(published.routes[0]!)) {
        const cluster = made(name);
        if (typeof cluster !== "string") this.clusters.set(name, cluster);
      }
    }
    this.#want(roots);
  }

  #updateRoot({ resource }: Root, made: (name: string) => Used | "absent" | "pending"): void {
    const entry = this.tables.listener.get(resource) as Held | undefined;
    const listener = entry?.value as DecodedListener | undefined;
    if (listener === undefined) {
      this.inForce.delete(resource);
      const other = entry?.failed === undefined ? "waiting" : "invalid";
      this.outcomes.set(resource, entry?.state === "DOES_NOT_EXIST" ? "missing" : other);
      return;
    }
    const before = this.inForce.get(resource);
    let outcome: Outcome["kind"] = "found";
    const routes: RouteConfiguration[] = [];
    for (const http of https(listener)) {
      const found = this.#routes(http);
      if (typeof found === "string") outcome = outcome === "found" ? found : outcome;
      else routes.push(found);
    }
    if (outcome === "found" && listener.kind === "outbound")
      if (clusterNames(routes[0]!).some((name) => made(name) === "pending")) outcome = "waiting";
    this.outcomes.set(resource, before === undefined ? outcome : "found");
    const same = before?.listener === listener && before.routes.every((each, at) => each === routes[at]);
    if (outcome === "found" && !same) this.inForce.set(resource, { http: https(listener)[0], listener, routes });
  }

  #routes(http: DecodedHttp): RouteConfiguration | "waiting" | "invalid" {
    if (!("rds" in http.routes)) return http.routes;
    const entry = this.tables.route.get(http.routes.rds) as Held | undefined;
    if (entry?.value !== undefined) return entry.value as RouteConfiguration;
    return entry?.failed !== undefined || entry?.state === "DOES_NOT_EXIST" ? "invalid" : "waiting";
  }

  #make(name: string, before: Used | undefined): Used | "absent" | "pending" {
    const entry = this.tables.cluster.get(name) as Held | undefined;
    const cluster = entry?.value as DecodedCluster | undefined;
    if (cluster === undefined) return entry === undefined || entry.state === "REQUESTED" ? "pending" : "absent";
    const known = "eds" in cluster.endpoints ? (this.tables.endpoint.get(cluster.endpoints.eds) as Held) : undefined;
    let endpoints = "eds" in cluster.endpoints ? (known?.value as EndpointSet | undefined) : cluster.endpoints;
    if (endpoints === undefined && known !== undefined && known.state !== "REQUESTED") endpoints = noEndpoints;
    if (endpoints === undefined) return before ?? "pending";
    const own = this.tables.endpoint.get(localClusterName) as Held | undefined;
    const local = cluster.zoneAware === undefined ? undefined : (own?.value as EndpointSet | undefined);
    return { cluster, endpoints, local };
  }

  #want(roots: ReadonlyMap<string, Root>): void {
    const names = { listener: new Set(roots.keys()), route: new Set(), cluster: new Set(), endpoint: new Set() };
    for (const root of roots.values()) {
      const newest = (this.tables.listener.get(root.resource) as Held | undefined)?.value as
        | DecodedListener
        | undefined;
      const now = this.inForce.get(root.resource);
      for (const http of [newest, now?.listener].flatMap((each) => (each === undefined ? [] : https(each)))) {
        if ("rds" in http.routes) names.route.add(http.routes.rds);
        const routes = this.#routes(http);
        if (root.side === "outbound" && typeof routes !== "string")
          for (const name of clusterNames(routes)) names.cluster.add(name);
      }
      if (root.side === "outbound" && now !== undefined)
        for (const name of clusterNames(now.routes[0]!)) names.cluster.add(name);
    }
    for (const name of names.cluster as Set<string>) {
      const newest = (this.tables.cluster.get(name) as Held | undefined)?.value as DecodedCluster | undefined;
      const now = this.clusters.get(name)?.cluster;
      for (const each of [newest, now])
        if (each !== undefined && "eds" in each.endpoints) names.endpoint.add(each.endpoints.eds);
      if ((newest ?? now)?.zoneAware !== undefined) names.endpoint.add(localClusterName);
    }
    for (const type of ["listener", "route", "cluster", "endpoint"] as const) {
      const table = this.tables[type];
      const wanted = names[type] as Set<string>;
      for (const name of table.entries.keys()) if (!wanted.has(name)) table.unwant(name);
      for (const name of wanted) table.want(name);
    }
  }
}

function https(listener: DecodedListener): readonly DecodedHttp[] {
  if (listener.kind === "outbound") return [listener.http];
  return [...listener.chains, ...(listener.defaultChain ? [listener.defaultChain] : [])].map((chain) => chain.http);
}

// ── what may happen ──────────────────────────────────────────────────────────────────────────────────────────────

const routeNames = ["r0"];
const clusterNamesAll = ["c0", "c1", "c2"];
const assignments = ["e0", "e1", localClusterName];
const rootsAll: readonly Root[] = [
  { side: "outbound", key: "a:1", resource: "a:1" },
  { side: "outbound", key: "b:1", resource: "b:1" },
  { side: "inbound", key: "1.1.1.1:1", resource: "in" },
];

function routesOver(names: readonly string[]): RouteConfiguration {
  const action = { kind: "forward", clusters: names.map((name) => ({ name })), mirrors: [] };
  return { name: "", virtualHosts: [{ routes: [{ action }] }] } as unknown as RouteConfiguration;
}

const over = fc.subarray(clusterNamesAll).map(routesOver);
const http = fc
  .oneof(
    fc.constantFrom(...routeNames).map((rds) => ({ rds })),
    over,
  )
  .map((routes): DecodedHttp => ({ filters: [], routes }));
const outbound = http.map((one): DecodedListener => ({ kind: "outbound", opaque: false, http: one }));
const inbound = fc.array(http, { minLength: 1, maxLength: 2 }).map(([first, last]): DecodedListener => {
  const chain = {
    name: "",
    match: {} as never,
    tls: undefined,
    opaque: false,
    http: first!,
    matchable: true,
    matchKey: "",
  };
  const defaultChain = last && { ...chain, http: last };
  return { kind: "inbound", address: "", chains: [chain], defaultChain, service: undefined, limits: undefined };
});
let made = 0;
const clusterValue = fc
  .record({ eds: fc.option(fc.constantFrom("e0", "e1"), { nil: undefined }), zones: fc.boolean() })
  .map(({ eds, zones }) => {
    const zoneAware = zones ? { routingPercent: 100, minClusterSize: 1, failOnPanic: false } : undefined;
    return { tag: ++made, endpoints: eds === undefined ? { name: "inline" } : { eds }, zoneAware };
  });
const assignmentValue = fc.nat().map((tag) => ({ name: "", tag: tag + ++made }));

const put = fc.oneof(
  fc.record({ type: fc.constant("listener"), name: fc.constantFrom("a:1", "b:1"), value: outbound }),
  fc.record({ type: fc.constant("listener"), name: fc.constant("in"), value: inbound }),
  fc.record({ type: fc.constant("route"), name: fc.constantFrom(...routeNames), value: over }),
  fc.record({ type: fc.constant("cluster"), name: fc.constantFrom(...clusterNamesAll), value: clusterValue }),
  fc.record({ type: fc.constant("endpoint"), name: fc.constantFrom(...assignments), value: assignmentValue }),
);
const namesOf: Record<Type, readonly string[]> = {
  listener: rootsAll.map(({ resource }) => resource),
  route: routeNames,
  cluster: clusterNamesAll,
  endpoint: assignments,
};
const said = (["listener", "route", "cluster", "endpoint"] as const).map((type) =>
  fc.record({
    type: fc.constant(type),
    name: fc.constantFrom(...namesOf[type]),
    gone: fc.constantFrom("kept", "dropped", "refused", "unanswered"),
  }),
);
const step = fc.oneof(
  { arbitrary: put, weight: 8 },
  { arbitrary: fc.oneof(...said), weight: 2 },
  { arbitrary: fc.record({ root: fc.constantFrom(...rootsAll), asked: fc.boolean() }), weight: 2 },
);
type Step = { type: string; name: string; value?: unknown; gone?: string } | { root: Root; asked: boolean };

/** True: it is known of something that is held. */
function happens(tables: Tables, change: Exclude<Step, { root: Root }>): boolean {
  const entry = tables[change.type as Type].entries.get(change.name);
  if (entry === undefined) return false;
  if (change.gone === undefined) {
    entry.value = change.value;
    entry.state = "ACKED";
    entry.failed = undefined;
  } else if (change.gone === "refused") {
    entry.state = "NACKED";
    entry.failed = { version: "", message: "refused" };
  } else if (change.gone === "unanswered") {
    if (entry.state === "REQUESTED") entry.state = "DOES_NOT_EXIST";
  } else {
    entry.state = "DOES_NOT_EXIST";
    entry.failed = undefined;
    if (change.gone === "dropped" || change.type === "listener") entry.value = undefined;
  }
  return true;
}

/** What a configuration was made of. */
function parts({ outbound: out, inbound: inn, clusters }: MeshConfig): unknown {
  return {
    outbound: new Map(Array.from(out, ([key, { routes }]: [string, OutboundListener]) => [key, routes])),
    inbound: new Map(
      Array.from(inn, ([key, { chains, defaultChain }]: [string, InboundListener]) => [
        key,
        [...chains, ...(defaultChain ? [defaultChain] : [])].map((chain) => chain.routes),
      ]),
    ),
    clusters: new Map(
      Array.from(clusters, ([key, config]: [string, ClusterConfig]) => {
        const { tag, endpoints, zoneAware } = config as ClusterConfig & { tag: number };
        return [key, { tag, endpoints, local: zoneAware?.local?.endpoints }];
      }),
    ),
  };
}

function modelParts({ inForce, clusters }: Model, roots: ReadonlyMap<string, Root>): unknown {
  const of = (side: Root["side"]): [Root, Part][] =>
    [...roots.values()].flatMap((root) => {
      const part = root.side === side ? inForce.get(root.resource) : undefined;
      return part === undefined ? [] : [[root, part] as [Root, Part]];
    });
  return {
    outbound: new Map(of("outbound").map(([{ key }, { routes }]) => [key, routes[0]])),
    inbound: new Map(of("inbound").map(([{ key }, { routes }]) => [key, routes])),
    clusters: new Map(
      Array.from(clusters, ([name, { cluster, endpoints, local }]) => {
        const { tag } = cluster as DecodedCluster & { tag: number };
        return [name, { tag, endpoints, local }];
      }),
    ),
  };
}

/** As `expect` says it, which costs too much to be asked thousands of times. */
function equal(found: unknown, wanted: unknown, what: string): void {
  if (!isDeepStrictEqual(found, wanted)) expect(found, what).toEqual(wanted);
}

test("looking at what was touched comes to the same as looking at everything (R14, R26, R27)", () => {
  let published = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
      const roots = new Map<string, Root>(rootsAll.map((root) => [root.resource, root]));
      const tables = new Tables();
      const assembly = new Assembly(place);
      const model = new Model();
      let moved = new Set(roots.keys());
      const asked = {
        byResource: (resource: string) => roots.get(resource),
        takeMoved: () => {
          const taken = moved;
          moved = new Set();
          return taken;
        },
      };
      const check = (touched: Touched): void => {
        const before = assembly.config;
        const beforeParts = parts(before);
        const changed = assembly.update(asked, tables, touched);
        model.update(roots);
        const found = parts(assembly.config);
        equal(found, modelParts(model, roots), "configuration");
        equal(changed, assembly.config !== before, "changed");
        equal(parts(before), beforeParts, "the configuration before");
        for (const [name, config] of before.clusters) {
          const now = assembly.config.clusters.get(name);
          if (now !== config && isDeepStrictEqual(now, config)) throw new Error(`${name} was made anew`);
        }
        for (const type of ["listener", "route", "cluster", "endpoint"] as const)
          equal(new Set(tables[type].entries.keys()), new Set(model.tables[type].entries.keys()), type);
        for (const resource of roots.keys())
          equal(assembly.outcome(resource).kind, model.outcomes.get(resource), resource);
        published += assembly.config.outbound.size;
      };
      check({});
      for (const each of steps as Step[]) {
        if ("root" in each) {
          const { resource } = each.root;
          if (roots.has(resource) === each.asked) continue;
          if (each.asked) roots.set(resource, each.root);
          else roots.delete(resource);
          moved.add(resource);
          check({});
        } else {
          const known = happens(tables, each);
          expect(happens(model.tables, each)).toBe(known);
          check({ [each.type as Type]: [each.name] });
        }
      }
    }),
    { numRuns: 300 },
  );
  expect(published).toBeGreaterThan(500);
});
