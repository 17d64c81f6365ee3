import type { EndpointSet, Locality, LocalityEndpoints, ZoneAwareConfig } from "../config.ts";
import { inParts } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import { AliasTable } from "./alias.ts";
import type { Dice } from "./dice.ts";
import type { LocalityHosts } from "./locality.ts";
import type { Picker } from "./picker.ts";

/** What the arithmetic looks at of a locality. */
export interface ZoneSize {
  readonly locality: Locality;
  /** Endpoints that take traffic. */
  readonly ready: number;
}

/** The caller's own place, and how many of its like there are where. */
export interface Callers {
  readonly locality: Locality;
  readonly zones: readonly ZoneSize[];
}

/**
 * Which part of the calls goes to which locality of `upstream`, as weights; `undefined`: zones do not count, and endpoints are chosen as
 * if there were none.
 *
 * Envoy's arithmetic, in ten-thousandths and with its rounding: every caller's zone ought to get the calls of those who are in it.
 * Where its share of the endpoints is at least its share of the callers, it keeps all of them. Otherwise it keeps what it can hold, and
 * the rest goes to the zones that have more endpoints than callers, by how much more they have. Without two zones on both sides,
 * without a caller in the caller's own zone, and below `minClusterSize` endpoints that take traffic, there is nothing to share out.
 */
export function zoneShares(
  upstream: readonly ZoneSize[],
  { locality: own, zones: callers }: Callers,
  minClusterSize: number,
): readonly number[] | undefined {
  const here = callers.find(({ locality }) => same(locality, own));
  if (upstream.length < 2 || callers.length < 2 || here === undefined) return undefined;
  const ready = sum(upstream);
  if (ready < minClusterSize) return undefined;
  const all = sum(callers);
  const parts = upstream.map(({ locality, ready: count }) => {
    const like = count === 0 ? undefined : callers.find((each) => same(each.locality, locality));
    return {
      own: same(locality, own),
      upstream: ready === 0 ? 0 : Math.floor((10_000 * count) / ready),
      callers: all === 0 || like === undefined ? 0 : Math.floor((10_000 * like.ready) / all),
    };
  });
  const mine = parts.find((each) => each.own);
  if (mine !== undefined && mine.upstream > 0 && mine.upstream >= mine.callers)
    return parts.map((each) => (each.own ? 1 : 0));
  const kept = mine === undefined || mine.callers === 0 ? 0 : Math.floor((10_000 * mine.upstream) / mine.callers);
  const spare = parts.map((each) => (each.own ? 0 : Math.max(0, each.upstream - each.callers)));
  const left = spare.reduce((total, each) => total + each, 0);
  // Only rounding brings this about: any zone will do (Envoy's too, though it may also come to an empty one).
  if (left === 0) {
    const open = upstream.filter((each) => each.ready > 0).length;
    const each = open === 0 ? 0 : (10_000 - kept) / open;
    return parts.map((part, at) => (part.own ? kept : 0) + (upstream[at]!.ready > 0 ? each : 0));
  }
  return parts.map((part, at) => (part.own ? kept : ((10_000 - kept) * spare[at]!) / left));
}

/** One priority of a cluster with zone aware routing. */
export interface ZonePriority {
  readonly localities: readonly LocalityHosts[];
  /** The first one of the cluster: zones count in no other. */
  readonly first: boolean;
  readonly panic: boolean;
  /** Below which share of its endpoints, percent, a cluster is in panic; that of the callers too. */
  readonly panicPercent: number;
  /** Answers that there is nobody. */
  readonly nobody: Picker;
}

/**
 * The picker of a priority: a locality by {@link zoneShares}, then inside it by the cluster's own balancer. The part of the calls that
 * is not `routingPercent`, or all of them where zones do not count, or in panic, is spread over localities by what they hold: Envoy then
 * looks at no locality, and at no weight of one. `undefined`: there is nobody.
 */
export function* byZone(
  { local, minClusterSize, routingPercent, failOnPanic }: ZoneAwareConfig,
  { localities, first, panic, panicPercent, nobody }: ZonePriority,
  dice: Dice,
): Sliced<Picker | undefined> {
  if (panic && failOnPanic) return nobody;
  const held = localities.map((each) => (panic ? each.endpoints : each.ready));
  const flat = held.map(() => 0);
  for (const [at, list] of held.entries())
    yield* inParts(list.length, (from, to) => {
      for (let i = from; i < to; i++) flat[at]! += list[i]!.config.weight;
    });
  const everybody = flat.reduce((total, each) => total + each, 0);
  if (everybody === 0) return undefined;
  // As far as Envoy knows, a locality without any endpoint is not there.
  const there = localities.flatMap((each, at) => (each.endpoints.length === 0 ? [] : [at]));
  const sizes = there.map((at) => ({ locality: localities[at]!.locality, ready: localities[at]!.ready.length }));
  const zoned = first && !panic && local !== undefined;
  let shares = zoned ? zoneShares(sizes, callersOf(local), minClusterSize) : undefined;
  let refused = 0;
  // So many of the callers are not well that what is known of them is worth little.
  if (shares !== undefined && inPanic(local!.endpoints, panicPercent)) {
    shares = undefined;
    refused = failOnPanic ? routingPercent : 0;
  }
  const pickers: Picker[] = [];
  const chances: number[] = [];
  if (refused > 0) {
    pickers.push(nobody);
    chances.push(refused);
  }
  const total = (shares ?? []).reduce((added, each) => added + each, 0);
  for (const [at, each] of localities.entries()) {
    const blind = (flat[at]! / everybody) * (100 - (shares === undefined ? refused : routingPercent));
    const share = shares === undefined ? 0 : (routingPercent * (shares[there.indexOf(at)] ?? 0)) / total;
    if (!(blind + share > 0)) continue;
    pickers.push(yield* each.picker(panic));
    chances.push(blind + share);
  }
  if (pickers.length === 1) return pickers[0];
  const table = new AliasTable(chances);
  return { pick: (call, selection) => pickers[table.draw(dice)]!.pick(call, selection) };
}

function inPanic({ priorities }: EndpointSet, panicPercent: number): boolean {
  const zones = priorities[0] ?? [];
  const all = zones.reduce((total, { endpoints }) => total + endpoints.length, 0);
  return (all === 0 ? 0 : (100 * sum(zones.map(sizeOf))) / all) < panicPercent;
}

/** Of the first priority: Envoy allows no other in a local cluster. */
function callersOf({ locality, endpoints }: NonNullable<ZoneAwareConfig["local"]>): Callers {
  const zones = (endpoints.priorities[0] ?? []).filter((each) => each.endpoints.length > 0);
  return { locality, zones: zones.map(sizeOf) };
}

/** Of callers: the same for all clusters that look at zones, and whenever one of them is built anew. */
const known = new WeakMap<LocalityEndpoints, ZoneSize>();

function sizeOf(zone: LocalityEndpoints): ZoneSize {
  let size = known.get(zone);
  if (size === undefined) {
    let ready = 0;
    for (const { health } of zone.endpoints) if (health === "healthy") ready++;
    known.set(zone, (size = { locality: zone.locality, ready }));
  }
  return size;
}

function same(a: Locality, b: Locality): boolean {
  return a.zone === b.zone && a.region === b.region && a.subZone === b.subZone;
}

function sum(zones: readonly ZoneSize[]): number {
  return zones.reduce((total, { ready }) => total + ready, 0);
}
