import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClusterSchema, Cluster_CommonLbConfigSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";

import type { TrafficPolicy } from "../model/destination.ts";
import type { NodeView } from "../snapshot.ts";

type CommonLb = Exclude<MessageInitShape<typeof Cluster_CommonLbConfigSchema>, { $typeName: string }>;

/**
 * How a caller looks at localities and at panic. gRPC's libraries read none of it: they go by priorities and weights alone, so of
 * `zoneAwareLbSetting` its regions are left for them.
 */
export function commonLb(
  { outlier, locality }: Partial<TrafficPolicy>,
  { kind, proxy }: { readonly kind: NodeView["kind"]; readonly proxy: NodeView["proxy"] | undefined },
): Pick<MessageInitShape<typeof ClusterSchema>, "commonLbConfig"> {
  if (kind === "grpc") return {};
  const commonLbConfig: CommonLb = {
    ...(outlier === undefined ? {} : { healthyPanicThreshold: { value: outlier.minHealthPercent } }),
    ...localities(locality, proxy?.selfDiscovery === true),
  };
  return Object.keys(commonLbConfig).length === 0 ? {} : { commonLbConfig };
}

function localities(
  locality: TrafficPolicy["locality"],
  selfDiscovery: boolean,
): Pick<CommonLb, "localityConfigSpecifier"> {
  // An Envoy looks at the weights of localities only where it is told to.
  if ((locality?.distribute.length ?? 0) > 0)
    return { localityConfigSpecifier: { case: "localityWeightedLbConfig", value: {} } };
  if (locality?.zoneAware !== undefined) {
    const minClusterSize = BigInt(locality.zoneAware.minClusterSize);
    return { localityConfigSpecifier: { case: "zoneAwareLbConfig", value: { minClusterSize } } };
  }
  // One that knows its own cluster would look at zones in every cluster that does not say otherwise.
  if (!selfDiscovery) return {};
  return { localityConfigSpecifier: { case: "zoneAwareLbConfig", value: { routingEnabled: { value: 0 } } } };
}
