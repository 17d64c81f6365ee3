import type { Batch } from "./messages.ts";
import type { Shop } from "./shop.ts";

/** Everything the customer and the outsider saw, summed from their reports. */
export interface Visits {
  requests: number;
  failed: number;
  readonly errors: string[];
  readonly latenciesMs: number[];
  readonly versions: Record<string, number>;
  readonly lastSeenMs: Record<string, number>;
  deniedExpected: number;
  deniedActual: number;
}

export interface Counts {
  readonly requests: number;
  readonly failed: number;
  readonly versions: Readonly<Record<string, number>>;
}

/** Latencies kept for the percentiles; an hour of the default load. Older ones leave. */
const keptLatencies = 500_000;
const keptErrors = 20;

export function watchVisits(shop: Pick<Shop, "customer" | "outsider">): Visits {
  const visits: Visits = {
    requests: 0,
    failed: 0,
    errors: [],
    latenciesMs: [],
    versions: {},
    lastSeenMs: {},
    deniedExpected: 0,
    deniedActual: 0,
  };
  shop.customer.on("batch", (batch: Batch) => {
    visits.requests += batch.ok + batch.failed;
    visits.failed += batch.failed;
    for (const error of batch.errors) if (visits.errors.length < keptErrors) visits.errors.push(error);
    for (const latency of batch.latenciesMs) visits.latenciesMs.push(latency);
    if (visits.latenciesMs.length > keptLatencies)
      visits.latenciesMs.splice(0, visits.latenciesMs.length - keptLatencies);
    for (const [version, count] of Object.entries(batch.versions))
      visits.versions[version] = (visits.versions[version] ?? 0) + count;
    for (const [version, atMs] of Object.entries(batch.lastSeenMs))
      visits.lastSeenMs[version] = Math.max(atMs, visits.lastSeenMs[version] ?? 0);
    visits.deniedExpected += batch.deniable;
    visits.deniedActual += batch.denied;
  });
  shop.outsider.on("outsider", ({ attempts, refused }) => {
    visits.deniedExpected += attempts;
    visits.deniedActual += refused;
  });
  return visits;
}

export function counts(visits: Visits): Counts {
  return { requests: visits.requests, failed: visits.failed, versions: { ...visits.versions } };
}

/** What came after `before` was taken. */
export function since(visits: Visits, before: Counts): Counts {
  const versions: Record<string, number> = {};
  for (const [version, count] of Object.entries(visits.versions))
    versions[version] = count - (before.versions[version] ?? 0);
  return { requests: visits.requests - before.requests, failed: visits.failed - before.failed, versions };
}

export function percentile(latenciesMs: readonly number[], q: number): number {
  if (latenciesMs.length === 0) return NaN;
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!;
}
