import type { ZoneAwareConfig } from "@trama/engine";

import { ResourceError, within } from "./error.ts";
import { onlyFields } from "./fields.ts";

/** The cluster of the caller itself, by the name that Istio gives it (Envoy `cluster_manager.local_cluster_name`). */
export const localClusterName = "local_cluster";

/** What of it stands in a cluster; where the caller is, nobody needs to say. */
export type DecodedZoneAware = Omit<ZoneAwareConfig, "local">;

/** `zone_aware_lb_config` of `common_lb_config` and of the newer policies, which have their own message for the same. */
interface ZoneAwareMessage {
  readonly routingEnabled?: { readonly value: number } | undefined;
  readonly minClusterSize?: bigint | undefined;
  readonly failTrafficOnPanic?: boolean;
}

/** The one of two ways to look at localities that is written down. */
export type LocalitySpecifier =
  | { readonly case: "zoneAwareLbConfig"; readonly value: ZoneAwareMessage }
  | { readonly case: "localityWeightedLbConfig"; readonly value: unknown }
  | { readonly case: undefined };

/**
 * Absent is off here, and localities have their weights; with 0 % zones do not count, and weights of localities neither. An Envoy that knows its local cluster would then have it on, at its defaults: a control plane that wants that from
 * us says so.
 */
export function zoneAware(specifier: LocalitySpecifier | undefined): DecodedZoneAware | undefined {
  if (specifier?.case !== "zoneAwareLbConfig") return undefined;
  return within("zone_aware_lb_config", () => {
    const { value } = specifier;
    onlyFields(value, ["routingEnabled", "minClusterSize", "failTrafficOnPanic"]);
    const percent = value.routingEnabled?.value ?? 100;
    if (!(percent >= 0 && percent <= 100))
      throw new ResourceError(`routing_enabled ${percent} is not between 0 and 100`);
    return {
      // As in Envoy, whole percents.
      routingPercent: Math.round(percent),
      minClusterSize: Number(value.minClusterSize ?? 6n),
      failOnPanic: value.failTrafficOnPanic ?? false,
    };
  });
}
