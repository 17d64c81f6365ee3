import type { LocalityPolicy, TrafficPolicy } from "../model/destination.ts";
import { networkLabel } from "../model/networks.ts";
import type { Endpoint, Locality } from "../model/service.ts";
import type { NodeView } from "../snapshot.ts";

/** Endpoints that go together into an assignment: of one locality and one priority. */
export interface Group {
  readonly locality: Locality;
  readonly priority: number;
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
}

/**
 * What becomes of the endpoints for callers of one class. Equal keys do the same, so that an assignment is made once for
 * all callers of a zone, not once for each of them.
 */
export interface Placing {
  readonly key: string;
  place(groups: readonly Group[]): readonly Group[];
}

type Caller = Pick<NodeView, "locality" | "labels" | "network">;

/**
 * Where calls of a node go (istio-api §3.3): shares by `distribute`, else the nearest first. Fail-over needs outlier
 * detection, as in Istio: without it nobody is ever unhealthy, and only the nearest would get anything for ever.
 * `undefined`: everybody is as near as everybody else.
 */
export function placing({ outlier, locality: policy }: Partial<TrafficPolicy>, caller: Caller): Placing | undefined {
  const { distribute = [], failover = [], failoverPriority = [], enabled = true } = policy ?? {};
  if (policy?.zoneAware !== undefined) return byRegion(policy, caller);
  if (distribute.length > 0) {
    const at = distribute.findIndex(({ from }) => fits(caller.locality, from));
    const rule = distribute[at];
    return rule && { key: `distribute ${at}`, place: (groups) => shares(groups, rule) };
  }
  if (outlier === undefined || !enabled) return undefined;
  const wanted = failoverPriority.map((each) => wantedLabel(each, caller));
  const known = caller.locality.region !== "";
  // A list of labels says it all, unless regions are named as well.
  const near = known && (wanted.length === 0 || failover.length > 0);
  if (wanted.length === 0 && !near) return undefined;
  return {
    key: JSON.stringify([wanted, near ? caller.locality : undefined]),
    place(groups) {
      const byLabels = wanted.length === 0 ? groups : groups.flatMap((group) => splitByLabels(group, wanted));
      return withoutGaps(
        near
          ? byLabels.map((group) => ({
              ...group,
              priority: group.priority * 5 + distance(caller.locality, group.locality, failover),
            }))
          : byLabels,
      );
    },
  };
}

/**
 * For callers that look at zones themselves: their own region first, whatever there is (outlier detection or not), then the region that
 * stands in for it, then the rest; all of that within each step of the labels. A zone is one locality, for that is what they compare.
 */
function byRegion({ failover, failoverPriority }: LocalityPolicy, caller: Caller): Placing {
  const { locality } = caller;
  const wanted = failoverPriority.map((each) => wantedLabel(each, caller));
  return {
    key: JSON.stringify(["zones", wanted, locality]),
    place(groups) {
      const byLabels = wanted.length === 0 ? groups : groups.flatMap((group) => splitByLabels(group, wanted));
      const regional = byLabels.map((group) => {
        // What `distance` calls 3 and 4 is 1 and 2 here; the own region is 0, near or far.
        const far = Math.max(0, distance(locality, group.locality, failover) - 2);
        return { ...group, priority: group.priority * 3 + far };
      });
      return withoutGaps(inZones(regional, locality));
    },
  };
}

/** Groups of one priority and zone become one; in the caller's zone that is the caller's own locality. */
export function inZones(groups: readonly Group[], caller: Locality): readonly Group[] {
  const found = new Map<string, Group>();
  for (const group of groups) {
    const { region, zone } = group.locality;
    const here = region === caller.region && zone === caller.zone;
    const key = JSON.stringify([group.priority, region, zone]);
    const before = found.get(key);
    found.set(key, {
      locality: here ? caller : { region, zone, subZone: "" },
      priority: group.priority,
      weight: (before?.weight ?? 0) + group.weight,
      endpoints: [...(before?.endpoints ?? []), ...group.endpoints],
    });
  }
  return [...found.values()];
}

/** Whether {@link placing} can give different answers to different callers. */
export function looksAtCallers({ outlier, locality }: Partial<TrafficPolicy>): boolean {
  if (locality?.zoneAware !== undefined || (locality?.distribute.length ?? 0) > 0) return true;
  return outlier !== undefined && locality?.enabled !== false;
}

/** Whether a locality is one of those that a pattern means. */
function fits(locality: Locality, pattern: string): boolean {
  const [region = "", zone = "", subZone = ""] = pattern.split("/");
  const any = (part: string): boolean => part === "" || part === "*";
  return (
    (any(region) || region === locality.region) &&
    (any(zone) || zone === locality.zone) &&
    (any(subZone) || subZone === locality.subZone)
  );
}

/** A share that several localities have in common is divided by their weights; who has none gets nothing. */
function shares(groups: readonly Group[], { to }: LocalityPolicy["distribute"][number]): readonly Group[] {
  const left = new Set(groups);
  return to.flatMap(([pattern, share]) => {
    const meant = [...left].filter((group) => fits(group.locality, pattern));
    const sum = meant.reduce((total, { weight }) => total + weight, 0);
    for (const group of meant) left.delete(group);
    return meant.map((group) => ({ ...group, weight: Math.ceil((group.weight * share) / sum) }));
  });
}

/** 0: the same subzone, 1: zone, 2: region, 3: elsewhere; with a word of the policy only the region named is 3, and the rest 4. */
function distance(caller: Locality, locality: Locality, failover: LocalityPolicy["failover"]): number {
  if (caller.region !== locality.region) {
    const instead = failover.find(({ from }) => from === caller.region);
    return instead === undefined || instead.to === locality.region ? 3 : 4;
  }
  if (caller.zone !== locality.zone) return 2;
  return caller.subZone === locality.subZone ? 0 : 1;
}

/** `key=value` as it stands, `key` with the caller's own value. */
function wantedLabel(label: string, { labels, locality, network = "" }: Caller): readonly [string, string] {
  const [key = "", value] = label.split("=");
  // An endpoint has its network among its labels, whichever way it was said.
  return [key, value ?? (key === networkLabel && network !== "" ? network : labelOf(key, labels, locality))];
}

/** Kubernetes and Istio write the locality as labels; here it is known without. */
function labelOf(key: string, labels: Readonly<Record<string, string>>, locality: Locality): string {
  if (Object.hasOwn(labels, key)) return labels[key] ?? "";
  switch (key) {
    case "topology.kubernetes.io/region":
      return locality.region;
    case "topology.kubernetes.io/zone":
      return locality.zone;
    case "topology.istio.io/subzone":
      return locality.subZone;
    default:
      return "";
  }
}

/** Priority 0 shares all labels; who differs in the first is last. A label counts only if those before it fit. */
function splitByLabels(group: Group, wanted: readonly (readonly [string, string])[]): readonly Group[] {
  const found = new Map<number, Endpoint[]>();
  for (const endpoint of group.endpoints) {
    const differs = wanted.findIndex(([key, value]) => labelOf(key, endpoint.labels, endpoint.locality) !== value);
    const priority = differs === -1 ? 0 : wanted.length - differs;
    const list = found.get(priority);
    if (list === undefined) found.set(priority, [endpoint]);
    else list.push(endpoint);
  }
  return [...found].map(([priority, endpoints]) => ({
    ...group,
    priority,
    endpoints,
    weight: endpoints.reduce((sum, { weight }) => sum + weight, 0),
  }));
}

/** Priorities go from 0 without a gap (S42). */
export function withoutGaps(groups: readonly Group[]): readonly Group[] {
  const ranks = [...new Set(groups.map(({ priority }) => priority))].sort((a, b) => a - b);
  return groups
    .map((group) => ({ ...group, priority: ranks.indexOf(group.priority) }))
    .sort((a, b) => a.priority - b.priority);
}
