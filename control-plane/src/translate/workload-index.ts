import { getOrMake } from "../model/host-index.ts";
import { hasLabels } from "../model/service.ts";
import type { Content } from "../sources/object.ts";
import { workloadLabels } from "./istio/workload-entry.ts";

/** Finds the WorkloadEntries that a ServiceEntry selects, without comparing each with each. */
export class WorkloadIndex {
  /** `<namespace> <label>=<value>` → all that have it. */
  readonly #byLabel = new Map<
    string,
    { content: Content<"WorkloadEntry">; labels: Readonly<Record<string, string>> }[]
  >();

  constructor(workloads: readonly Content<"WorkloadEntry">[]) {
    for (const content of workloads) {
      const labels = workloadLabels(content);
      for (const [name, value] of Object.entries(labels)) {
        getOrMake(this.#byLabel, `${content.namespace} ${name}=${value}`, () => []).push({ content, labels });
      }
    }
  }

  /** In the order of the constructor's list. */
  matching({ namespace, spec }: Content<"ServiceEntry">): readonly Content<"WorkloadEntry">[] {
    const wanted = spec.workloadSelector?.labels ?? {};
    const [first] = Object.entries(wanted);
    if (first === undefined) return [];
    const candidates = this.#byLabel.get(`${namespace} ${first[0]}=${first[1]}`) ?? [];
    return candidates.filter(({ labels }) => hasLabels(labels, wanted)).map(({ content }) => content);
  }
}
