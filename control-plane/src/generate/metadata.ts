import type { JsonObject } from "@bufbuild/protobuf";

import type { Service } from "../model/service.ts";

/** Istio's metadata that tells telemetry which services a cluster or an inbound listener stands for. */
export function serviceMetadata(services: readonly Service[]): Record<string, JsonObject> {
  return { istio: { services: services.map(({ host, name, namespace }) => ({ host, name, namespace })) } };
}
