import { duration } from "../../../../kit/xds-resources.ts";
import type { RouteFeature } from "../feature.ts";

/** The clusters that both sides have. A route may name one that they have not. */
export const clusters: readonly string[] = ["c0", "c1", "c2", "c3"];

/** One cluster, several by weight (0 included), one that does not exist, or an answer from here. */
export const action: RouteFeature = ({ route }, chance) => {
  route.action = chance.either<NonNullable<typeof route.action>>(
    () => forward({ case: "cluster", value: chance.pick(clusters) }),
    () => forward({ case: "cluster", value: chance.pick(clusters) }),
    () => forward({ case: "cluster", value: chance.maybe(0.2) ? "nowhere" : chance.pick(clusters) }),
    () => {
      const weights = chance.some(chance.int(1, 4), clusters).map((name) => ({ name, weight: chance.int(0, 3) }));
      weights[0]!.weight = chance.int(1, 3);
      return forward({ case: "weightedClusters", value: { clusters: weights } });
    },
    () => ({
      case: "directResponse",
      value: {
        status: chance.pick([200, 204, 299, 404, 418, 503]),
        ...(chance.maybe() && { body: { specifier: { case: "inlineString", value: "from the route" } } }),
      },
    }),
  );
};

type ForwardInit = Extract<NonNullable<Parameters<RouteFeature>[0]["route"]["action"]>, { case: "route" }>;

function forward(clusterSpecifier: NonNullable<ForwardInit["value"]["clusterSpecifier"]>): ForwardInit {
  return { case: "route", value: { clusterSpecifier, timeout: duration(0) } };
}
