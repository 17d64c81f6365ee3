import * as z from "zod";

import { type InboundPoolSpec, inboundPool } from "./inbound-pool.ts";
import { message } from "./message.ts";
import { type IngressSpec, sidecarIngress } from "./sidecar-ingress.ts";
import { dnsLabel, fail, labels, wildcardHost } from "./values.ts";

/** Sidecar as validated (istio-api §8): what some workloads see of the mesh, and how much they take at once. */
export interface SidecarSpec {
  readonly workloadSelector?: { readonly labels: Readonly<Record<string, string>> } | undefined;
  /** Absent: everything that is exported to the workload. */
  readonly egress?: readonly EgressSpec[] | undefined;
  /** Absent: what the rest of the mesh does. */
  readonly outboundTrafficPolicy?: { readonly mode: "REGISTRY_ONLY" | "ALLOW_ANY" } | undefined;
  /** Of each port of the workloads; absent: no limits. */
  readonly inboundConnectionPool?: InboundPoolSpec | undefined;
  /** Ports with limits of their own; absent: none. What is not named here is served all the same. */
  readonly ingress?: readonly IngressSpec[] | undefined;
}

export interface EgressSpec {
  readonly hosts: readonly ScopeHost[];
  /** Details of a proxy's listeners, as written: there are none here. */
  readonly port?: unknown;
  readonly bind?: unknown;
  readonly captureMode?: unknown;
}

/** `shop/*.example.com`, taken apart. */
export interface ScopeHost {
  /** `~/…` and `~shop/…`: these hosts are not seen, whatever else says. */
  readonly excluded: boolean;
  /** `*`: any; `.`: that of the workload. */
  readonly namespace: string;
  /** `*`: every host. */
  readonly host: string;
}

const scopeHost = z.string().transform((text, context): ScopeHost => {
  const slash = text.indexOf("/");
  const [where, host] = [text.slice(0, Math.max(slash, 0)), text.slice(slash + 1)];
  if (slash === -1)
    return fail(context, `"${text}" has no namespace: write ./${text}, */${text} or <namespace>/${text}`);
  const excluded = where.startsWith("~");
  // `~` alone excludes whatever the namespace.
  const namespace = excluded ? where.slice(1) || "*" : where;
  if (namespace !== "*" && namespace !== "." && !dnsLabel.safeParse(namespace).success)
    return fail(
      context,
      `"${where}" is no namespace: write a name, . for the own one, * for any, or ~ to leave hosts out`,
    );
  if (host === "*") return { excluded, namespace, host };
  const parsed = wildcardHost.safeParse(host);
  if (!parsed.success) return fail(context, `"${host}" is no host: write a full name, *.example.com or *`);
  return { excluded, namespace, host: parsed.data };
});

const asWritten = z.unknown().optional();

const egress = message({
  hosts: z.array(scopeHost).min(1, "needs at least one host, like */* for everything"),
  port: asWritten,
  bind: asWritten,
  captureMode: asWritten,
});

/** The zero name of this enum is REGISTRY_ONLY: an empty object blocks what is not known (istio-api §1.2). */
const outboundTrafficPolicy = message(
  { mode: z.enum(["REGISTRY_ONLY", "ALLOW_ANY"]).default("REGISTRY_ONLY") },
  { egressProxy: "a proxy for what the mesh does not know; declare the hosts with a ServiceEntry" },
);

const says = ["egress", "outboundTrafficPolicy", "inboundConnectionPool", "ingress"] as const;

export const sidecarSchema: z.ZodType<SidecarSpec> = message({
  workloadSelector: message({ labels: labels.default({}) })
    .refine((found) => Object.keys(found.labels).length > 0, "selects every workload: write labels, or remove it")
    .optional(),
  egress: z.array(egress).min(1, "is empty: remove it, or write hosts").optional(),
  outboundTrafficPolicy: outboundTrafficPolicy.optional(),
  inboundConnectionPool: inboundPool.optional(),
  ingress: sidecarIngress.optional(),
}).refine(
  (spec) => says.some((field) => spec[field] !== undefined),
  "says nothing: write egress, outboundTrafficPolicy, inboundConnectionPool or ingress",
);
