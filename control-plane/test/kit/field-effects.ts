import { typeUrls } from "@trama/proto";
import { parseDocument } from "yaml";

import { ConfigStore } from "../../src/config-store.ts";
import { defaultMesh } from "../../src/model/mesh.ts";
import { networks } from "../../src/model/networks.ts";
import type { NodeView } from "../../src/snapshot.ts";

/** One or more fields, by their path in the object of the kind, with what stands there; `null`: nothing. */
export type Fields = Readonly<Record<string, unknown>>;

const shared = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  cluster: "Kubernetes",
  locality: { region: "r1", zone: "z1", subZone: "s1" },
  network: "own",
};
const proxy = {
  identityFile: undefined,
  outbound: { address: "127.0.0.1", port: 15_001 },
  application: "127.0.0.1",
  selfDiscovery: true,
  id: "one",
};
const callers = { workload: "client", labels: { app: "client" }, addresses: ["10.0.0.9"] };
const servers = { workload: "reviews", labels: { app: "reviews" }, addresses: ["10.0.0.1"] };
const strangers = { ...callers, namespace: "elsewhere", workload: "stranger" };
const nodes: readonly NodeView[] = [
  ...[callers, servers].flatMap((who) => [
    { ...shared, ...who, kind: "trama" as const },
    { ...shared, ...who, kind: "grpc" as const },
    { ...shared, ...who, kind: "envoy" as const, proxy },
  ]),
  { ...shared, ...strangers, kind: "trama" },
];

const kinds = ["trama", "grpc", "envoy"] as const;
const types = ["listener", "routeConfiguration", "cluster", "clusterLoadAssignment"] as const;

/** Of `other`, which has a way in; all nodes are elsewhere. */
const described = networks([
  { name: "other", ranges: ["10.9.0.0/16"], registry: false, gateways: [{ address: "192.0.2.1", port: 15_443 }] },
]);

type Files = ReadonlyMap<string, { readonly text: string }>;

interface Served {
  /** By class of client, type, workload and name. */
  readonly versions: ReadonlyMap<string, string>;
  readonly refused: readonly string[];
  readonly advice: readonly string[];
}

/** Tries fields in the objects of one configuration, which is read once. */
export class FieldTrial {
  readonly #store = new ConfigStore({ ...defaultMesh, rootsPem: "-----BEGIN CERTIFICATE-----", networks: described });
  readonly #kind: string;
  readonly #mesh: Files;
  /** The last one: most fields are tried beside the same others. */
  #beside: { readonly given: string; readonly files: Files; readonly served: Served } | undefined;

  /** The fields go into the first object of the kind. */
  constructor(mesh: string, kind: string) {
    this.#kind = kind;
    this.#mesh = new Map(mesh.split("\n---\n").map((text, index) => [`${index}.yaml`, { text }]));
  }

  /**
   * What fields do beside the same objects without them: which resources they change, for callers and servers of each class of client,
   * or what is said of them. Nothing at all: they were passed over in silence.
   */
  effects(given: Fields, fields: Fields): readonly string[] {
    const { files, served: before } = this.#withGiven(given);
    const after = this.#apply(this.#changed(files, fields));
    const known = new Set([...before.refused, ...before.advice]);
    const says = [...after.refused, ...after.advice].filter((text) => !known.has(text));
    if (after.refused.length > 0) return says;
    const names = new Set([...before.versions.keys(), ...after.versions.keys()]);
    const differing = [...names].filter((name) => before.versions.get(name) !== after.versions.get(name));
    const honoured = types.flatMap((type) => {
      const by = kinds.filter((kind) => differing.some((name) => name.startsWith(`${kind} ${type} `)));
      return by.length === 0 ? [] : [`${type} of ${by.join(", ")}`];
    });
    return [...honoured, ...says];
  }

  #withGiven(fields: Fields): { readonly files: Files; readonly served: Served } {
    const given = JSON.stringify(fields);
    if (this.#beside?.given !== given) {
      const files = this.#changed(this.#mesh, fields);
      this.#beside = { given, files, served: this.#apply(files) };
    }
    return this.#beside;
  }

  #changed(files: Files, fields: Fields): Files {
    if (Object.keys(fields).length === 0) return files;
    const found = [...files].find(([, { text }]) => text.includes(`kind: ${this.#kind}\n`));
    if (found === undefined) throw new Error(`there is no ${this.#kind}`);
    const object = parseDocument(found[1].text);
    for (const [path, value] of Object.entries(fields)) {
      const steps = [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name]) =>
        index === undefined ? name : Number(index),
      );
      if (value === null) object.deleteIn(steps);
      else object.setIn(steps, object.createNode(value));
    }
    return new Map([...files, [found[0], { text: String(object) }]]);
  }

  #apply(files: Files): Served {
    const { snapshot, diagnostics } = this.#store.apply(files);
    const text = (wanted: string, word: string): string[] =>
      diagnostics.flatMap(({ severity, message }) => (severity === wanted ? [`${word}: ${message}`] : []));
    const refused = text("error", "refused");
    const versions = new Map<string, string>();
    // What is refused changes nothing.
    for (const node of refused.length > 0 ? [] : nodes)
      for (const type of types) {
        const inbound = node.kind === "envoy" ? [] : ["xds.istio.io/grpc/lds/inbound/10.0.0.1:8080"];
        const more = ["unknown.example.com:80", "outbound"];
        for (const name of [...(snapshot?.names(node, typeUrls[type]) ?? []), ...inbound, ...more]) {
          const found = snapshot?.resource(node, typeUrls[type], name);
          if (found !== undefined) versions.set(`${node.kind} ${type} ${node.workload} ${name}`, found.version);
        }
      }
    return { versions, refused, advice: text("warning", "advice") };
  }
}
