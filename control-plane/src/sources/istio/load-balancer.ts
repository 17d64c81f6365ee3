import * as z from "zod";

import {
  type LocalitySettingSpec,
  type ZoneAwareSettingSpec,
  localityLbSetting,
  zoneAwareLbSetting,
} from "./locality-setting.ts";
import { message } from "./message.ts";
import { duration, durationOrOff, fail, whole } from "./values.ts";

/** `loadBalancer` as validated (istio-api §3.2). */
export interface LoadBalancerSpec {
  readonly simple: BalancerName;
  readonly consistentHash?: ConsistentHashSpec | undefined;
  readonly warmup?: WarmupSpec | undefined;
  readonly localityLbSetting?: LocalitySettingSpec | undefined;
  readonly zoneAwareLbSetting?: ZoneAwareSettingSpec | undefined;
  /** Fields that Istio has better names for, as a path below `loadBalancer`, with the better name. */
  readonly deprecated: readonly { readonly path: readonly string[]; readonly instead: string }[];
}

export type BalancerName = "UNSPECIFIED" | "ROUND_ROBIN" | "LEAST_REQUEST" | "LEAST_CONN" | "RANDOM" | "PASSTHROUGH";

export interface ConsistentHashSpec {
  readonly key: HashKeySpec;
  readonly table:
    | { readonly kind: "ring"; readonly minimumSize: number }
    | { readonly kind: "maglev"; readonly size: number };
}

export type HashKeySpec =
  | { readonly kind: "header" | "query"; readonly name: string }
  | { readonly kind: "source" }
  | {
      readonly kind: "cookie";
      readonly name: string;
      /** Empty: none. */
      readonly path: string;
      /** Whole seconds; 0: as long as the browser runs; `undefined`: nobody is given a cookie. */
      readonly ttlMs: number | undefined;
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    };

export interface WarmupSpec {
  readonly windowMs: number;
  readonly minPercent: number;
  readonly aggression: number;
}

/** A token of RFC 9110: what can be the name of a header or of a cookie. */
const token = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "is no name: letters, digits and - are usual");
/** What can stand in a cookie without ending it. */
const cookieText = z.string().regex(/^[!-+\--:<-~]*$/, "must have no space, comma, semicolon or non-ASCII character");

const wholeSeconds = durationOrOff.transform((ms, context) =>
  ms % 1_000 === 0 ? ms : fail(context, "must be whole seconds: a browser knows no others"),
);

const httpCookie = message({
  name: token,
  path: cookieText.default(""),
  ttl: wholeSeconds.optional(),
  attributes: z
    .array(message({ name: token, value: cookieText.default("") }))
    .default([])
    .refine((list) => new Set(list.map(({ name }) => name.toLowerCase())).size === list.length, {
      error: "names an attribute twice: remove one of the two",
    }),
});

const maxRing = 8_388_608;

const consistentHash = message({
  httpHeaderName: token.optional(),
  httpCookie: httpCookie.optional(),
  useSourceIp: z.boolean().optional(),
  httpQueryParameterName: z.string().min(1, "an empty name is not allowed: remove it").optional(),
  ringHash: message({ minimumRingSize: whole(0, maxRing, "a number of points").default(1_024) }).optional(),
  maglev: message({
    tableSize: whole(0, 5_000_011, "a number of entries").default(65_537),
  }).optional(),
  minimumRingSize: whole(0, maxRing, "a number of points").optional(),
}).transform((spec, context): ConsistentHashSpec & { readonly old: boolean } => {
  const { httpHeaderName, httpCookie: cookie, useSourceIp, httpQueryParameterName, ringHash, maglev } = spec;
  const keys: HashKeySpec[] = [];
  if (httpHeaderName !== undefined) keys.push({ kind: "header", name: httpHeaderName.toLowerCase() });
  if (cookie !== undefined) keys.push({ kind: "cookie", ...cookie, ttlMs: cookie.ttl });
  if (useSourceIp === true) keys.push({ kind: "source" });
  if (httpQueryParameterName !== undefined) keys.push({ kind: "query", name: httpQueryParameterName });
  const [key] = keys;
  if (key === undefined || keys.length > 1) {
    return fail(
      context,
      "needs one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName, and no second one",
    );
  }
  const old = spec.minimumRingSize !== undefined;
  if ([ringHash, maglev, spec.minimumRingSize].filter((one) => one !== undefined).length > 1) {
    return fail(
      context,
      "only one of ringHash and maglev may be given (minimumRingSize is of ringHash): remove the others",
    );
  }
  if (maglev === undefined) {
    const minimumSize = ringHash?.minimumRingSize ?? spec.minimumRingSize ?? 1_024;
    // As everywhere in these messages, 0 is "not said".
    return { key, table: { kind: "ring", minimumSize: minimumSize === 0 ? 1_024 : minimumSize }, old };
  }
  const size = maglev.tableSize === 0 ? 65_537 : maglev.tableSize;
  if (!isPrime(size)) return fail(context, `maglev.tableSize: ${size} is no prime number: take ${primeBelow(size)}`);
  return { key, table: { kind: "maglev", size }, old };
});

function isPrime(n: number): boolean {
  if (n < 2) return false;
  for (let by = 2; by * by <= n; by++) if (n % by === 0) return false;
  return true;
}

function primeBelow(n: number): number {
  let candidate = Math.max(n, 2);
  while (!isPrime(candidate)) candidate--;
  return candidate;
}

const warmup = message({
  duration,
  minimumPercent: z.number().min(0, "must be between 0 and 100").max(100, "must be between 0 and 100").default(10),
  aggression: z.number().min(1, "must be 1 or more").max(1_000, "must be 1000 or less").default(1),
});

export const loadBalancer: z.ZodType<LoadBalancerSpec> = message({
  simple: z.enum(["UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"]).optional(),
  consistentHash: consistentHash.optional(),
  warmup: warmup.optional(),
  warmupDurationSecs: duration.optional(),
  localityLbSetting: localityLbSetting.optional(),
  zoneAwareLbSetting: zoneAwareLbSetting.optional(),
}).transform((spec, context): LoadBalancerSpec => {
  const { simple, consistentHash: hash, warmup: ramp, warmupDurationSecs: oldRamp } = spec;
  const { localityLbSetting: locality, zoneAwareLbSetting: zones } = spec;
  if (simple !== undefined && hash !== undefined) {
    return fail(context, "simple excludes consistentHash: keep one of the two");
  }
  if (locality !== undefined && zones !== undefined) {
    return fail(context, "zoneAwareLbSetting excludes localityLbSetting: keep one of the two");
  }
  if (simple === "PASSTHROUGH" && (locality?.enabled === true || zones?.enabled === true)) {
    return fail(context, "places have no effect on PASSTHROUGH, which chooses no endpoint: remove one of the two");
  }
  if (zones?.enabled === true && hash !== undefined) {
    return fail(
      context,
      "zoneAwareLbSetting has no effect on consistentHash, which looks at keys alone: remove one of the two",
    );
  }
  if (ramp !== undefined && oldRamp !== undefined) {
    return fail(context, "warmupDurationSecs is the old form of warmup: keep warmup");
  }
  const warm = ramp ?? (oldRamp === undefined ? undefined : { duration: oldRamp, minimumPercent: 10, aggression: 1 });
  if (warm !== undefined && (hash !== undefined || simple === "RANDOM" || simple === "PASSTHROUGH")) {
    return fail(context, "warmup works with ROUND_ROBIN and LEAST_REQUEST only: take one of them, or remove it");
  }
  return {
    simple: simple ?? "UNSPECIFIED",
    consistentHash: hash && { key: hash.key, table: hash.table },
    warmup: warm && { windowMs: warm.duration, minPercent: warm.minimumPercent, aggression: warm.aggression },
    localityLbSetting: locality,
    zoneAwareLbSetting: zones,
    deprecated: [
      ...(simple === "LEAST_CONN" ? [{ path: ["simple"], instead: "LEAST_REQUEST" }] : []),
      ...(oldRamp === undefined ? [] : [{ path: ["warmupDurationSecs"], instead: "warmup.duration" }]),
      ...(hash?.old === true
        ? [{ path: ["consistentHash", "minimumRingSize"], instead: "consistentHash.ringHash.minimumRingSize" }]
        : []),
    ],
  };
});
