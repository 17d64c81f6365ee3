import type { Field, FieldChanges, HeaderChanges } from "../../model/route.ts";
import type { FieldChangesSpec, HeaderChangesSpec } from "../../sources/istio/header-changes.ts";

/**
 * A rule's changes and then a destination's, in one. Envoy would run a destination's before the rule's when there are several, and
 * after them when there is one (istio-api §2.4); here the destination, being more specific, always has the last word. All
 * values are made out of what the caller wrote.
 */
export function joinHeaders(rule: HeaderChangesSpec | undefined, own: HeaderChangesSpec): HeaderChanges {
  return { request: join(rule?.request, own.request), response: join(rule?.response, own.response) };
}

function join(first: FieldChangesSpec | undefined, second: FieldChangesSpec | undefined): FieldChanges {
  const [one, two] = [changes(first), changes(second)];
  const set = new Set(two.set.map(({ name }) => name));
  const gone = new Set([...two.remove, ...set]);
  const kept = ({ name }: Field): boolean => !gone.has(name);
  return {
    remove: [...new Set([...one.remove, ...two.remove])],
    set: [...one.set.filter(kept), ...two.set],
    add: [...one.add.filter(kept), ...two.add],
  };
}

function changes(spec: FieldChangesSpec | undefined): FieldChanges {
  return { remove: spec?.remove ?? [], set: listed(spec?.set), add: listed(spec?.add) };
}

/** In order of names: a map has none, and what is sent must not change by chance. */
function listed(fields: Readonly<Record<string, string>> = {}): Field[] {
  return Object.entries(fields)
    .map(([name, value]) => ({ name, value }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
