import type { Endpoint } from "../cluster/endpoint.ts";
import type { OutlierConfig } from "../config.ts";
import { inParts } from "../slices.ts";
import type { Sliced } from "../slices.ts";

/** Whether any rate can lead to an ejection: without that nobody counts answers. */
export function judgesRates({ successRate, failurePercentage, splitLocalOrigin }: OutlierConfig): boolean {
  if (successRate.enforcing > 0 || failurePercentage.enforcing > 0) return true;
  return splitLocalOrigin && (successRate.enforcingLocalOrigin > 0 || failurePercentage.enforcingLocalOrigin > 0);
}

/**
 * The success rate below which an endpoint is an outlier: so many standard deviations below the mean. Envoy's example:
 * 50, 100, 100, 100, 100 have mean 90 and deviation 20, which with 1900 thousandths gives 52.
 */
export function successRateThreshold(rates: readonly number[], stdevFactor: number): number {
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
  return mean - (stdevFactor / 1_000) * Math.sqrt(variance);
}

/**
 * Calls `eject` for each outlier by rate, first by success rate, then by failure percentage, as Envoy has it; one that
 * both rules find is told twice. `endpoints` are those of which there is a record, `all` counts the others too. In slices: what befell
 * an endpoint meanwhile is seen, and whoever lost its record is no outlier.
 */
export function* judgeRates(
  config: OutlierConfig,
  endpoints: readonly Endpoint[],
  all: number,
  side: "answers" | "local",
  eject: (endpoint: Endpoint, enforcing: number, cause: string) => void,
): Sliced<void> {
  const { successRate, failurePercentage } = config;
  if (all < successRate.minHosts && all < failurePercentage.minHosts) return;
  const own = side === "local" ? " of our own side" : "";
  // Decided before the first one is ejected: those that go must not move the mean of those that stay.
  const compared: Endpoint[] = [];
  const rates: number[] = [];
  const measured: Endpoint[] = [];
  const failures: number[] = [];
  yield* inParts(endpoints.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const endpoint = endpoints[at]!;
      const record = endpoint.known.outlier;
      if (record === undefined || record.ejected) continue;
      const volume = record[side];
      if (volume.lastTotal === 0) continue;
      const { rate } = volume;
      if (volume.lastTotal >= successRate.requestVolume) rates[compared.push(endpoint) - 1] = rate;
      if (volume.lastTotal >= failurePercentage.requestVolume) failures[measured.push(endpoint) - 1] = 100 - rate;
    }
  });

  if (compared.length > 0 && compared.length >= successRate.minHosts) {
    const threshold = successRateThreshold(rates, successRate.stdevFactor);
    const enforcing = side === "local" ? successRate.enforcingLocalOrigin : successRate.enforcing;
    yield* inParts(compared.length, (from, to) => {
      for (let at = from; at < to; at++)
        if (rates[at]! < threshold) eject(compared[at]!, enforcing, `success rate${own} ${rates[at]!.toFixed(1)} %`);
    });
  }
  if (measured.length === 0 || measured.length < failurePercentage.minHosts) return;
  const enforcing = side === "local" ? failurePercentage.enforcingLocalOrigin : failurePercentage.enforcing;
  yield* inParts(measured.length, (from, to) => {
    for (let at = from; at < to; at++)
      if (failures[at]! >= failurePercentage.threshold)
        eject(measured[at]!, enforcing, `failures${own} ${failures[at]!.toFixed(1)} %`);
  });
}
