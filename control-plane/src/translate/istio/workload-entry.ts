import type { MeshSettings } from "../../model/mesh.ts";
import { networkLabel } from "../../model/networks.ts";
import { type Endpoint, type Locality, isPipe } from "../../model/service.ts";
import type { WorkloadEntrySpec } from "../../sources/istio/workload-entry.ts";
import type { Content } from "../../sources/object.ts";

/** What a WorkloadEntry object adds to its spec: its labels go before those of the spec, as in Istio. */
export function workloadLabels({ labels, spec }: Content<"WorkloadEntry">): Readonly<Record<string, string>> {
  return { ...spec.labels, ...labels };
}

/** WorkloadEntry, or an endpoint inside a ServiceEntry, → endpoint (istio-api §5). `name` is empty for the latter. */
export function endpoint(
  spec: WorkloadEntrySpec,
  own: { readonly namespace: string; readonly name: string; readonly labels: Readonly<Record<string, string>> },
  internal: boolean,
  mesh: MeshSettings,
): Endpoint {
  const { namespace, labels } = own;
  const network = networkOf(spec, labels, mesh);
  return {
    address: spec.address,
    ports: spec.ports,
    labels: network === "" ? labels : { ...labels, [networkLabel]: network },
    namespace,
    locality: locality(spec.locality),
    network,
    gateway: false,
    weight: spec.weight,
    serviceAccount: spec.serviceAccount,
    mesh: internal && isMeshWorkload(spec.serviceAccount, labels),
    workload: describe(own, mesh),
  };
}

/** What the entry says goes before its label, and both before what holds for its address, as in Istio. */
export function networkOf(
  { network, address }: Pick<WorkloadEntrySpec, "network" | "address">,
  labels: Readonly<Record<string, string>>,
  mesh: MeshSettings,
): string {
  if (isPipe(address)) return "";
  return network || labels[networkLabel] || mesh.networks.find(address);
}

/** Its label says it; without one, a workload with an account has a certificate (istio-api §5). */
function isMeshWorkload(account: string | undefined, labels: Readonly<Record<string, string>>): boolean {
  return account !== undefined && (labels["security.istio.io/tlsMode"] ?? "istio") === "istio";
}

/** The names under which metrics know a workload (istio-api §24); none of them can hold a `;`. */
function describe(
  own: { readonly namespace: string; readonly name: string; readonly labels: Readonly<Record<string, string>> },
  mesh: MeshSettings,
): string {
  const { namespace, name, labels } = own;
  const workload = labels["service.istio.io/workload-name"] || name || labels["app"] || "";
  const canonical =
    labels["service.istio.io/canonical-name"] || labels["app.kubernetes.io/name"] || labels["app"] || workload;
  const revision =
    labels["service.istio.io/canonical-revision"] ||
    labels["app.kubernetes.io/version"] ||
    labels["version"] ||
    "latest";
  return [workload, namespace, canonical, revision, mesh.cluster, labels["app"] ?? "", labels["version"] ?? ""].join(
    ";",
  );
}

function locality(text: string): Locality {
  const [region = "", zone = "", subZone = ""] = text.split("/");
  return { region, zone, subZone };
}
