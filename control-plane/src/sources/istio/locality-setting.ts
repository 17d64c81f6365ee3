import * as z from "zod";

import { message } from "./message.ts";
import { whole } from "./values.ts";

/** `localityLbSetting` (istio-api §3.3). */
export interface LocalitySettingSpec {
  readonly enabled: boolean;
  readonly distribute: readonly { readonly from: string; readonly to: Readonly<Record<string, number>> }[];
  readonly failover: readonly { readonly from: string; readonly to: string }[];
  readonly failoverPriority: readonly string[];
}

/** `zoneAwareLbSetting` (istio-api §3.2). */
export interface ZoneAwareSettingSpec {
  readonly enabled: boolean;
  readonly failover: readonly { readonly from: string; readonly to: string }[];
  readonly failoverPriority: readonly string[];
  readonly minClusterSize: number;
}

/** `region/zone/subzone`; `*` stands for any, and nothing may follow it; what is left out is any as well. */
const pattern = z
  .string()
  .regex(/^([^/*\s]+|\*)(\/([^/*\s]+|\*)){0,2}$/, "is no locality: write region, region/zone or region/zone/subzone")
  .refine((text) => !/\*\//.test(text), "a wildcard can only stand at the end");

const region = z.string().regex(/^[^/*\s]+$/, "must be a region alone, without / and *: failover is between regions");

/** From Istio's own label of a zone to `key=value`. */
const label = z.string().regex(/^[^=\s]+(=[^=\s]*)?$/, "is no label: write key or key=value");

const topology = new Set(["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"]);

export const localityLbSetting: z.ZodType<LocalitySettingSpec> = message({
  enabled: z.boolean().default(true),
  distribute: z
    .array(
      message({
        from: pattern,
        to: z.record(pattern, whole(1, 100, "a weight")).superRefine((to, context) => {
          const sum = Object.values(to).reduce((total, weight) => total + weight, 0);
          if (sum === 100) return;
          context.addIssue({ code: "custom", message: `the weights add up to ${sum}: they must add up to 100` });
        }),
      }),
    )
    .default([]),
  failover: z.array(message({ from: region, to: region })).default([]),
  failoverPriority: z.array(label).default([]),
}).superRefine((spec, context) => {
  const issue = (path: string, text: string): void => context.addIssue({ code: "custom", path: [path], message: text });
  if (spec.distribute.length > 0 && spec.failover.length + spec.failoverPriority.length > 0)
    issue("distribute", "excludes failover and failoverPriority: keep one of them");
  checkFailover(spec, context);
  const named = namedPlace(spec);
  if (spec.failover.length > 0 && named !== undefined)
    issue("failoverPriority", `${named} says what failover says by region: keep one of them`);
});

export const zoneAwareLbSetting: z.ZodType<ZoneAwareSettingSpec> = message({
  // What is meant by silence differs from setting to setting.
  enabled: z.boolean({ error: (issue) => (issue.input === undefined ? "is missing: write true or false" : undefined) }),
  failover: z.array(message({ from: region, to: region })).default([]),
  failoverPriority: z.array(label).default([]),
  minClusterSize: whole(0, 4_294_967_295, "a number of endpoints").default(6),
}).superRefine((spec, context) => {
  checkFailover(spec, context);
  const named = namedPlace(spec);
  if (named === undefined) return;
  const text = `${named} is taken care of: regions and zones always count here; remove it`;
  context.addIssue({ code: "custom", path: ["failoverPriority"], message: text });
});

function checkFailover({ failover }: Pick<LocalitySettingSpec, "failover">, context: z.RefinementCtx): void {
  for (const [index, { from, to }] of failover.entries())
    if (from === to)
      context.addIssue({ code: "custom", path: ["failover", index, "to"], message: "is where it fails over from" });
}

/** The first of the labels that says where something is. */
function namedPlace({ failoverPriority }: Pick<LocalitySettingSpec, "failoverPriority">): string | undefined {
  return failoverPriority.find((each) => topology.has(each.split("=")[0]!));
}
