import type { Diagnostic } from "../../diagnostics.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { type Networks, networkLabel } from "../../model/networks.ts";
import type { Service } from "../../model/service.ts";
import type { WorkloadEntrySpec } from "../../sources/istio/workload-entry.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Path } from "../../sources/yaml.ts";
import { networkOf } from "../istio/workload-entry.ts";

interface Entry {
  readonly spec: WorkloadEntrySpec;
  /** All that it has, wherever they stand. */
  readonly labels: Readonly<Record<string, string>>;
  /** Where the entry stands in its object, and where the labels do that count. */
  readonly path: Path;
  readonly label: Path;
}

/** A network that nobody described, and a workload to which there is no way at all. */
export function* checkNetwork(
  object: ConfigObject,
  { spec, labels, path, label }: Entry,
  mesh: MeshSettings,
): Iterable<Diagnostic> {
  const { names, gateways } = mesh.networks;
  const network = networkOf(spec, labels, mesh);
  if (network === "") return;
  const field = spec.network !== "" ? [...path, "network"] : [...path, "address"];
  const at = spec.network !== "" || labels[networkLabel] !== network ? field : [...label, networkLabel];
  if (spec.address === "" && !gateways.has(network)) {
    const text = `nobody reaches this workload: it has no address, and network ${network} has no gateways; write address, or the gateways into the file of --networks`;
    yield object.error("reference", at, `${fieldPath(at)}: ${text}`);
    // Labels say it for other ends as well, such as failoverPriority.
  } else if (!names.has(network) && (names.size > 0 || spec.network !== "")) {
    const known = names.size === 0 ? "no networks are described" : `the networks are ${[...names].join(", ")}`;
    const text = `${known}, so callers of all networks go to the address itself: describe ${network} in the file of --networks`;
    yield object.warning("advice", at, `${fieldPath(at)}: ${text}`);
  }
}

/** Names are looked up by each caller, and what they lead to is reached in no other way; so it is in Istio. */
export function* idleNetwork(
  { host }: Service,
  object: ConfigObject,
  { network, address }: WorkloadEntrySpec,
  path: Path,
  { gateways }: Networks,
): Iterable<Diagnostic> {
  if (address === "" || !gateways.has(network)) return;
  const at = [...path, "network"];
  const text = `${host} is resolved by DNS, so callers of all networks go to the address itself: write its IP address and resolution: STATIC to go by gateways`;
  yield object.warning("advice", at, `${fieldPath(at)}: ${text}`);
}
