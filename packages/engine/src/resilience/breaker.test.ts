import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newClusterState } from "../state.ts";
import { Breaker } from "./breaker.ts";

const limits = { maxConnections: 1, maxPending: 1, maxRequests: 5, maxRetries: 3, retryBudget: undefined };
const events = fc.array(fc.constantFrom("request", "requestEnd", "retry", "retryEnd"), { maxLength: 200 });

describe("Breaker, in random event sequences", () => {
  it("never exceeds its limits, and returns to 0 when all has ended", () => {
    const budget = fc.option(
      fc.record({ percent: fc.integer({ min: 0, max: 100 }), minConcurrency: fc.integer({ min: 0, max: 3 }) }),
      { nil: undefined },
    );
    fc.assert(
      fc.property(events, budget, (sequence, retryBudget) => {
        const counts = newClusterState();
        const breaker = new Breaker({ ...limits, retryBudget }, counts);
        let requests = 0;
        let retries = 0;
        for (const event of sequence) {
          const limit =
            retryBudget === undefined
              ? limits.maxRetries
              : Math.max(retryBudget.minConcurrency, Math.floor((requests * retryBudget.percent) / 100));
          if (event === "request") {
            const admitted = breaker.admitRequest();
            expect(admitted).toBe(requests < limits.maxRequests);
            if (admitted) requests++;
          } else if (event === "retry") {
            const admitted = breaker.admitRetry();
            expect(admitted).toBe(retries < limit);
            if (admitted) retries++;
          } else if (event === "requestEnd" && requests > 0) {
            breaker.requestEnded();
            requests--;
          } else if (event === "retryEnd" && retries > 0) {
            breaker.retryEnded();
            retries--;
          }
          expect(counts).toMatchObject({ requests, retries });
        }
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it("counts what an older snapshot sent against the newer limits", () => {
    const counts = newClusterState();
    const before = new Breaker(limits, counts);
    for (let i = 0; i < 5; i++) expect(before.admitRequest()).toBe(true);
    const after = new Breaker({ ...limits, maxRequests: 6 }, counts);
    expect([after.admitRequest(), after.admitRequest()]).toEqual([true, false]);
    before.requestEnded();
    expect(after.admitRequest()).toBe(true);
  });

  it("a limit of 0 admits nothing", () => {
    const breaker = new Breaker({ ...limits, maxRequests: 0, maxRetries: 0 }, newClusterState());
    expect([breaker.admitRequest(), breaker.admitRetry()]).toEqual([false, false]);
  });
});
