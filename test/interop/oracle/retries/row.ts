import type { Capability } from "../../peer.ts";
import { retryCase } from "./cases.ts";
import { compareRetries } from "./compare.ts";

const requestsPerCase = 20;

/** Retry policies of every kind (R40), and a backend that fails as it is told. */
export const retriesRow: Capability = {
  name: "oracle: retries",
  limitMs: 180_000,
  run: (context) =>
    compareRetries(context, "retries", {
      firstSeed: 2_000_000,
      count: Math.ceil((context.requests * 0.1) / requestsPerCase),
      requestsPerCase,
      width: 8,
      make: retryCase,
    }),
};
