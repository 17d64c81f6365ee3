import * as z from "zod";

import { connectionPool, type ConnectionPoolSpec } from "./connection-pool.ts";
import { type LoadBalancerSpec, loadBalancer } from "./load-balancer.ts";
import { message } from "./message.ts";
import { type OutlierDetectionSpec, outlierDetection } from "./outlier-detection.ts";
import {
  count,
  cut,
  dnsLabel,
  dnsName,
  exportTo,
  fail,
  hostName,
  labels,
  milliseconds,
  portNumber,
  selector,
  wildcardHost,
} from "./values.ts";

/** DestinationRule as validated (istio-api §3). */
export interface DestinationRuleSpec {
  readonly host: string;
  readonly exportTo?: readonly string[] | undefined;
  /** Of the calling workloads that it is for; absent: all. */
  readonly workloadSelector?: { readonly matchLabels: Readonly<Record<string, string>> } | undefined;
  readonly trafficPolicy?: TrafficPolicySpec | undefined;
  readonly subsets: readonly SubsetSpec[];
}

export interface SubsetSpec {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly trafficPolicy?: TrafficPolicySpec | undefined;
}

export interface TrafficPolicySpec {
  readonly loadBalancer?: LoadBalancerSpec | undefined;
  readonly connectionPool?: ConnectionPoolSpec | undefined;
  readonly outlierDetection?: OutlierDetectionSpec | undefined;
  readonly tls?: TlsSpec | undefined;
  readonly retryBudget?: RetryBudgetSpec | undefined;
  readonly portLevelSettings: readonly PortPolicySpec[];
}

/** What holds for one port in place of all of the above that it has a field for (istio-api §3.1). */
export interface PortPolicySpec extends Pick<
  TrafficPolicySpec,
  "loadBalancer" | "connectionPool" | "outlierDetection" | "tls"
> {
  readonly port: { readonly number: number };
}

/** The files are the caller's own, in PEM; `credentialName` is a folder of them. */
export interface TlsSpec {
  readonly mode: "DISABLE" | "SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL";
  readonly clientCertificate?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly caCertificates?: string | undefined;
  readonly caCrl?: string | undefined;
  /** A Secret that is mounted on the caller's machine; in place of the files but `caCrl`. */
  readonly credentialName?: string | undefined;
  readonly insecureSkipVerify: boolean;
  readonly sni?: string | undefined;
  readonly subjectAltNames: readonly string[];
}

export interface RetryBudgetSpec {
  /** Share of the active requests. */
  readonly percent: number;
  readonly minRetryConcurrency: number;
}

const file = z.string().regex(/^\//, "is no file: write its absolute path on the caller's machine").optional();

const credential = z.string().transform((text, context) => {
  if (text.startsWith("configmap://"))
    return fail(
      context,
      "not supported by this release: ConfigMaps; mount it on the caller's machine, and write caCertificates",
    );
  return dnsName.safeParse(text).success
    ? text
    : fail(context, `"${cut(text)}" is no name of a Secret: lower-case letters, digits, hyphens and dots, at most 253`);
});

const tls = message({
  // The zero name of this enum is DISABLE: `tls: {}` would silently be plaintext (istio-api §1.2), so it must be written.
  mode: z.enum(["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"], {
    error: (issue) =>
      issue.input === undefined ? "is missing, which would mean DISABLE, plaintext: write the mode" : undefined,
  }),
  clientCertificate: file,
  privateKey: file,
  caCertificates: file,
  caCrl: file,
  credentialName: credential.optional(),
  insecureSkipVerify: z.boolean().default(false),
  sni: hostName.optional(),
  subjectAltNames: z.array(z.string().min(1, "an empty name is not allowed: remove it")).default([]),
}).superRefine((spec, context) => {
  for (const [field, message] of tlsContradictions(spec)) context.addIssue({ code: "custom", path: [field], message });
});

/** What the mode does not take, or needs (istio-api §3.6). */
function* tlsContradictions(spec: TlsSpec): Iterable<readonly [string, string]> {
  const { mode, insecureSkipVerify, subjectAltNames, credentialName } = spec;
  const own = ["clientCertificate", "privateKey"] as const;
  const trust = ["caCertificates", "caCrl"] as const;
  const secret = ["credentialName"] as const;
  const names = ["sni", "subjectAltNames"] as const;
  const given = (field: (typeof own | typeof trust | typeof names | typeof secret)[number]): boolean =>
    field === "subjectAltNames" ? subjectAltNames.length > 0 : spec[field] !== undefined;
  const refused = {
    DISABLE: [...own, ...trust, ...secret, ...names],
    ISTIO_MUTUAL: [...own, ...trust, ...secret],
    SIMPLE: own,
    MUTUAL: [],
  }[mode];
  for (const field of refused) if (given(field)) yield [field, `${mode} takes no ${field}: remove it`];
  if (credentialName !== undefined)
    for (const field of [...own, "caCertificates"] as const)
      if (given(field) && !(refused as readonly string[]).includes(field))
        yield [field, "is in the Secret that credentialName names: keep one of the two"];
  if (mode === "MUTUAL" && credentialName === undefined)
    for (const field of own)
      if (!given(field)) yield [field, "is missing: MUTUAL shows a certificate, from files or a credentialName"];
  if (!insecureSkipVerify) return;
  if (mode === "DISABLE" || mode === "ISTIO_MUTUAL")
    yield ["insecureSkipVerify", `${mode} does not take it: remove it`];
  // Of a Secret the certificate and its key are used all the same.
  for (const field of [...trust, ...(mode === "SIMPLE" ? secret : []), "subjectAltNames"] as const)
    if (given(field)) yield [field, "is not looked at under insecureSkipVerify: keep one of the two"];
}

const retryBudget = message({
  percent: z.number().min(0, "must be between 0 and 100").max(100, "must be between 0 and 100").default(20),
  minRetryConcurrency: count.optional().transform((n) => n ?? 3),
  // Istio's default, in which the budget looks at the requests of this moment; Envoy knows no other.
  budgetInterval: z
    .string()
    .refine(
      (text) => milliseconds(text) === 0,
      "not supported by this release: a budget over a time; write 0s, for the requests of this moment, or remove it",
    )
    .optional(),
});

const portPolicy: z.ZodType<PortPolicySpec> = message(
  {
    port: message({ number: portNumber }),
    loadBalancer: loadBalancer.optional(),
    connectionPool: connectionPool.optional(),
    outlierDetection: outlierDetection.optional(),
    tls: tls.optional(),
  },
  { retryBudget: "a budget by port; write it for the whole host" },
);

const trafficPolicy: z.ZodType<TrafficPolicySpec> = message(
  {
    loadBalancer: loadBalancer.optional(),
    connectionPool: connectionPool.optional(),
    outlierDetection: outlierDetection.optional(),
    tls: tls.optional(),
    retryBudget: retryBudget.optional(),
    portLevelSettings: z
      .array(portPolicy)
      .default([])
      .superRefine((list, context) => {
        const seen = new Set<number>();
        for (const [index, { port }] of list.entries()) {
          if (seen.has(port.number)) {
            const message = `port ${port.number} has settings already: put them together`;
            context.addIssue({ code: "custom", path: [index, "port"], message });
          }
          seen.add(port.number);
        }
      }),
  },
  {
    tunnel: "tunnels; remove it",
    proxyProtocol: "the PROXY protocol; remove it",
  },
).refine(
  ({ portLevelSettings, ...blocks }) =>
    portLevelSettings.length > 0 || Object.values(blocks).some((block) => block !== undefined),
  "is empty: write a setting, or remove it",
);

const subset = message({
  name: dnsLabel,
  labels: labels.default({}),
  trafficPolicy: trafficPolicy.optional(),
});

export const destinationRuleSchema: z.ZodType<DestinationRuleSpec> = message({
  host: wildcardHost,
  exportTo: exportTo.optional(),
  workloadSelector: selector
    .refine((found) => Object.keys(found.matchLabels).length > 0, "selects every workload: write labels, or remove it")
    .optional(),
  trafficPolicy: trafficPolicy.optional(),
  subsets: z
    .array(subset)
    .default([])
    .superRefine((subsets, context) => {
      const seen = new Set<string>();
      for (const [index, { name }] of subsets.entries()) {
        if (seen.has(name)) {
          const message = `the subset ${name} is defined twice: rename or remove one`;
          context.addIssue({ code: "custom", path: [index, "name"], message });
        }
        seen.add(name);
      }
    }),
}).superRefine(({ workloadSelector, exportTo: to }, context) => {
  if (workloadSelector === undefined || to === undefined || (to.length === 1 && to[0] === ".")) return;
  const message = "a rule with a workloadSelector is for workloads of its own namespace: remove exportTo, or write .";
  context.addIssue({ code: "custom", path: ["exportTo"], message });
});
