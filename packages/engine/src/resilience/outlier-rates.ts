import type { Endpoint } from "../cluster/endpoint.ts";
import type { OutlierConfig } from "../config.ts";
import type { Volume } from "./outlier-record.ts";

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
 * both rules find is told twice. `endpoints` are those of which there is a record, `all` counts the others too.
 */
export function judgeRates(
  config: OutlierConfig,
  endpoints: readonly Endpoint[],
  all: number,
  side: "answers" | "local",
  eject: (endpoint: Endpoint, enforcing: number, cause: string) => void,
): void {
  const { successRate, failurePercentage } = config;
  if (all < successRate.minHosts && all < failurePercentage.minHosts) return;
  const own = side === "local" ? " of our own side" : "";
  const volume = ({ known }: Endpoint): Volume => known.outlier![side];
  // Decided before the first one is ejected: those that go must not move the mean of those that stay.
  const judged = endpoints.filter((each) => !each.known.outlier!.ejected && volume(each).lastTotal > 0);
  const compared = judged.filter((each) => volume(each).lastTotal >= successRate.requestVolume);
  const measured = judged.filter((each) => volume(each).lastTotal >= failurePercentage.requestVolume);

  if (compared.length > 0 && compared.length >= successRate.minHosts) {
    const rates = compared.map((each) => volume(each).rate);
    const threshold = successRateThreshold(rates, successRate.stdevFactor);
    const enforcing = side === "local" ? successRate.enforcingLocalOrigin : successRate.enforcing;
    for (const [at, each] of compared.entries())
      if (rates[at]! < threshold) eject(each, enforcing, `success rate${own} ${rates[at]!.toFixed(1)} %`);
  }
  if (measured.length === 0 || measured.length < failurePercentage.minHosts) return;
  const enforcing = side === "local" ? failurePercentage.enforcingLocalOrigin : failurePercentage.enforcing;
  for (const each of measured) {
    const failures = 100 - volume(each).rate;
    if (failures >= failurePercentage.threshold) eject(each, enforcing, `failures${own} ${failures.toFixed(1)} %`);
  }
}
