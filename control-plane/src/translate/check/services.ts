import { isIP } from "node:net";

import type { Diagnostic } from "../../diagnostics.ts";
import { getOrMake } from "../../model/host-index.ts";
import { type Endpoint, type Service, endpointPort, isPipe, socketAddress } from "../../model/service.ts";
import { type Networks, networkLabel } from "../../model/networks.ts";
import { workloadLabels } from "../istio/workload-entry.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Subject } from "./subject.ts";
import { type Claim, checkClaims } from "./claims.ts";
import { place } from "./duplicates.ts";
import { checkNetwork, idleNetwork } from "./networks.ts";

/** ServiceEntries, WorkloadEntries and how they meet. */
export function* checkServices({ model, translator, all }: Subject): Iterable<Diagnostic> {
  const entries = all("ServiceEntry");
  yield* checkClaims(
    entries.flatMap((object): Claim[] =>
      translator.services(object.content).map(({ host, visible }, index) => ({ object, host, index, visible })),
    ),
  );
  const workloads = all("WorkloadEntry");
  const objects = new Map(workloads.map((object) => [object.content, object]));
  const portNames = new Map<ConfigObject<"WorkloadEntry">, Set<string>>();
  for (const entry of entries) {
    const [service] = translator.services(entry.content);
    if (service === undefined) continue;
    const selected = translator.selected(entry.content).flatMap((content) => objects.get(content) ?? []);
    const named = new Set(service.ports.map(({ name }) => name));
    for (const workload of selected) {
      portNames.set(workload, new Set([...(portNames.get(workload) ?? []), ...named]));
    }
    if (service.resolution === "static") {
      for (const workload of selected) {
        const { address } = workload.content.spec;
        if (isIP(address) !== 0 || isPipe(address) || address === "") continue;
        const text = `spec.address: ${service.host} is resolved statically, by IP addresses, and ${address} is a name: write resolution: DNS there`;
        yield workload.error("reference", ["spec", "address"], text);
      }
    }
    if (service.resolution !== "static") {
      for (const workload of selected) {
        const { address } = workload.content.spec;
        if (address === "") {
          const text = `spec.address: is missing, and ${service.host} is resolved by DNS: write one, or resolution: STATIC there`;
          yield workload.error("reference", ["spec", "address"], text);
        }
        yield* idleNetwork(service, workload, workload.content.spec, ["spec"], model.mesh.networks);
        if (!isPipe(address)) continue;
        const text = `spec.address: ${service.host} is resolved by DNS, and ${address} is a socket of the caller's machine: write resolution: STATIC there`;
        yield workload.error("reference", ["spec", "address"], text);
      }
    }
    if (entry.content.spec.addresses !== undefined) {
      const text = "spec.addresses: has no effect in Trama, where services are called by name: remove it";
      yield entry.warning("advice", ["spec", "addresses"], text);
    }
    const inline = entry.content.spec.endpoints;
    for (const [at, each] of inline.entries()) {
      for (const name of Object.keys(each.ports)) {
        if (!named.has(name)) {
          const path = ["spec", "endpoints", at, "ports", name];
          yield entry.error("reference", path, unknownPort(`spec.endpoints[${at}].ports.${name}`, named), true);
        }
      }
    }
    // In the order of the service's endpoints: those inside the entry first.
    const places: Place[] = [
      ...inline.map((_, at) => ({ object: entry, path: ["spec", "endpoints", at, "address"] })),
      ...selected.map((object) => ({ object, path: ["spec", "address"] })),
    ];
    yield* checkAddresses(service, model.endpoints.get(service) ?? [], places, model.mesh.networks);
    for (const [at, each] of inline.entries()) {
      const path = ["spec", "endpoints", at];
      if (service.resolution !== "static") yield* idleNetwork(service, entry, each, path, model.mesh.networks);
      yield* checkNetwork(entry, { spec: each, labels: each.labels, path, label: [...path, "labels"] }, model.mesh);
    }
  }
  for (const workload of workloads) {
    const { spec, labels } = workload.content;
    const label = Object.hasOwn(labels, networkLabel) ? ["metadata", "labels"] : ["spec", "labels"];
    yield* checkNetwork(
      workload,
      { spec, labels: workloadLabels(workload.content), path: ["spec"], label },
      model.mesh,
    );
  }
  for (const [workload, known] of portNames) {
    for (const name of Object.keys(workload.content.spec.ports)) {
      if (!known.has(name)) {
        yield workload.error("reference", ["spec", "ports", name], unknownPort(`spec.ports.${name}`, known), true);
      }
    }
  }
  yield* checkAnnounced(workloads);
}

interface Place {
  readonly object: ConfigObject;
  readonly path: readonly (string | number)[];
}

function unknownPort(field: string, known: ReadonlySet<string>): string {
  return `${field}: no service of this workload has a port of that name: use ${[...known].join(", ")}`;
}

/** One address twice in a cluster would be refused by every client (R43). */
function* checkAddresses(
  service: Service,
  endpoints: readonly Endpoint[],
  places: readonly Place[],
  { gateways }: Networks,
): Iterable<Diagnostic> {
  for (const port of service.ports) {
    const seen = new Map<string, Map<string, Place>>();
    for (const [at, each] of endpoints.entries()) {
      const address = isPipe(each.address) ? each.address : socketAddress(each.address, endpointPort(each, port));
      const here = places[at];
      if (here === undefined || each.address === "") continue;
      // A network behind gateways may have the addresses of another one; all else is reached by everybody.
      const network = service.resolution === "static" && gateways.has(each.network) ? each.network : "";
      const others = getOrMake(seen, address, () => new Map<string, Place>());
      const first = network === "" ? [...others.values()][0] : (others.get(network) ?? others.get(""));
      if (first === undefined) {
        others.set(network, here);
        continue;
      }
      yield here.object.error(
        "conflict",
        here.path,
        `${address} is an endpoint of ${service.host} already, at ${place(first.object, first.path)}: give each workload an address or port of its own`,
      );
      return;
    }
  }
}

/** Callers check the name in the certificate: without an account there is none to check. */
function* checkAnnounced(workloads: readonly ConfigObject<"WorkloadEntry">[]): Iterable<Diagnostic> {
  const label = "security.istio.io/tlsMode";
  for (const workload of workloads) {
    const { labels, spec } = workload.content;
    if (labels[label] === "istio" && spec.serviceAccount === undefined) {
      const message = "announces mTLS, but there is no serviceAccount for callers to check: add spec.serviceAccount";
      yield workload.error("value", ["metadata", "labels", label], `metadata.labels["${label}"]: ${message}`);
    }
  }
}
