import type { ServiceInfo } from "../config.ts";

/** Bounds of Istio's duration histogram in milliseconds; the last bucket, `+Inf`, is not listed. */
export const durationBounds: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
];

/** What is counted for one set of labels. The request counter is the histogram's own count: they never disagree. */
export class Cell {
  /** Calls by bucket, not cumulated. */
  readonly buckets: Float64Array = new Float64Array(durationBounds.length + 1);
  sum = 0;

  observe(ms: number): void {
    let at = 0;
    while (at < durationBounds.length && ms > durationBounds[at]!) at++;
    this.buckets[at] = this.buckets[at]! + 1;
    this.sum += ms;
  }

  /** What counts for both. */
  static sum(this: void, a: Cell, b: Cell): Cell {
    const both = new Cell();
    for (let at = 0; at < both.buckets.length; at++) both.buckets[at] = a.buckets[at]! + b.buckets[at]!;
    both.sum = a.sum + b.sum;
    return both;
  }
}

/** Messages of gRPC calls, those under way included. */
export class MessageCounts {
  request = 0;
  response = 0;

  static sum(this: void, a: MessageCounts, b: MessageCounts): MessageCounts {
    const both = new MessageCounts();
    both.request = a.request + b.request;
    both.response = a.response + b.response;
    return both;
  }
}

/** Connections, those under way included. */
export class ConnectionCounts {
  opened = 0;
  closed = 0;
  /** Bytes towards the server. */
  request = 0;
  response = 0;

  static sum(this: void, a: ConnectionCounts, b: ConnectionCounts): ConnectionCounts {
    const both = new ConnectionCounts();
    both.opened = a.opened + b.opened;
    both.closed = a.closed + b.closed;
    both.request = a.request + b.request;
    both.response = a.response + b.response;
    return both;
  }
}

/** What tells series of one side apart, besides how their calls ended. Empty text means: not known. */
export interface SeriesKey {
  readonly cluster: string;
  /** Host the caller named, where no service is known. */
  readonly host: string;
  /** `workload;namespace;service;revision;cluster` of the other end. */
  readonly workload: string;
  readonly principal: string;
}

/** What its labels are made of, its cells by outcome, its messages by operation, and its connections by outcome. */
export interface Group extends SeriesKey {
  readonly service: ServiceInfo | undefined;
  readonly cells: Map<number, Cell>;
  /** The last that was counted in, which most calls are counted in. */
  outcome: number;
  cell: Cell | undefined;
  readonly messages: Map<number, MessageCounts>;
  readonly connections: Map<number, ConnectionCounts>;
}

/**
 * The cells of one side, found by a few lookups of texts that are the same objects from call to call. The number of
 * cells is bounded: labels must not grow with what peers and callers send. Past the bound all new ones share `overflow`.
 */
export class SeriesTable {
  readonly #max: number;
  readonly #groups = new Map<string, Map<string, Map<string, Map<string, Group>>>>();
  #last: Group | undefined = undefined;
  #size = 0;
  overflow: Cell | undefined = undefined;
  overflowMessages: MessageCounts | undefined = undefined;
  overflowConnections: ConnectionCounts | undefined = undefined;

  constructor(max: number) {
    this.#max = max;
  }

  /** `undefined` when there is no room for a new one. */
  group(
    cluster: string,
    host: string,
    workload: string,
    principal: string,
    service: ServiceInfo | undefined,
  ): Group | undefined {
    const last = this.#last;
    const group =
      last !== undefined &&
      last.workload === workload &&
      last.cluster === cluster &&
      last.principal === principal &&
      last.host === host
        ? last
        : this.#groups.get(cluster)?.get(host)?.get(workload)?.get(principal);
    if (group !== undefined) return (this.#last = group);
    return this.#size >= this.#max ? undefined : this.#add(cluster, host, workload, principal, service);
  }

  cell(group: Group | undefined, outcome: number): Cell {
    if (group !== undefined) {
      if (group.cell !== undefined && group.outcome === outcome) return group.cell;
      const found = group.cells.get(outcome) ?? this.#newCell(group, outcome);
      if (found !== undefined) {
        group.outcome = outcome;
        return (group.cell = found);
      }
    }
    return (this.overflow ??= new Cell());
  }

  #newCell(group: Group, outcome: number): Cell | undefined {
    if (this.#size >= this.#max) return undefined;
    this.#size++;
    const cell = new Cell();
    group.cells.set(outcome, cell);
    return cell;
  }

  messages(group: Group | undefined, operation: number): MessageCounts {
    const found = group?.messages.get(operation);
    if (found !== undefined) return found;
    if (group === undefined || this.#size >= this.#max) return (this.overflowMessages ??= new MessageCounts());
    this.#size++;
    const counts = new MessageCounts();
    group.messages.set(operation, counts);
    return counts;
  }

  connections(group: Group | undefined, outcome: number): ConnectionCounts {
    const found = group?.connections.get(outcome);
    if (found !== undefined) return found;
    if (group === undefined || this.#size >= this.#max) return (this.overflowConnections ??= new ConnectionCounts());
    this.#size++;
    const counts = new ConnectionCounts();
    group.connections.set(outcome, counts);
    return counts;
  }

  *groups(): Generator<Group> {
    for (const hosts of this.#groups.values())
      for (const workloads of hosts.values()) for (const principals of workloads.values()) yield* principals.values();
  }

  #add(cluster: string, host: string, workload: string, principal: string, service: ServiceInfo | undefined): Group {
    const group: Group = {
      cluster,
      host,
      workload,
      principal,
      service,
      cells: new Map(),
      outcome: 0,
      cell: undefined,
      messages: new Map(),
      connections: new Map(),
    };
    inner(inner(inner(this.#groups, cluster), host), workload).set(principal, group);
    return (this.#last = group);
  }
}

function inner<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let found = map.get(key);
  if (found === undefined) map.set(key, (found = new Map()));
  return found;
}
