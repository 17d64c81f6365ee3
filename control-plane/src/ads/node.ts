import { status } from "@grpc/grpc-js";
import type { Node } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { Identity } from "../auth/identity.ts";
import { networkLabel } from "../model/networks.ts";
import type { NodeView } from "../snapshot.ts";
import { type AdsLimits, StreamFault } from "./limits.ts";
import { proxySettings } from "./proxy.ts";

type Metadata = Readonly<Record<string, unknown>>;

/**
 * What a node says of itself, after what it says of its namespace and account was held against the identity it proved
 * (S33). The rest stays its own word: it can only change what the node itself is told.
 */
export function nodeView(node: Node, identity: Identity, limits: AdsLimits): NodeView {
  if (node.id === "") throw invalid("node.id is empty");
  if (node.id.length > limits.maxNameLength) throw invalid(`node.id is longer than ${limits.maxNameLength} characters`);
  const metadata: Metadata = node.metadata ?? {};
  checkSize(metadata, limits);
  const id = parseNodeId(node.id);
  const namespaces = [text(metadata, "NAMESPACE"), id?.namespace, id?.domainNamespace];
  for (const namespace of namespaces) {
    if (namespace !== undefined && namespace !== identity.namespace)
      throw denied(`the node says it is in namespace ${namespace}, its identity is of ${identity.namespace}`);
  }
  const account = text(metadata, "SERVICE_ACCOUNT");
  if (account !== undefined && account !== identity.serviceAccount)
    throw denied(`the node says its service account is ${account}, its identity is ${identity.serviceAccount}`);
  const kind = kindOf(node, metadata);
  const ownLabels = labels(metadata["LABELS"]);
  const network = text(metadata, "NETWORK") ?? ownLabels[networkLabel];
  return {
    id: node.id,
    namespace: identity.namespace,
    serviceAccount: identity.serviceAccount,
    workload: text(metadata, "WORKLOAD_NAME") ?? id?.workload ?? identity.serviceAccount,
    labels: ownLabels,
    addresses: addresses(id?.address, text(metadata, "INSTANCE_IPS")),
    kind,
    cluster: text(metadata, "CLUSTER_ID") ?? "",
    locality: locality(node, limits),
    ...(network === undefined ? {} : { network }),
    ...(kind === "envoy" ? { proxy: proxySettings((key) => text(metadata, key)) } : {}),
  };
}

/**
 * I10: `sidecar~<ip>~<workload>.<namespace>~<namespace>.svc.<domain>`. An id without `~` is that of a plain gRPC client and
 * claims nothing; one with another number of parts is a mistake that would otherwise show much later.
 */
function parseNodeId(
  id: string,
): { address: string; workload: string; namespace: string; domainNamespace: string } | undefined {
  if (!id.includes("~")) return undefined;
  const [, address, name = "", domain = "", ...more] = id.split("~");
  const dot = name.lastIndexOf(".");
  const domainNamespace = /^([^.]+)\.svc\./.exec(domain)?.[1];
  if (address === undefined || address === "" || dot < 1 || domainNamespace === undefined || more.length > 0)
    throw invalid("node.id is not sidecar~<ip>~<workload>.<namespace>~<namespace>.svc.<domain>");
  return { address, workload: name.slice(0, dot), namespace: name.slice(dot + 1), domainNamespace };
}

/** Which class of client takes which shapes (S38). */
function kindOf(node: Node, metadata: Metadata): NodeView["kind"] {
  if (text(metadata, "TRAMA_VERSION") !== undefined) return "trama";
  if (text(metadata, "GENERATOR") === "grpc" || /grpc/i.test(node.userAgentName)) return "grpc";
  return "envoy";
}

function text(metadata: Metadata, key: string): string | undefined {
  const value = metadata[key];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw invalid(`node.metadata.${key} is not text`);
  return value;
}

function labels(value: unknown): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw invalid("node.metadata.LABELS is not a map of text");
  // No prototype: a label may be called `constructor`.
  const found: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, label] of Object.entries(value)) {
    if (typeof label !== "string") throw invalid(`node.metadata.LABELS.${key} is not text`);
    found[key] = label;
  }
  return found;
}

function locality({ locality: given }: Node, { maxNameLength }: AdsLimits): NodeView["locality"] {
  const { region = "", zone = "", subZone = "" } = given ?? {};
  if (Math.max(region.length, zone.length, subZone.length) > maxNameLength)
    throw invalid(`node.locality is longer than ${maxNameLength} characters`);
  return { region, zone, subZone };
}

function addresses(own: string | undefined, instanceIps: string | undefined): string[] {
  const all = [own, ...(instanceIps ?? "").split(",")];
  return [...new Set(all.flatMap((each) => (each === undefined || each.trim() === "" ? [] : [each.trim()])))];
}

/** S30. Walks without recursion: the depth is what is being checked. */
function checkSize(metadata: Metadata, { maxMetadataDepth, maxMetadataLength }: AdsLimits): void {
  let length = 0;
  const open: { value: unknown; depth: number }[] = [{ value: metadata, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, depth } = next;
    // Eight for what is not text: a number, or an entry's own weight.
    length += typeof value === "string" ? value.length : 8;
    if (typeof value === "object" && value !== null) {
      for (const [key, part] of Object.entries(value)) {
        length += key.length;
        open.push({ value: part, depth: depth + 1 });
      }
    }
    if (length > maxMetadataLength) throw tooMuch(`node.metadata is larger than ${maxMetadataLength} characters`);
    if (depth > maxMetadataDepth) throw tooMuch(`node.metadata is nested deeper than ${maxMetadataDepth}`);
  }
}

const invalid = (message: string): StreamFault => new StreamFault(status.INVALID_ARGUMENT, message);
const denied = (message: string): StreamFault => new StreamFault(status.PERMISSION_DENIED, message);
const tooMuch = (message: string): StreamFault => new StreamFault(status.RESOURCE_EXHAUSTED, message);
