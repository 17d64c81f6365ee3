import { type Diagnostic, compareDiagnostics } from "../../diagnostics.ts";
import type { Model } from "../../model/model.ts";
import type { Kind } from "../../sources/istio/kinds.ts";
import { type ConfigObject, isKind } from "../../sources/object.ts";
import type { Translator } from "../translator.ts";
import { checkDestinations } from "./destinations.ts";
import { checkPolicies } from "./policies.ts";
import { checkRoutes } from "./routes.ts";
import { checkServices } from "./services.ts";
import { checkSidecars } from "./sidecars.ts";
import type { Subject } from "./subject.ts";

/** More findings than anyone reads; the first ones are enough to begin with. */
const maxFindings = 200;

/**
 * What is wrong between objects although each of them is right: only a set without errors is closed, so that every name in
 * what is served exists (S19).
 */
export function check(objects: readonly ConfigObject[], model: Model, translator: Translator): readonly Diagnostic[] {
  const sorted = objects.toSorted(comparePlaces);
  const subject: Subject = {
    model,
    translator,
    all: <K extends Kind>(kind: K) =>
      sorted.filter((object) => isKind(object, kind)) as readonly ConfigObject[] as readonly ConfigObject<K>[],
  };
  const found: Diagnostic[] = [];
  for (const part of [checkServices, checkRoutes, checkDestinations, checkPolicies, checkSidecars]) {
    for (const diagnostic of part(subject)) {
      found.push(diagnostic);
      if (found.length >= maxFindings) return found.sort(compareDiagnostics);
    }
  }
  return found.sort(compareDiagnostics);
}

/** Of two objects that collide, the one in the later file (or further down) is told. */
function comparePlaces(a: ConfigObject, b: ConfigObject): number {
  return a.file < b.file ? -1 : a.file > b.file ? 1 : 0;
}
