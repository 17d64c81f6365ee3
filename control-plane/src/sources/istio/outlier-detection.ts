import * as z from "zod";

import { message } from "./message.ts";
import { duration, whole } from "./values.ts";

/** `outlierDetection` (istio-api §3.5) with its defaults. Present and empty is on: five failures in a row. */
export interface OutlierDetectionSpec {
  /** 0 = off. */
  readonly consecutive5xxErrors: number;
  readonly consecutiveGatewayErrors: number;
  readonly splitExternalLocalOriginErrors: boolean;
  readonly consecutiveLocalOriginFailures?: number | undefined;
  readonly interval: number;
  readonly baseEjectionTime: number;
  readonly maxEjectionPercent: number;
  /** 0 = never use those that are ejected. */
  readonly minHealthPercent: number;
  readonly outlierDetectionHttpErrorCodes: readonly number[];
}

const number = whole(0, 4_294_967_295, "a number");

export const outlierDetection: z.ZodType<OutlierDetectionSpec> = message(
  {
    consecutive5xxErrors: number.default(5),
    consecutiveGatewayErrors: number.default(0),
    splitExternalLocalOriginErrors: z.boolean().default(false),
    consecutiveLocalOriginFailures: number.optional(),
    interval: duration.default(10_000),
    baseEjectionTime: duration.default(30_000),
    // Istio takes 0 for the default of 10, which nobody who writes it can mean.
    maxEjectionPercent: whole(
      1,
      100,
      "a percentage (0 would mean the default, 10; to eject nobody leave outlierDetection out)",
    ).default(10),
    minHealthPercent: whole(0, 100, "a percentage").default(0),
    outlierDetectionHttpErrorCodes: z.array(whole(100, 599, "an HTTP status")).default([]),
  },
  { consecutiveErrors: "the old name; write consecutive5xxErrors" },
).refine(
  (spec) => spec.consecutiveLocalOriginFailures === undefined || spec.splitExternalLocalOriginErrors,
  "consecutiveLocalOriginFailures counts only with splitExternalLocalOriginErrors: true; add it, or remove the count",
);
