import * as z from "zod";

import { message } from "./message.ts";
import { selector } from "./values.ts";

export type MtlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

/** PeerAuthentication as validated (istio-api §9). */
export interface PeerAuthenticationSpec {
  readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> } | undefined;
  readonly mtls: { readonly mode: MtlsMode };
  /** By port of the *workload*, not of the service. */
  readonly portLevelMtls: Readonly<Record<string, { readonly mode: MtlsMode }>>;
}

const mtls = message({ mode: z.enum(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]).default("UNSET") });

export const peerAuthenticationSchema: z.ZodType<PeerAuthenticationSpec> = message({
  selector: selector.optional(),
  mtls: mtls.default({ mode: "UNSET" }),
  portLevelMtls: z
    .record(z.string().regex(/^[1-9]\d{0,4}$/, "is no port number: write the port of the workload"), mtls)
    .default({}),
}).superRefine((spec, context) => {
  const selects = Object.keys(spec.selector?.matchLabels ?? {}).length > 0;
  if (Object.keys(spec.portLevelMtls).length > 0 && !selects) {
    const message = "needs a selector with labels: ports are those of certain workloads";
    context.addIssue({ code: "custom", path: ["portLevelMtls"], message });
  }
});
