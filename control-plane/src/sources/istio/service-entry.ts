import * as z from "zod";

import { message } from "./message.ts";
import { dnsLabel, exportTo, hostName, labels, portNumber } from "./values.ts";
import { type WorkloadEntrySpec, workloadEntrySchema } from "./workload-entry.ts";

/** ServiceEntry as validated (istio-api §4). */
export interface ServiceEntrySpec {
  readonly hosts: readonly string[];
  readonly ports: readonly ServicePortSpec[];
  readonly location: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution: "STATIC";
  /** Either these or a selector. */
  readonly endpoints: readonly WorkloadEntrySpec[];
  readonly workloadSelector?: { readonly labels: Readonly<Record<string, string>> } | undefined;
  readonly exportTo?: readonly string[] | undefined;
  readonly subjectAltNames: readonly string[];
}

export interface ServicePortSpec {
  readonly number: number;
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly targetPort?: number | undefined;
}

export type PortProtocol = "HTTP" | "HTTP2" | "GRPC";

const opaque = ["HTTPS", "TLS", "TCP", "MONGO", "GRPC-WEB"];

const protocol = z.string().transform((text, context): PortProtocol => {
  const name = text.toUpperCase();
  if (name === "HTTP" || name === "HTTP2" || name === "GRPC") return name;
  context.addIssue(
    opaque.includes(name)
      ? `not supported by this release: ${name} ports; declare HTTP, HTTP2 or GRPC, the mesh adds TLS itself`
      : `"${text}" is no protocol: write HTTP, HTTP2 or GRPC`,
  );
  return z.NEVER;
});

/** Without `protocol` the prefix of the port's name says it, as in Kubernetes; without either it is HTTP (istio-api §1.5). */
const port = message({
  number: portNumber,
  name: dnsLabel,
  protocol: protocol.optional(),
  targetPort: portNumber.optional(),
}).transform((found): ServicePortSpec => {
  const prefix = found.name.split("-")[0];
  const named = prefix === "grpc" ? "GRPC" : prefix === "http2" ? "HTTP2" : "HTTP";
  return { ...found, protocol: found.protocol ?? named };
});

const ports = z
  .array(port)
  .min(1, "needs at least one port")
  .superRefine((list, context) => {
    for (const [index, { number, name }] of list.entries()) {
      const earlier = list.slice(0, index);
      for (const [field, twice] of [
        ["number", earlier.some((other) => other.number === number)],
        ["name", earlier.some((other) => other.name === name)],
      ] as const) {
        if (twice) {
          const message = `another port of this object has the same ${field}: change or remove one`;
          context.addIssue({ code: "custom", path: [index, field], message });
        }
      }
    }
  });

const resolutions: Readonly<Record<string, string>> = {
  NONE: "resolution NONE, which is also the default; write STATIC, with endpoints or a workloadSelector",
  DNS: "resolution DNS; write STATIC with the addresses as endpoints",
  DNS_ROUND_ROBIN: "resolution DNS_ROUND_ROBIN; write STATIC with the addresses as endpoints",
  DYNAMIC_DNS: "resolution DYNAMIC_DNS; write STATIC with the addresses as endpoints",
};

const resolution = z
  .string()
  .default("NONE")
  .transform((name, context): "STATIC" => {
    if (name === "STATIC") return name;
    const remedy = Object.hasOwn(resolutions, name) ? resolutions[name] : undefined;
    context.addIssue(
      remedy === undefined ? `"${name}" is no resolution: write STATIC` : `not supported by this release: ${remedy}`,
    );
    return z.NEVER;
  });

export const serviceEntrySchema: z.ZodType<ServiceEntrySpec> = message(
  {
    hosts: z.array(hostName).min(1, "needs at least one host").max(256),
    ports,
    location: z.enum(["MESH_EXTERNAL", "MESH_INTERNAL"]).default("MESH_EXTERNAL"),
    resolution,
    endpoints: z.array(workloadEntrySchema).max(4096).default([]),
    workloadSelector: message({ labels: labels.default({}) })
      .refine((found) => Object.keys(found.labels).length > 0, "selects every workload of the namespace: write labels")
      .optional(),
    exportTo: exportTo.optional(),
    subjectAltNames: z.array(z.string().min(1, "an empty name is not allowed: remove it")).default([]),
  },
  { addresses: "virtual addresses; services are called by name here, remove it" },
).refine(
  ({ endpoints, workloadSelector }) => endpoints.length === 0 || workloadSelector === undefined,
  "has both endpoints and a workloadSelector: keep one of them",
);
