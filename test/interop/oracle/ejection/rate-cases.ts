import { Cluster_DiscoveryType, Cluster_LbPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { OutlierDetectionSchema } from "@trama/proto/envoy/config/cluster/v3/outlier_detection_pb.js";

import { assignment, duration } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";
import type { WireRequest } from "../http1.ts";
import { numberField, type Outcome, outcomesField } from "./cases.ts";

export const intervalMs = 4_000;
/** Batches of a case, each in an interval of its own: those that the first one ejected have no part in the second. */
export const rounds = 2;

export interface RateCase {
  readonly name: string;
  readonly cluster: Init<typeof ClusterSchema>;
  /** Only some may be out. */
  readonly bounded: boolean;
  /** The same cluster, in which all may be out. */
  readonly unbounded: Init<typeof ClusterSchema>;
  /** Answered well by everybody, so many that Envoy tells a rate of somebody in the next interval. */
  readonly marker: readonly WireRequest[];
  readonly batches: readonly (readonly WireRequest[])[];
}

/** Success rates and failure percentages, and nothing else, with small numbers, so that few requests decide. */
function detection(chance: Chance, hosts: number): Init<typeof OutlierDetectionSchema> {
  const split = chance.maybe(0.3);
  // Never both: Envoy counts an endpoint that both find twice among those that are out (docs/interop.md, "Differences that stay").
  const bySuccess = chance.maybe();
  const all = (): number => (chance.maybe(0.9) ? 100 : 0);
  // Rates are told, and batches can be told apart, only where one of the two has enough endpoints.
  const [few, any] = [chance.int(1, hosts), chance.int(1, hosts + 2)];
  const [successRateMinimumHosts, failurePercentageMinimumHosts] = chance.maybe() ? [few, any] : [any, few];
  return {
    interval: duration(intervalMs),
    baseEjectionTime: duration(600_000),
    maxEjectionTime: duration(600_000),
    enforcingConsecutive5xx: 0,
    enforcingConsecutiveGatewayFailure: 0,
    maxEjectionPercent: chance.pick([100, 100, 100, 67, 50, 34, 20]),
    enforcingSuccessRate: bySuccess ? all() : 0,
    successRateMinimumHosts,
    successRateRequestVolume: chance.int(1, 8),
    successRateStdevFactor: chance.pick([0, 500, 1_000, 1_500, 1_900]),
    enforcingFailurePercentage: bySuccess ? 0 : all(),
    failurePercentageMinimumHosts,
    failurePercentageRequestVolume: chance.int(1, 8),
    failurePercentageThreshold: chance.pick([10, 25, 50, 75, 85, 100]),
    ...(split && {
      splitExternalLocalOriginErrors: true,
      enforcingConsecutiveLocalOriginFailure: 0,
      enforcingLocalOriginSuccessRate: all(),
      enforcingFailurePercentageLocalOrigin: all(),
    }),
  };
}

export function rateCase(
  chance: Chance,
  at: number,
  requests: number,
  backends: readonly { readonly address: string; readonly port: number }[],
): RateCase {
  const name = `case-${at}`;
  const used = backends.slice(0, chance.int(2, backends.length));
  const outlierDetection = detection(chance, used.length);
  const cluster = {
    name,
    clusterDiscoveryType: { case: "type" as const, value: Cluster_DiscoveryType.STATIC },
    // With weights some have enough requests to be judged and some have not.
    lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
    connectTimeout: duration(5_000),
    outlierDetection,
    loadAssignment: assignment(
      name,
      used.map((each) => ({ ...each, weight: chance.pick([1, 1, 2, 4]) })),
    ),
  };
  // The heaviest has its part of them at least, and the half of that if an interval ends meanwhile.
  const { successRateRequestVolume: one = 0, failurePercentageRequestVolume: other = 0 } = outlierDetection;
  const enough = 2 * Math.min(one, other) * used.length;
  const request = (number: string, outcomes: readonly Outcome[]): WireRequest => ({
    method: "GET",
    target: `/${name}/`,
    host: "a",
    headers: [
      [numberField, `${at}.${number}`],
      [outcomesField, outcomes.join()],
    ],
  });
  const fine = backends.map((): Outcome => 200);
  return {
    name,
    cluster,
    bounded: outlierDetection.maxEjectionPercent !== 100,
    unbounded: { ...cluster, outlierDetection: { ...outlierDetection, maxEjectionPercent: 100 } },
    marker: Array.from({ length: enough }, (_, number) => request(`m.${number}`, fine)),
    batches: Array.from({ length: rounds }, (_round, round) => {
      // Most are alike, and one or two are worse.
      const usual = chance.pick([0, 0.1, 0.3]);
      const bad = backends.map(() => (chance.maybe(0.3) ? chance.pick([0.5, 0.8, 1]) : usual));
      return Array.from({ length: requests }, (_, number) =>
        request(
          `${round}.${number}`,
          bad.map((share) => (chance.maybe(share) ? chance.pick([500, 503, 504]) : chance.pick([200, 204, 404]))),
        ),
      );
    }),
  };
}
