import { isDeepStrictEqual } from "node:util";

import { isVisible, visibility } from "../../model/visibility.ts";
import type { TextMatch } from "../../sources/istio/values.ts";
import type { HttpMatchSpec, HttpRuleSpec } from "../../sources/istio/virtual-service.ts";
import type { Content } from "../../sources/object.ts";

type VirtualService = Content<"VirtualService">;

/** A rule as it holds, and the object that says where it leads. */
export interface OwnedRule {
  readonly owner: VirtualService;
  /** In `spec.http` of the owner. */
  readonly index: number;
  readonly spec: HttpRuleSpec;
}

/** By namespace and name. */
export type Lookup = (namespace: string, name: string) => VirtualService | undefined;

/** Why a rule cannot hand over to what it names; `undefined` when it can. */
export function delegateProblem(root: VirtualService, rule: HttpRuleSpec, lookup: Lookup): string | undefined {
  const { namespace, name, object } = delegateOf(root, rule, lookup);
  if (object === undefined) return `there is no VirtualService ${namespace}/${name}: write one, or mend the name`;
  if (object.spec.hosts.length > 0)
    return `VirtualService ${namespace}/${name} has hosts of its own, and what others delegate to has none: remove them there`;
  if (!isVisible(visibility(object.spec.exportTo, namespace), root.namespace))
    return `VirtualService ${namespace}/${name} is hidden from this namespace by its exportTo: add ${root.namespace} there`;
  return undefined;
}

/**
 * The rules of an object, with those of its delegates in the place of the rules that hand over to them (istio-api §2.10), one level deep. A
 * condition on one property may only narrow what the root asks of it; what neither can be nor narrow is told by {@link strayMatches}.
 */
export function ownedRules(root: VirtualService, lookup: Lookup): readonly OwnedRule[] {
  return root.spec.http.flatMap((rule, index): readonly OwnedRule[] => {
    if (rule.delegate === undefined) return [{ owner: root, index, spec: rule }];
    const { object } = delegateOf(root, rule, lookup);
    if (object === undefined || delegateProblem(root, rule, lookup) !== undefined) return [];
    return object.spec.http.flatMap((leaf, at): readonly OwnedRule[] => {
      const spec = joined(rule, leaf);
      return spec === undefined ? [] : [{ owner: object, index: at, spec }];
    });
  });
}

/** The matches of a delegate's rule that no match of the root leaves room for: they would be dropped. */
export function strayMatches(root: HttpRuleSpec, leaf: HttpRuleSpec): readonly number[] {
  if (root.match.length === 0) return [];
  return [...leaf.match.keys()].filter((at) =>
    root.match.every((outer) => narrowed(outer, leaf.match[at]!) === undefined),
  );
}

export function delegateOf(
  root: VirtualService,
  { delegate }: HttpRuleSpec,
  lookup: Lookup,
): { readonly namespace: string; readonly name: string; readonly object: VirtualService | undefined } {
  const namespace = delegate?.namespace ?? root.namespace;
  const name = delegate?.name ?? "";
  return { namespace, name, object: lookup(namespace, name) };
}

/** What the delegate says holds; what it does not say comes from the root. `undefined`: no request would come to it. */
function joined(root: HttpRuleSpec, leaf: HttpRuleSpec): HttpRuleSpec | undefined {
  if (leaf.delegate !== undefined) return undefined;
  const match = joinedMatches(root.match, leaf.match);
  if (match === undefined) return undefined;
  const headers = leaf.headers ?? root.headers;
  const base: HttpRuleSpec = { ...leaf, name: dashed(root.name, leaf.name), match, headers };
  // An answer sends nothing on.
  if (leaf.route.length === 0) return base;
  const mirrored = leaf.mirror !== undefined || leaf.mirrors !== undefined;
  return {
    ...base,
    timeout: leaf.timeout ?? root.timeout,
    retries: leaf.retries ?? root.retries,
    fault: leaf.fault ?? root.fault,
    rewrite: leaf.rewrite ?? root.rewrite,
    corsPolicy: leaf.corsPolicy ?? root.corsPolicy,
    ...(mirrored
      ? {}
      : {
          mirror: root.mirror,
          mirrors: root.mirrors,
          mirrorPercentage: root.mirrorPercentage,
          mirrorPercent: root.mirrorPercent,
        }),
  };
}

function joinedMatches(
  outer: readonly HttpMatchSpec[],
  inner: readonly HttpMatchSpec[],
): readonly HttpMatchSpec[] | undefined {
  if (outer.length === 0) return inner;
  if (inner.length === 0) return outer;
  const found = outer.flatMap((one) => inner.flatMap((two) => narrowed(one, two) ?? []));
  // No match at all would mean every request.
  return found.length === 0 ? undefined : found;
}

/** Both conditions in one; `undefined` when the inner one does not lie within the outer, or nobody can tell. */
function narrowed(outer: HttpMatchSpec, inner: HttpMatchSpec): HttpMatchSpec | undefined {
  for (const property of ["uri", "scheme", "method", "authority"] as const)
    if (!within(outer[property], inner[property])) return undefined;
  for (const property of ["headers", "queryParams"] as const)
    for (const [name, condition] of Object.entries(inner[property]))
      if (!within(outer[property][name], condition)) return undefined;
  // Of two conditions that must not hold, neither can take the other's place.
  for (const [name, condition] of Object.entries(inner.withoutHeaders)) {
    const other = outer.withoutHeaders[name];
    if (other !== undefined && !isDeepStrictEqual(other, condition)) return undefined;
  }
  if (outer.uri !== undefined && inner.uri !== undefined && outer.ignoreUriCase !== inner.ignoreUriCase)
    return undefined;
  if (differ(outer.port, inner.port) || differ(outer.sourceNamespace, inner.sourceNamespace)) return undefined;
  for (const [name, value] of Object.entries(inner.sourceLabels))
    if (differ(outer.sourceLabels[name], value)) return undefined;
  return {
    name: dashed(outer.name, inner.name),
    uri: inner.uri ?? outer.uri,
    ignoreUriCase: inner.uri === undefined ? outer.ignoreUriCase : inner.ignoreUriCase,
    scheme: inner.scheme ?? outer.scheme,
    method: inner.method ?? outer.method,
    authority: inner.authority ?? outer.authority,
    headers: { ...outer.headers, ...inner.headers },
    withoutHeaders: { ...outer.withoutHeaders, ...inner.withoutHeaders },
    queryParams: { ...outer.queryParams, ...inner.queryParams },
    port: inner.port ?? outer.port,
    sourceLabels: { ...outer.sourceLabels, ...inner.sourceLabels },
    sourceNamespace: inner.sourceNamespace ?? outer.sourceNamespace,
    // The root decides where it holds.
    gateways: outer.gateways,
  };
}

/** A regex beside another condition on the same property: which of them is narrower cannot be told (istio-api §2.10). */
function within(outer: TextMatch | undefined, inner: TextMatch | undefined): boolean {
  if (outer === undefined || inner === undefined) return true;
  if (outer.kind === "present") return true;
  if (inner.kind === "present" || outer.kind === "regex" || inner.kind === "regex") return false;
  if (outer.kind === "exact") return inner.kind === "exact" && inner.value === outer.value;
  return inner.value.startsWith(outer.value);
}

function differ<T>(outer: T | undefined, inner: T | undefined): boolean {
  return outer !== undefined && inner !== undefined && outer !== inner;
}

function dashed(outer: string, inner: string): string {
  return [outer, inner].filter((part) => part !== "").join("-");
}
