import { covers } from "./host-index.ts";
import { type Service, hasLabels } from "./service.ts";

/** What some workloads see of the mesh, and how much they take at once (Sidecar). Scoping is no protection: whoever knows an address can still call it. */
export interface Scope {
  readonly namespace: string;
  readonly name: string;
  /** Of the workloads that it is for; empty: all of its namespace, or of the mesh when it is the root's. */
  readonly selector: Readonly<Record<string, string>>;
  /** Any of them; `undefined`: everything that is exported to the workload. */
  readonly seen: readonly HostPattern[] | undefined;
  /** None of these, whatever is `seen`. */
  readonly hidden: readonly HostPattern[];
  /** What becomes of hosts that are not seen; `undefined`: the workload's own setting. */
  readonly unknownHosts: "refuse" | "pass" | undefined;
  /** Of the workloads' own ports: `all` holds for those that are not in `ports`. */
  readonly inbound: { readonly all: PortLimits | undefined; readonly ports: ReadonlyMap<number, PortLimits> };
}

/** How much one port of a workload takes at once; `undefined`: any number. */
export interface PortLimits {
  readonly maxConnections: number | undefined;
  readonly maxRequests: number | undefined;
}

export interface HostPattern {
  /** `*`: any; `.`: that of the workload. */
  readonly namespace: string;
  /** Full, a wildcard, or `*`. */
  readonly host: string;
}

/** Scopes of the mesh, by namespace. */
export type Scopes = ReadonlyMap<string, readonly Scope[]>;

interface Workload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The one that holds for a workload: of its namespace, the one that selects it before the one for all; else the root's. */
export function scopeOf(scopes: Scopes, rootNamespace: string, { namespace, labels }: Workload): Scope | undefined {
  const own = scopes.get(namespace) ?? [];
  return (
    own.find(({ selector }) => Object.keys(selector).length > 0 && hasLabels(labels, selector)) ??
    own.find(isForAll) ??
    scopes.get(rootNamespace)?.find(isForAll)
  );
}

/** Whether a workload of this namespace sees the service. */
export function sees(scope: Scope | undefined, service: Service, own: string): boolean {
  if (scope === undefined) return true;
  const matches = (pattern: HostPattern): boolean => covered(pattern, service, own);
  return (scope.seen?.some(matches) ?? true) && !scope.hidden.some(matches);
}

/** Whether a pattern of a workload of this namespace means the service. */
export function covered(pattern: HostPattern, { host, namespace }: Service, own: string): boolean {
  return (
    (pattern.namespace === "*" || namespace === (pattern.namespace === "." ? own : pattern.namespace)) &&
    (pattern.host === "*" || covers(pattern.host, host))
  );
}

function isForAll({ selector }: Scope): boolean {
  return Object.keys(selector).length === 0;
}
