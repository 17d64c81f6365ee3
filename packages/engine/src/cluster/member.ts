import type { ClusterConfig, EndpointConfig, Locality } from "../config.ts";
import { inParts } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import type { EndpointLoads } from "./endpoint-load.ts";
import type { Endpoint } from "./endpoint.ts";
import { HeldEndpoint } from "./held-endpoint.ts";
import type { Arrival } from "./held-endpoint.ts";

interface HeldLocality {
  readonly locality: Locality;
  readonly configs: readonly EndpointConfig[];
  readonly endpoints: readonly HeldEndpoint[];
}

/**
 * The endpoints of the cluster in one snapshot. Each is held once in the keyed state for all members that have it, from the one that
 * it came with to the last one that is in use: so of 10,000 endpoints of which one changes, the one is looked up, held and
 * released, and nothing is done for the others.
 */
export interface Member {
  readonly config: ClusterConfig;
  /** Grows from each member in use to the next newer one; ≥ 1. */
  readonly version: number;
  /** By priority, then as in the configuration. */
  readonly localities: readonly (readonly HeldLocality[])[];
  /** By priority. */
  readonly endpoints: readonly (readonly Endpoint[])[];
  /** Those among them that the next newer member in use has not. */
  gone: HeldEndpoint[];
  /** The cluster itself, and a successor that is being made of it. */
  uses: number;
}

/** What the members of a cluster have in common with each other and with those who watch over their health; outlives each of them. */
export interface Membership {
  /** The clusters of this name in all snapshots in use, the newest last: that one says what is detected and checked. */
  readonly members: Member[];
  /** By `host:port`. */
  readonly endpoints: EndpointLoads;
  /** Grows with every change of `EndpointLoad.barred`: pickers that were built for another one are out of date. */
  healthVersion: number;
  /** Endpoints that wait for a request that tries them. */
  probes: number;
  /** Whether anybody called it ever: health checks are rarer before. */
  called: boolean;
}

/**
 * Makes the newest member. What the one before had already, the very same configuration, is taken over; the rest is looked up in the
 * keyed state and made. Ended by one {@link leave}.
 */
export function* enter(config: ClusterConfig, shared: Membership): Sliced<Member> {
  const before = shared.members.at(-1);
  const made: HeldEndpoint[] = [];
  let done = false;
  // It may leave while this is under way.
  if (before !== undefined) before.uses++;
  try {
    const version = (before?.version ?? 0) + 1;
    const loads = shared.endpoints;
    const arrival: Arrival = { since: version, loads, epoch: loads.epoch };
    const make = (each: EndpointConfig): HeldEndpoint => {
      const endpoint = new HeldEndpoint(each, arrival);
      made.push(endpoint);
      return endpoint;
    };
    const { priorities } = config.endpoints;
    const gone: HeldEndpoint[] = [];
    const localities: HeldLocality[][] = [];
    for (const [level, priority] of priorities.entries()) {
      const left = [...(before?.localities[level] ?? [])];
      const row: HeldLocality[] = [];
      for (const { locality, endpoints: configs } of priority) {
        const at = left.findIndex((each) => samePlace(each.locality, locality));
        const known = at === -1 ? undefined : left.splice(at, 1)[0];
        if (known?.configs === configs) row.push(known);
        else row.push({ locality, configs, endpoints: yield* succeed(known, configs, make, gone) });
      }
      localities.push(row);
      for (const { endpoints } of left) for (const each of endpoints) gone.push(each);
    }
    for (const row of before?.localities.slice(priorities.length) ?? [])
      for (const { endpoints } of row) for (const each of endpoints) gone.push(each);
    yield* share(made, gone, shared);
    const endpoints = localities.map((row) =>
      row.length === 1 ? row[0]!.endpoints : row.flatMap((each) => each.endpoints),
    );
    const member: Member = { config, version, localities, endpoints, gone: [], uses: 1 };
    if (before !== undefined) before.gone = gone;
    shared.members.push(member);
    done = true;
    return member;
  } finally {
    if (!done) for (const each of made) each.release();
    if (before !== undefined) leave(before, shared);
  }
}

/**
 * Endpoints of one address in different members have one load, from here on: who looks at one of them must see what is counted in the
 * other. `gone`: those of the newest member that its successor has not. Does nothing while nothing but endpoints comes, or goes.
 */
function* share(made: readonly HeldEndpoint[], gone: readonly HeldEndpoint[], { members }: Membership): Sliced<void> {
  if (made.length === 0) return;
  const others = new Map<string, HeldEndpoint>();
  for (const list of [...members.map((each) => each.gone), gone])
    yield* inParts(list.length, (from, to) => {
      for (let at = from; at < to; at++) others.set(list[at]!.config.address, list[at]!);
    });
  if (others.size === 0) return;
  yield* inParts(made.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const other = others.get(made[at]!.config.address);
      if (other !== undefined) made[at]!.shareWith(other);
    }
  });
}

/** Ends a use of the member; with the last one, what no other member in use has is released. */
export function leave(member: Member, shared: Membership): void {
  if (--member.uses > 0) return;
  const { members, endpoints: loads } = shared;
  const at = members.indexOf(member);
  members.splice(at, 1);
  const older = members[at - 1];
  const newest = at === members.length;
  if (newest && older === undefined) return loads.clear();
  // Whatever came with the older one, or before it, is there in all between; and what came later is not in it.
  const version = older?.version ?? 0;
  const still: HeldEndpoint[] = [];
  const release = (endpoint: HeldEndpoint): void => {
    if (endpoint.arrival.since > version) endpoint.release();
    else still.push(endpoint);
  };
  if (!newest) {
    for (const each of member.gone) release(each);
    for (const each of still) older!.gone.push(each);
  } else {
    for (const row of member.localities) for (const { endpoints } of row) for (const each of endpoints) release(each);
    // The older one is the newest now, and nobody has succeeded it.
    older!.gone = [];
  }
}

function samePlace(a: Locality, b: Locality): boolean {
  return a.region === b.region && a.zone === b.zone && a.subZone === b.subZone;
}

const nobody: HeldLocality = { locality: { region: "", zone: "", subZone: "" }, configs: [], endpoints: [] };

/** The endpoints of a locality: those at the begin and at the end that are as before come over as they are, in one go. */
function* succeed(
  { configs: old, endpoints: held }: HeldLocality = nobody,
  configs: readonly EndpointConfig[],
  make: (config: EndpointConfig) => HeldEndpoint,
  gone: HeldEndpoint[],
): Sliced<readonly HeldEndpoint[]> {
  const most = Math.min(old.length, configs.length);
  let head = 0;
  yield* inParts(most, (from, to) => {
    if (head === from) head = sameFrom(old, configs, from, to);
  });
  let tail = 0;
  yield* inParts(most - head, (from, to) => {
    if (tail === from) tail = sameUpTo(old, configs, from, to);
  });
  const left = new Map<EndpointConfig, HeldEndpoint>();
  yield* inParts(old.length - tail - head, (from, to) => {
    for (let at = head + from; at < head + to; at++) {
      // Nobody should say one twice; whoever does is counted twice.
      const twice = left.get(old[at]!);
      if (twice !== undefined) gone.push(twice);
      left.set(old[at]!, held[at]!);
    }
  });
  const middle: HeldEndpoint[] = [];
  yield* inParts(configs.length - tail - head, (from, to) => {
    for (let at = head + from; at < head + to; at++) {
      const config = configs[at]!;
      const known = left.get(config);
      if (known !== undefined) left.delete(config);
      middle.push(known ?? make(config));
    }
  });
  for (const each of left.values()) gone.push(each);
  return held.slice(0, head).concat(middle, held.slice(held.length - tail));
}

/** Index of the first that is not the same, from `from` on; at most `to`. */
function sameFrom(a: readonly EndpointConfig[], b: readonly EndpointConfig[], from: number, to: number): number {
  let at = from;
  while (at < to && a[at] === b[at]) at++;
  return at;
}

/** The same from the end on: how many there are. */
function sameUpTo(a: readonly EndpointConfig[], b: readonly EndpointConfig[], from: number, to: number): number {
  let count = from;
  while (count < to && a[a.length - 1 - count] === b[b.length - 1 - count]) count++;
  return count;
}
