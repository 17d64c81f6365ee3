import type { Capability } from "../../peer.ts";
import { compareRetries } from "../retries/compare.ts";
import { hedgeCase } from "./cases.ts";

const requestsPerCase = 5;

/** Attempts after a time-out, one by one or side by side: as many of them, and the same status, in Envoy and with us. */
export const hedgingRow: Capability = {
  name: "oracle: hedging",
  limitMs: 180_000,
  run: (context) =>
    compareRetries(context, "hedging", {
      firstSeed: 8_000_000,
      // Each hangs for seconds; all of them at once.
      count: Math.min(60, Math.ceil((context.requests * 0.01) / requestsPerCase)),
      requestsPerCase,
      width: Infinity,
      make: hedgeCase,
    }),
};
