import type { Diagnostic } from "../../diagnostics.ts";
import { labelsKey } from "../../model/service.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import type { Subject } from "./subject.ts";
import { checkConnectionAccess } from "./connection-access.ts";
import { place } from "./duplicates.ts";

/** PeerAuthentications and AuthorizationPolicies: one word for each workload, and selectors that select. */
export function* checkPolicies({ model, all }: Subject): Iterable<Diagnostic> {
  yield* checkConnectionAccess({ model, all });
  const peers = all("PeerAuthentication");
  const seen = new Map<string, ConfigObject<"PeerAuthentication">>();
  for (const object of peers) {
    const { namespace, spec } = object.content;
    const labels = spec.selector?.matchLabels ?? {};
    const selects = Object.keys(labels).length > 0;
    const key = `${namespace} ${labelsKey(labels)}`;
    const first = seen.get(key);
    if (first !== undefined) {
      const whom = !selects ? `the whole namespace ${namespace}` : "the same workloads";
      const text = `${objectName(first.content)} is for ${whom} too, at ${place(first, ["spec"])}: keep one of the two`;
      yield object.error("conflict", ["spec", selects ? "selector" : "mtls"], text, true);
    } else {
      seen.set(key, object);
    }
    if (selects && namespace === model.mesh.rootNamespace) {
      const text = `spec.selector: selects workloads of ${namespace} alone, although it is the root namespace: put the object into theirs`;
      yield object.warning("advice", ["spec", "selector"], text);
    }
  }
  for (const object of [...peers, ...all("AuthorizationPolicy")]) {
    const { selector } = object.content.spec;
    if (selector !== undefined && Object.keys(selector.matchLabels).length === 0) {
      const text = "spec.selector: has no labels, so it selects every workload: write labels, or remove the selector";
      yield object.warning("advice", ["spec", "selector"], text);
    }
  }
}
