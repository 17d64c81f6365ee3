import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HeaderMatcherSchema, RetryPolicySchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { duration } from "../../../kit/xds-resources.ts";
import type { Chance } from "../chance.ts";
import type { WireRequest } from "../http1.ts";
import type { RouteInit } from "../routes/feature.ts";

/** What the backend does with one attempt: `reset`, `hang` and never answer, or a status with header fields after it, `503;x-again=1`. */
export type Step = string;

export interface RetryRequest {
  readonly wire: WireRequest;
  /** Of its attempts, in order; the last holds for all that follow. */
  readonly script: readonly Step[];
}

export interface RetryCase {
  readonly route: RouteInit;
  readonly requests: readonly RetryRequest[];
}

/** Names the request; the backend counts its attempts by it. */
export const numberField = "x-number";
export const scriptField = "x-script";

const words = [
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "refused-stream",
  "retriable-4xx",
  "retriable-status-codes",
  "retriable-headers",
  "envoy-ratelimited",
  "http3-post-connect-failure",
];
const statuses = [200, 204, 400, 404, 409, 429, 500, 501, 502, 503, 504];
const fields = ["x-again=yes", "x-again=no", "x-later=1", "x-envoy-ratelimited=true"];

type Matcher = MessageInitShape<typeof HeaderMatcherSchema>;

function matcher(name: string, chance: Chance): Matcher {
  const invertMatch = chance.maybe(0.2);
  return chance.either<Matcher>(
    () => ({ name, invertMatch, headerMatchSpecifier: { case: "presentMatch", value: true } }),
    () => ({
      name,
      invertMatch,
      headerMatchSpecifier: { case: "stringMatch", value: { matchPattern: { case: "exact", value: "yes" } } },
    }),
  );
}

function policy(chance: Chance): MessageInitShape<typeof RetryPolicySchema> {
  return {
    retryOn: chance.some(chance.int(1, 4), words).join(","),
    numRetries: chance.int(1, 3),
    retriableStatusCodes: chance.some(chance.int(0, 2), statuses),
    retriableHeaders: chance.list(0, 2, () => matcher(chance.pick(["x-again", "x-later"]), chance)),
    retriableRequestHeaders: chance.maybe(0.3) ? [matcher("x-safe", chance)] : [],
    // Nobody waits for it here; how long it is, is tested by fake clock.
    retryBackOff: { baseInterval: duration(1), maxInterval: duration(1) },
  };
}

function step(chance: Chance): Step {
  if (chance.maybe(0.2)) return "reset";
  return [chance.pick(statuses), ...chance.some(chance.maybe() ? 1 : 0, fields)].join(";");
}

export function retryCase(chance: Chance, at: number, requests: number): RetryCase {
  const path = `/case-${at}/`;
  return {
    route: {
      name: `case-${at}`,
      match: { pathSpecifier: { case: "prefix", value: path } },
      action: {
        case: "route",
        value: { clusterSpecifier: { case: "cluster", value: "backend" }, retryPolicy: policy(chance) },
      },
    },
    requests: Array.from({ length: requests }, (_, number) => {
      const script = chance.list(1, 4, () => step(chance));
      const headers: [string, string][] = [
        [numberField, `${at}.${number}`],
        [scriptField, script.join("|")],
      ];
      if (chance.maybe()) headers.push(["x-safe", chance.pick(["yes", "no"])]);
      return { wire: { method: "GET", target: path, host: "a", headers }, script };
    }),
  };
}

/** The step of an attempt, from 0, in parts. */
export function stepOf(
  script: readonly Step[],
  attempt: number,
): "reset" | "hang" | { readonly status: number; readonly headers: Readonly<Record<string, string>> } {
  const found = script[Math.min(attempt, script.length - 1)]!;
  if (found === "reset" || found === "hang") return found;
  const [status, ...rest] = found.split(";");
  return {
    status: Number(status),
    headers: Object.fromEntries(rest.map((each) => each.split("=") as [string, string])),
  };
}
