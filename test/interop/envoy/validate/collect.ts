import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { typeUrls } from "@trama/proto";
import { parse } from "yaml";

import { type ConfigState, ConfigStore } from "../../../../control-plane/src/config-store.ts";
import { defaultMesh } from "../../../../control-plane/src/model/mesh.ts";
import type { NodeView, Snapshot, WireResource } from "../../../../control-plane/src/snapshot.ts";
import { goldenConfig } from "../../../../control-plane/test/kit/golden-config.ts";

/** Everything that our control plane makes of one configuration for one node. */
export interface Generated {
  /** File and class of client. */
  readonly name: string;
  readonly resources: readonly WireResource[];
}

const root = join(import.meta.dirname, "../../../..");

const settings = { rootsPem: "-----BEGIN CERTIFICATE-----" };

const someNode: NodeView = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: { app: "client" },
  addresses: ["10.0.0.9"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};

const proxy: NonNullable<NodeView["proxy"]> = {
  identityFile: undefined,
  outbound: { address: "127.0.0.1", port: 15_001 },
  application: "127.0.0.1",
  selfDiscovery: true,
  id: "validate",
};

type ResourceType = "listener" | "routeConfiguration" | "cluster" | "clusterLoadAssignment" | "secret";

/**
 * The golden inputs of the control plane and the bookshop, for the nodes that they are about, as each class of client. A sidecar that
 * reads its identity from a file gets `identityFile` for it: Envoy wants to see it.
 */
export function allGenerated(identityFile: string, types: readonly ResourceType[]): Generated[] {
  const testdata = join(root, "control-plane/testdata");
  const golden = ["listeners", "routes", "clusters", "endpoints"].flatMap((stage) =>
    readdirSync(join(testdata, stage))
      .filter((file) => file.endsWith(".in.yaml"))
      .flatMap((file) =>
        fromGolden(`${stage}/${file}`, readFileSync(join(testdata, stage, file), "utf8"), identityFile, types),
      ),
  );
  const mesh = join(root, "examples/bookshop/mesh");
  const texts = readdirSync(mesh).map((file) => readFileSync(join(mesh, file), "utf8"));
  const bookshop = [{ node: someNode, inbound: ["0.0.0.0:8080"] }];
  const files = new Map(texts.map((text, index) => [`${index}.yaml`, { text }]));
  const state = new ConfigStore({ ...defaultMesh, ...settings }).apply(files);
  const all = [...golden, ...forNodes("bookshop", state, bookshop, identityFile, types)];
  // What several nodes get alike is asked once.
  const distinct = new Map(
    all.map((one) => [one.resources.map(({ name, version }) => `${name} ${version}`).join(), one]),
  );
  return [...distinct.values()].filter(({ resources }) => resources.length > 0);
}

interface Asker {
  readonly node: NodeView;
  /** `ip:port` of its inbound listeners. */
  readonly inbound: readonly string[];
}

/** A golden input begins with questions, each with its node; the rest is policy. */
function fromGolden(name: string, input: string, identityFile: string, types: readonly ResourceType[]): Generated[] {
  const end = input.indexOf("\n---\n");
  const questions = parse(input.slice(0, end)) as readonly { node?: Partial<NodeView>; ask: readonly string[] }[];
  const prefix = "lds xds.istio.io/grpc/lds/inbound/";
  const askers = questions.map(({ node, ask }) => ({
    node: { ...someNode, ...node },
    inbound: ask.filter((each) => each.startsWith(prefix)).map((each) => each.slice(prefix.length)),
  }));
  return forNodes(name, goldenConfig(input.slice(end + 5), name, settings), askers, identityFile, types);
}

function forNodes(
  name: string,
  { snapshot }: ConfigState,
  askers: readonly Asker[],
  identityFile: string,
  types: readonly ResourceType[],
): Generated[] {
  if (snapshot === undefined) throw new Error(`${name}: there is nothing to serve`);
  return askers.flatMap(({ node, inbound }, at) =>
    (["trama", "grpc", "envoy"] as const).map((kind) => {
      const { proxy: own = proxy, ...rest } = node;
      const place = own.identityFile === undefined ? own : { ...own, identityFile };
      const view: NodeView = { ...rest, kind, ...(kind === "envoy" && { proxy: place }) };
      return { name: `${name} ${kind} ${at}`, resources: resourcesFor(snapshot, view, inbound, types) };
    }),
  );
}

/** What is only asked for by a name of its own: no list has it. */
const names: Readonly<Partial<Record<ResourceType, readonly string[]>>> = {
  routeConfiguration: ["outbound"],
  clusterLoadAssignment: ["local_cluster"],
  secret: ["ROOTCA"],
};

function resourcesFor(
  snapshot: Snapshot,
  node: NodeView,
  inbound: readonly string[],
  types: readonly ResourceType[],
): WireResource[] {
  const found = new Map<string, WireResource>();
  const take = (typeUrl: string, name: string): void => {
    const resource = snapshot.resource(node, typeUrl, name);
    if (resource !== undefined) found.set(`${typeUrl} ${name}`, resource);
  };
  for (const type of types)
    for (const name of [...snapshot.names(node, typeUrls[type]), ...(names[type] ?? [])]) take(typeUrls[type], name);
  for (const address of inbound) take(typeUrls.listener, `xds.istio.io/grpc/lds/inbound/${address}`);
  return [...found.values()];
}
