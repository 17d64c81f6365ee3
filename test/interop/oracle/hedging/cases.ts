import { duration } from "../../../kit/xds-resources.ts";
import type { Chance } from "../chance.ts";
import { numberField, scriptField } from "../retries/cases.ts";
import type { RetryCase } from "../retries/cases.ts";

/** So much longer than any answer here takes that a busy machine does not turn an answer into a slow one. */
const slowMs = 600;
/** After the last time-out of the most attempts. */
const timeoutMs = 4_000;

export function hedgeCase(chance: Chance, at: number, requests: number): RetryCase {
  const path = `/case-${at}/`;
  // What ends the wait for one that hangs: the attempt's time, its silence, or that of the whole call.
  const limit = chance.pick(["perTryTimeout", "perTryTimeout", "perTryIdleTimeout", "idleTimeout"]);
  return {
    route: {
      name: `case-${at}`,
      match: { pathSpecifier: { case: "prefix", value: path } },
      action: {
        case: "route",
        value: {
          clusterSpecifier: { case: "cluster", value: "backend" },
          timeout: duration(timeoutMs),
          ...(limit === "idleTimeout" && { idleTimeout: duration(slowMs) }),
          hedgePolicy: { hedgeOnPerTryTimeout: chance.maybe(0.7) },
          retryPolicy: {
            retryOn: chance.some(chance.int(1, 3), ["5xx", "reset", "gateway-error", "retriable-4xx"]).join(),
            numRetries: chance.int(1, 3),
            ...(limit === "perTryTimeout" && { perTryTimeout: duration(slowMs) }),
            ...(limit === "perTryIdleTimeout" && { perTryIdleTimeout: duration(slowMs) }),
            retryBackOff: { baseInterval: duration(1), maxInterval: duration(1) },
          },
        },
      },
    },
    requests: Array.from({ length: requests }, (_, number) => {
      const script = chance.list(1, 4, (step) =>
        step === 0 && chance.maybe(0.7) ? "hang" : chance.pick(["hang", "reset", "200", "404", "409", "500", "503"]),
      );
      const headers = [
        [numberField, `${at}.${number}`],
        [scriptField, script.join("|")],
      ] as const;
      return { wire: { method: "GET", target: path, host: "a", headers }, script };
    }),
  };
}
