import { typeUrls } from "@trama/proto";
import { describe, expect, test } from "vitest";

import { type ConfigState, ConfigStore } from "./config-store.ts";
import { formatDiagnostic } from "./diagnostics.ts";
import { defaultMesh } from "./model/mesh.ts";
import type { NodeView, WireResource } from "./snapshot.ts";

const node: NodeView = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: {},
  addresses: ["10.0.0.9"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};

function service(name: string, address = "10.0.0.1"): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http }]
  endpoints: [{ address: ${address}, serviceAccount: ${name}, labels: { version: v1 } }]
`;
}

function route(name: string, subset: string): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: shop }
spec: { hosts: [${name}], http: [{ route: [{ destination: { host: ${name}, subset: ${subset} } }] }] }
`;
}

function rule(name: string, ...subsets: readonly string[]): string {
  const list = subsets.map((subset) => `{ name: ${subset}, labels: { version: v1 } }`).join(", ");
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name}, namespace: shop }
spec: { host: ${name}, subsets: [${list}] }
`;
}

const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec: {}
`;

/** A store whose files are changed one after another. */
function open(files: Readonly<Record<string, string>>): {
  state: ConfigState;
  readonly change: (files: Readonly<Record<string, string | undefined>>) => ConfigState;
} {
  const store = new ConfigStore(defaultMesh);
  const texts = new Map(Object.entries(files).map(([name, text]) => [name, { text }]));
  return {
    state: store.apply(texts),
    change: (changes) => {
      for (const [name, text] of Object.entries(changes)) {
        if (text === undefined) texts.delete(name);
        else texts.set(name, { text });
      }
      return store.apply(texts);
    },
  };
}

function cluster(state: ConfigState, name: string, subset = ""): WireResource | undefined {
  return state.snapshot?.resource(node, typeUrls.cluster, `outbound|80|${subset}|${name}.shop.svc.cluster.local`);
}

function endpoints(state: ConfigState, name: string): WireResource | undefined {
  return state.snapshot?.resource(node, typeUrls.clusterLoadAssignment, `outbound|80||${name}.shop.svc.cluster.local`);
}

function errors(state: ConfigState): readonly string[] {
  return state.diagnostics.filter(({ severity }) => severity === "error").map(formatDiagnostic);
}

describe("last good", () => {
  test("a file that breaks stays in force as it was, others change, and it recovers", () => {
    const { state, change } = open({ "a.yaml": service("a"), "b.yaml": service("b") });
    const [a, b] = [endpoints(state, "a"), endpoints(state, "b")];
    const broken = change({ "a.yaml": `${service("a")}\n  oops: [`, "b.yaml": service("b", "10.0.0.2") });
    expect(errors(broken)).toHaveLength(1);
    expect(endpoints(broken, "a")).toBe(a);
    expect(endpoints(broken, "b")?.version).not.toBe(b?.version);
    const mended = change({ "a.yaml": service("a", "10.0.0.3") });
    expect(errors(mended)).toEqual([]);
    expect(endpoints(mended, "a")?.version).not.toBe(a?.version);
  });

  test("S19: a subset that nobody defines changes nothing", () => {
    const { state, change } = open({ "s.yaml": service("a"), "r.yaml": route("a", "v1"), "d.yaml": rule("a", "v1") });
    expect(errors(state)).toEqual([]);
    const dangling = change({ "r.yaml": route("a", "v2") });
    expect(errors(dangling)).toEqual([
      "r.yaml:4:72: spec.http[0].route[0].destination.subset: DestinationRule shop/a, which decides for callers in namespace shop, has no subset v2: did you mean v1?",
    ]);
    expect(dangling.snapshot).toBe(state.snapshot);
    expect(errors(change({ "d.yaml": rule("a", "v1", "v2") }))).toEqual([]);
  });

  test("S19: taking away what another file needs holds the whole change back", () => {
    const { state, change } = open({ "s.yaml": service("a"), "r.yaml": route("a", "v1"), "d.yaml": rule("a", "v1") });
    const without = change({ "d.yaml": undefined });
    expect(errors(without)[0]).toContain("r.yaml:4:72");
    expect(without.snapshot).toBe(state.snapshot);
    expect(cluster(without, "a", "v1")).toBeDefined();
  });

  test("a removed file is a wish, not a fault", () => {
    const { change } = open({ "a.yaml": service("a"), "b.yaml": service("b") });
    const removed = change({ "b.yaml": undefined });
    expect(errors(removed)).toEqual([]);
    expect(cluster(removed, "b")).toBeUndefined();
  });

  test("after a break, the version that was in force counts, not one that was refused", () => {
    const { change } = open({ "s.yaml": service("a"), "r.yaml": route("a", "v1"), "d.yaml": rule("a", "v1") });
    change({ "r.yaml": route("a", "v2") });
    const broken = change({ "r.yaml": "[", "s.yaml": service("a", "10.0.0.2") });
    expect(errors(broken)).toHaveLength(1);
    expect(endpoints(broken, "a")).toBeDefined();
  });
});

describe("the first start", () => {
  test("a faulty file contributes nothing, and the others are served", () => {
    const { state, change } = open({ "a.yaml": service("a"), "b.yaml": "[", "r.yaml": route("a", "v1") });
    expect(errors(state)).toHaveLength(2);
    expect(cluster(state, "a")).toBeDefined();
    const mended = change({ "b.yaml": service("b"), "r.yaml": undefined });
    expect(errors(mended)).toEqual([]);
    expect(cluster(mended, "b")).toBeDefined();
  });

  test("without a faulty policy more would be allowed, so nothing is served", () => {
    const { state, change } = open({ "a.yaml": service("a"), "p.yaml": `${policy}spec2: {}\n` });
    expect(state.snapshot).toBeUndefined();
    expect(errors(state)[0]).toMatch(/^p\.yaml:1:1: holds rules about access/);
    expect(change({ "p.yaml": policy }).snapshot).toBeDefined();
  });

  test("a policy that breaks later stays in force", () => {
    const { state, change } = open({ "p.yaml": policy });
    const name = "xds.istio.io/grpc/lds/inbound/0.0.0.0:80";
    const before = state.snapshot?.resource(node, typeUrls.listener, name);
    const broken = change({ "p.yaml": policy.replace("spec: {}", "spec: { rules: 1 }") });
    expect(broken.snapshot?.resource(node, typeUrls.listener, name)).toBe(before);
  });
});

describe("versions", () => {
  test("comments, order and places change nothing", () => {
    const { state, change } = open({ "a.yaml": `${service("a")}---\n${service("b", "10.0.0.2")}` });
    const moved = change({ "a.yaml": `# new\n\n${service("b", "10.0.0.2")}---\n${service("a")}` });
    expect(moved.snapshot).toBe(state.snapshot);
    expect(change({ "a.yaml": service("a"), "b.yaml": service("b", "10.0.0.2") }).snapshot).toBe(state.snapshot);
  });

  test("S4: equal content has equal versions in every process", () => {
    const files = { "s.yaml": service("a"), "r.yaml": route("a", "v1"), "d.yaml": rule("a", "v1") };
    const [one, two] = [open(files).state, open(files).state];
    expect(one.snapshot?.version).toBe(two.snapshot?.version);
    expect(cluster(one, "a")?.version).toBe(cluster(two, "a")?.version);
  });

  test("S24: what a change does not touch is the same object", () => {
    const { state, change } = open({ "a.yaml": service("a"), "b.yaml": service("b", "10.0.0.2") });
    const names = [...(state.snapshot?.names(node, typeUrls.clusterLoadAssignment) ?? [])];
    const before = names.map((name) => state.snapshot?.resource(node, typeUrls.clusterLoadAssignment, name));
    const after = change({ "b.yaml": service("b", "10.0.0.3") });
    const changed = names.filter(
      (name, index) => after.snapshot?.resource(node, typeUrls.clusterLoadAssignment, name) !== before[index],
    );
    expect(changed).toEqual(["outbound|80||b.shop.svc.cluster.local"]);
    // The cluster was made anew from new endpoints, but says the same as before.
    expect(cluster(after, "b")).toBe(cluster(state, "b"));
  });

  test("S24: callers of one zone share an assignment, those of another have their own, and a change reaches whom it is about", () => {
    const outlier = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a, namespace: shop }
spec: { host: a, trafficPolicy: { outlierDetection: { maxEjectionPercent: 100 } } }
`;
    const { state, change } = open({
      "a.yaml": service("a"),
      "b.yaml": service("b", "10.0.0.2"),
      "rule.yaml": outlier,
    });
    const at = (zone: string, serial = 0): NodeView => ({
      ...node,
      id: `sidecar~10.0.1.${serial}~client-${serial}.shop~shop.svc.cluster.local`,
      locality: { region: "eu", zone, subZone: "" },
    });
    const ask = (of: ConfigState, who: NodeView, name = "a"): WireResource | undefined =>
      of.snapshot?.resource(who, typeUrls.clusterLoadAssignment, `outbound|80||${name}.shop.svc.cluster.local`);
    const first = ask(state, at("a"));
    for (let serial = 1; serial < 100; serial++) expect(ask(state, at("a", serial))).toBe(first);
    expect(ask(state, at("b"))).not.toBe(first);
    expect(ask(state, at("a"), "b")).toBe(ask(state, at("b"), "b"));
    const after = change({ "b.yaml": service("b", "10.0.0.3") });
    expect(ask(after, at("a"))).toBe(first);
    expect(ask(change({ "a.yaml": service("a", "10.0.0.4") }), at("a"))).not.toBe(first);
  });
});

test("in turns a folder says what it says at once, and others have their turns in between", async () => {
  const files = new Map(
    ["a", "b"].map((file) => [
      file,
      { text: Array.from({ length: 20 }, (_, at) => service(`${file}${at}`)).join("---\n") },
    ]),
  );
  let nowMs = 0;
  let turns = 0;
  // Each look at the clock takes a millisecond more, and a slice is ten.
  const state = await new ConfigStore(defaultMesh).applyInTurns(
    files,
    () => Promise.resolve(void turns++),
    () => nowMs++,
  );
  expect(turns).toBe(4);
  expect(state.diagnostics).toEqual([]);
  expect(state.snapshot?.version).toBe(new ConfigStore(defaultMesh).apply(files).snapshot?.version);
});
