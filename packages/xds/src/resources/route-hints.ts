import type { HedgePolicy } from "@trama/engine";
import type { Metadata } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import { ResourceError } from "./error.ts";

/** What our control plane says of a route and xDS has no field for, in its metadata under `trama`; others pass over it (docs/wire.md). */
export interface RouteHints {
  readonly idempotent: boolean;
  readonly hedge: HedgePolicy | undefined;
}

const none: RouteHints = { idempotent: false, hedge: undefined };

export function routeHints(metadata: Metadata | undefined): RouteHints {
  const own: unknown = metadata?.filterMetadata["trama"];
  if (own === undefined) return none;
  const { idempotent = false, hedge, ...rest } = own as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(rest)) throw new ResourceError(`trama.${key} is not known to this release`);
  if (typeof idempotent !== "boolean") throw new ResourceError("trama.idempotent is no boolean");
  return { idempotent, hedge: hedge === undefined ? undefined : hedging(hedge) };
}

function hedging(value: unknown): HedgePolicy {
  const { delay_ms: delayMs, percentile, ...rest } = (value ?? {}) as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(rest)) throw new ResourceError(`trama.hedge.${key} is not known to this release`);
  if (delayMs === undefined && percentile === undefined)
    throw new ResourceError("trama.hedge needs delay_ms or percentile");
  const percent = within("percentile", percentile, 50, 99.9);
  return {
    onPerTryTimeout: false,
    delayMs: within("delay_ms", delayMs, 1, 0x7fff_ffff),
    percentile: percent && percent / 100,
  };
}

function within(field: string, value: unknown, least: number, most: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw new ResourceError(`trama.hedge.${field} is no number from ${least} to ${most}`);
}
