import type { Diagnostic } from "../../diagnostics.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import { delegateOf, delegateProblem, strayMatches } from "../istio/delegate.ts";
import type { Translator } from "../translator.ts";
import { place } from "./duplicates.ts";

type VirtualService = ConfigObject<"VirtualService">;

/** What rules hand over to exists, and no rule of a delegate would be dropped: Istio drops them in silence (istio-api §2.10). */
export function* checkDelegates(objects: readonly VirtualService[], translator: Translator): Iterable<Diagnostic> {
  const objectOf = new Map(objects.map((object) => [object.content, object]));
  const used = new Set<VirtualService>();
  for (const root of objects) {
    for (const [index, rule] of root.content.spec.http.entries()) {
      if (rule.delegate === undefined || root.content.spec.hosts.length === 0) continue;
      const path = ["spec", "http", index, "delegate"];
      const found = delegateOf(root.content, rule, translator.virtualService).object;
      const delegate = found && objectOf.get(found);
      if (delegate !== undefined) used.add(delegate);
      const problem = delegateProblem(root.content, rule, translator.virtualService);
      if (problem !== undefined) {
        yield root.error("reference", [...path, "name"], `spec.http[${index}].delegate: ${problem}`);
        continue;
      }
      if (delegate === undefined) continue;
      for (const [at, leaf] of delegate.content.spec.http.entries())
        for (const stray of strayMatches(rule, leaf)) {
          const text = `spec.http[${at}].match[${stray}]: does not lie within any match of the rule that delegates to it, at ${place(root, path)}: narrow it, or use no regex on one property in both`;
          yield delegate.error("conflict", ["spec", "http", at, "match", stray], text);
        }
    }
  }
  for (const object of objects) {
    if (object.content.spec.hosts.length > 0 || used.has(object)) continue;
    const text = `spec: ${objectName(object.content)} has no hosts, and no rule delegates to it: it has no effect`;
    yield object.warning("advice", ["spec"], text);
  }
}
