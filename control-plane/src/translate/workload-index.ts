import { getOrMake } from "../model/host-index.ts";
import { hasLabels } from "../model/service.ts";
import type { Content } from "../sources/object.ts";
import { workloadLabels } from "./istio/workload-entry.ts";

/** The WorkloadEntries that a ServiceEntry selects, in the order of the index's list. */
export type WorkloadIndex = (entry: Content<"ServiceEntry">) => readonly Content<"WorkloadEntry">[];

/** Finds them without comparing each with each. */
export function indexWorkloads(workloads: readonly Content<"WorkloadEntry">[]): WorkloadIndex {
  const byLabel = new Map<string, { content: Content<"WorkloadEntry">; labels: Readonly<Record<string, string>> }[]>();
  for (const content of workloads) {
    const labels = workloadLabels(content);
    for (const [name, value] of Object.entries(labels)) {
      getOrMake(byLabel, `${content.namespace} ${name}=${value}`, () => []).push({ content, labels });
    }
  }
  return ({ namespace, spec }) => {
    const wanted = spec.workloadSelector?.labels ?? {};
    const [first] = Object.entries(wanted);
    if (first === undefined) return [];
    const candidates = byLabel.get(`${namespace} ${first[0]}=${first[1]}`) ?? [];
    return candidates.filter(({ labels }) => hasLabels(labels, wanted)).map(({ content }) => content);
  };
}
