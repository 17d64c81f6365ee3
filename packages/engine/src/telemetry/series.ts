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
  /** Messages of gRPC calls. */
  requestMessages = 0;
  responseMessages = 0;

  observe(ms: number): void {
    let at = 0;
    while (at < durationBounds.length && ms > durationBounds[at]!) at++;
    this.buckets[at] = this.buckets[at]! + 1;
    this.sum += ms;
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

/** A cell by outcome, and what its labels are made of. */
export interface Group extends SeriesKey {
  readonly service: ServiceInfo | undefined;
  readonly cells: Map<number, Cell>;
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

  constructor(max: number) {
    this.#max = max;
  }

  cell(
    cluster: string,
    host: string,
    workload: string,
    principal: string,
    outcome: number,
    service: ServiceInfo | undefined,
  ): Cell {
    const last = this.#last;
    const group =
      last !== undefined &&
      last.workload === workload &&
      last.cluster === cluster &&
      last.principal === principal &&
      last.host === host
        ? last
        : this.#groups.get(cluster)?.get(host)?.get(workload)?.get(principal);
    if (group !== undefined) {
      this.#last = group;
      const cell = group.cells.get(outcome);
      if (cell !== undefined) return cell;
    }
    if (this.#size >= this.#max) return (this.overflow ??= new Cell());
    this.#size++;
    const cell = new Cell();
    (group ?? this.#add(cluster, host, workload, principal, service)).cells.set(outcome, cell);
    return cell;
  }

  *groups(): Generator<Group> {
    for (const hosts of this.#groups.values())
      for (const workloads of hosts.values()) for (const principals of workloads.values()) yield* principals.values();
  }

  #add(cluster: string, host: string, workload: string, principal: string, service: ServiceInfo | undefined): Group {
    const group: Group = { cluster, host, workload, principal, service, cells: new Map() };
    inner(inner(inner(this.#groups, cluster), host), workload).set(principal, group);
    return (this.#last = group);
  }
}

function inner<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let found = map.get(key);
  if (found === undefined) map.set(key, (found = new Map()));
  return found;
}
