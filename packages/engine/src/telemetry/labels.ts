import type { OutcomeLabels } from "./outcome.ts";
import type { SeriesKey } from "./series.ts";
import type { ServiceInfo } from "../config.ts";

/** Who this process is in the mesh. Read when metrics are collected, so what is learnt late may be filled in late. */
export interface OwnWorkload {
  workload: string;
  namespace: string;
  app: string;
  version: string;
  canonicalService: string;
  canonicalRevision: string;
  cluster: string;
  /** Own SPIFFE id; empty until a certificate is there. */
  principal: string;
}

export type Labels = Readonly<Record<string, string>>;

/** Envoy's names for hosts that no service stands for; the sdk uses them as cluster names. */
const PASS_THROUGH = "PassthroughCluster";
const BLACK_HOLE = "BlackHoleCluster";

const MAX_LABEL = 256;

/** What Istio calls the labels of its service metrics; every label is always there, known or not. */
const NAMES = [
  "reporter",
  "source_workload",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_canonical_service",
  "source_canonical_revision",
  "source_cluster",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_cluster",
  "destination_service",
  "destination_service_name",
  "destination_service_namespace",
  "request_protocol",
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
] as const;

type LabelName = (typeof NAMES)[number];

export function clientLabels(
  own: OwnWorkload,
  key: SeriesKey,
  service: ServiceInfo | undefined,
  outcome: OutcomeLabels,
): Labels {
  const namespace = namespaceOf(key);
  const { cluster } = key;
  const anonymous = cluster === PASS_THROUGH || cluster === BLACK_HOLE ? cluster : "unknown";
  return {
    reporter: "source",
    ...ownLabels("source", own),
    ...peerLabels("destination", key),
    destination_service: known(service?.host ?? key.host),
    destination_service_name: service?.name ?? anonymous,
    destination_service_namespace: known(namespace || (service?.namespace ?? "")),
    ...outcomeLabels(outcome),
    // A client cannot vouch for what the server saw.
    connection_security_policy: "unknown",
  };
}

export function serverLabels(
  own: OwnWorkload,
  key: SeriesKey,
  service: ServiceInfo | undefined,
  outcome: OutcomeLabels,
): Labels {
  return {
    reporter: "destination",
    ...peerLabels("source", key),
    ...ownLabels("destination", own),
    // The Host header is the client's own claim: never a label here.
    destination_service: known(service?.host ?? own.canonicalService),
    destination_service_name: service?.name ?? "InboundPassthroughCluster",
    destination_service_namespace: known(own.namespace),
    ...outcomeLabels(outcome),
    connection_security_policy: outcome.mtls ? "mutual_tls" : "none",
  };
}

/** The series that takes what no longer fits: all labels `other` but the side. */
export function overflowLabels(reporter: "source" | "destination"): Labels {
  const labels: Partial<Record<LabelName, string>> = {};
  for (const name of NAMES) labels[name] = "other";
  labels.reporter = reporter;
  return labels as Labels;
}

/** With the label that tells gRPC methods apart. */
export function withOperation(labels: Labels, operation: string): Labels {
  return { ...labels, request_operation: operation.slice(0, MAX_LABEL) };
}

/** The labels that say who spoke with whom, without those of how a call ended. */
export function endsOnly(labels: Labels): Labels {
  const ends: Record<string, string> = {};
  for (const name of NAMES)
    if (name === "reporter" || name.startsWith("source_") || name.startsWith("destination_"))
      ends[name] = labels[name]!;
  return ends;
}

function ownLabels(end: "source" | "destination", own: OwnWorkload): Labels {
  return {
    [`${end}_workload`]: known(own.workload),
    [`${end}_workload_namespace`]: known(own.namespace),
    [`${end}_principal`]: known(own.principal),
    [`${end}_app`]: known(own.app),
    [`${end}_version`]: known(own.version),
    [`${end}_canonical_service`]: known(own.canonicalService),
    [`${end}_canonical_revision`]: own.canonicalRevision || "latest",
    [`${end}_cluster`]: known(own.cluster),
  };
}

/** Istio's five fields, and behind them the two that our own control plane and SDK add. */
function peerLabels(end: "source" | "destination", key: SeriesKey): Labels {
  const [workload = "", , service = "", revision = "", cluster = "", app = "", version = ""] = key.workload.split(";");
  return {
    [`${end}_workload`]: known(workload),
    [`${end}_workload_namespace`]: known(namespaceOf(key)),
    [`${end}_principal`]: known(key.principal),
    [`${end}_app`]: known(app),
    [`${end}_version`]: known(version),
    [`${end}_canonical_service`]: known(service),
    [`${end}_canonical_revision`]: revision.slice(0, MAX_LABEL) || "latest",
    [`${end}_cluster`]: known(cluster),
  };
}

/** What a certificate proves goes before what metadata says. */
function namespaceOf({ principal, workload }: SeriesKey): string {
  return /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\//.exec(principal)?.[1] ?? workload.split(";")[1] ?? "";
}

function outcomeLabels({ protocol, status, grpcStatus, flag }: OutcomeLabels): Labels {
  return {
    request_protocol: protocol,
    response_code: String(status),
    grpc_response_status: grpcStatus < 0 ? "" : String(grpcStatus),
    response_flags: flag,
  };
}

function known(text: string): string {
  return text === "" ? "unknown" : text.slice(0, MAX_LABEL);
}
