import { Cluster_DiscoveryType, Cluster_LbPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { MatchPredicateSchema } from "@trama/proto/envoy/config/common/matcher/v3/matcher_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { OutlierDetectionSchema } from "@trama/proto/envoy/config/cluster/v3/outlier_detection_pb.js";

import { any, assignment, duration } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";
import type { WireRequest } from "../http1.ts";

/** What an endpoint does with a request: a status, or it closes the connection. */
export type Outcome = number | "reset";

/** Names the request; the backends write down who had it. */
export const numberField = "x-number";
/** What each backend would do with it, in order of the backends. */
export const outcomesField = "x-outcomes";

export interface EjectionCase {
  readonly cluster: Init<typeof ClusterSchema>;
  readonly requests: readonly WireRequest[];
}

const failures: readonly Outcome[] = [500, 501, 502, 503, 504, 503, "reset"];
const fine: readonly Outcome[] = [200, 204, 404, 429];

/** Which statuses are failures, in each of the forms that we read. */
function errorOptions(chance: Chance): NonNullable<Init<typeof ClusterSchema>["typedExtensionProtocolOptions"]> {
  const status = (): string => String(chance.pick([404, 429, 500, 502, 503]));
  const one = (): Init<typeof MatchPredicateSchema> => {
    const start = BigInt(chance.int(200, 510));
    const range = { start, end: start + BigInt(chance.int(1, 100)) };
    const headerMatchSpecifier = chance.pick([
      { case: "rangeMatch" as const, value: range },
      { case: "exactMatch" as const, value: status() },
      { case: "stringMatch" as const, value: { matchPattern: { case: "exact" as const, value: status() } } },
    ]);
    const headers = [{ name: ":status", headerMatchSpecifier }];
    return { rule: { case: "httpResponseHeadersMatch", value: { headers } } };
  };
  const several = (): Init<typeof MatchPredicateSchema> => ({
    rule: { case: "orMatch", value: { rules: chance.list(2, 4, one) } },
  });
  const options = any(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: { protocolConfig: { case: "httpProtocolOptions", value: {} } },
    },
    outlierDetection: { errorMatcher: chance.either(one, several) },
  });
  return { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options };
}

/**
 * Everything that ejects as it happens. Nothing here goes by time: the sweep comes every ten minutes, and what it judges, success rates and
 * failure percentages, is the matter of `rate-cases.ts`.
 */
function detection(chance: Chance, split: boolean): Init<typeof OutlierDetectionSchema> {
  const all = (): number => (chance.maybe(0.8) ? 100 : 0);
  return {
    interval: duration(600_000),
    consecutive5xx: chance.int(1, 6),
    enforcingConsecutive5xx: all(),
    ...(chance.maybe() && {
      consecutiveGatewayFailure: chance.int(1, 5),
      enforcingConsecutiveGatewayFailure: all(),
    }),
    enforcingSuccessRate: 0,
    maxEjectionPercent: chance.pick([0, 10, 20, 34, 50, 67, 100]),
    alwaysEjectOneHost: chance.maybe(),
    ...(split && {
      splitExternalLocalOriginErrors: true,
      consecutiveLocalOriginFailure: chance.int(1, 5),
      enforcingConsecutiveLocalOriginFailure: all(),
      enforcingLocalOriginSuccessRate: 0,
    }),
  };
}

interface Address {
  readonly address: string;
  readonly port: number;
}

/** `closed`: where nobody listens. */
export function ejectionCase(
  chance: Chance,
  at: number,
  requests: number,
  backends: readonly Address[],
  closed: Address,
): EjectionCase {
  const name = `case-${at}`;
  const used = backends.slice(0, chance.int(2, backends.length));
  // Some fail nearly always and some hardly ever, or nothing would ever come in a row.
  const bad = backends.map(() => chance.pick([0.05, 0.5, 0.95]));
  const split = chance.maybe();
  // In Envoy a connection that came about ends a run of failures of its own side, also where the next reset follows on it at once:
  // docs/interop.md, "Differences that stay".
  const bads = split ? failures.filter((each) => each !== "reset") : failures;
  const outcome = (share: number): Outcome => chance.pick(chance.maybe(share) ? bads : fine);
  return {
    cluster: {
      name,
      clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
      lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
      connectTimeout: duration(5_000),
      outlierDetection: detection(chance, split),
      ...(chance.maybe(0.3) && { typedExtensionProtocolOptions: errorOptions(chance) }),
      loadAssignment: assignment(name, chance.maybe(0.3) ? [...used, closed] : used),
    },
    requests: Array.from({ length: requests }, (_, number) => ({
      method: "GET",
      target: `/${name}/`,
      host: "a",
      headers: [
        [numberField, `${at}.${number}`],
        [outcomesField, bad.map(outcome).join()],
      ],
    })),
  };
}
