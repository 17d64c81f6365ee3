import type { OwnWorkload } from "@trama/engine";

import type { Settings } from "./settings.ts";

/** Who this process is, for the labels of metrics; Istio's rules for the canonical service and revision. */
export function ownWorkload({
  workload,
  namespace,
  labels,
  clusterId,
}: Pick<Settings, "workload" | "namespace" | "labels" | "clusterId">): OwnWorkload {
  const app = labels["app"] ?? "";
  const version = labels["version"] ?? "";
  return {
    workload,
    namespace,
    app,
    version,
    canonicalService:
      labels["service.istio.io/canonical-name"] ?? labels["app.kubernetes.io/name"] ?? (app || workload),
    canonicalRevision:
      labels["service.istio.io/canonical-revision"] ?? labels["app.kubernetes.io/version"] ?? (version || "latest"),
    cluster: clusterId,
    principal: "",
  };
}

/** What we tell peers of ourselves (`x-trama-peer`, docs/wire.md). */
export function peerText(own: OwnWorkload): string {
  return [own.workload, own.namespace, own.canonicalService, own.canonicalRevision, own.cluster, own.app, own.version]
    .map((part) => part.replace(/[^\x21-\x3a\x3c-\x7e]/g, "_").slice(0, 63))
    .join(";");
}
