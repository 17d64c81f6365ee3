import { isIP } from "node:net";

import * as z from "zod";

import { message } from "./message.ts";
import { dnsLabel, isUnixSocket, labels, portNumber, serviceExportTo, wildcardHost } from "./values.ts";
import { type WorkloadEntrySpec, workloadEntrySchema } from "./workload-entry.ts";

/** ServiceEntry as validated (istio-api §4). */
export interface ServiceEntrySpec {
  readonly hosts: readonly string[];
  readonly ports: readonly ServicePortSpec[];
  readonly location: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution: Resolution;
  /** As written: services are called by name here. */
  readonly addresses?: unknown;
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

/**
 * HTTPS: callers mean TLS to a server outside of the mesh, by the roots of their machine. TLS: the applications speak it themselves. TCP: what
 * they speak is their own business; so it is with MONGO, MYSQL and REDIS, which Istio knows filters for.
 */
export type PortProtocol = "HTTP" | "HTTPS" | "HTTP2" | "GRPC" | "TLS" | "TCP";

export type Resolution = "NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS";

/** By name, and by the prefix of a port's name. */
const protocols: Readonly<Record<string, PortProtocol>> = {
  HTTP: "HTTP",
  HTTPS: "HTTPS",
  HTTP2: "HTTP2",
  GRPC: "GRPC",
  TLS: "TLS",
  TCP: "TCP",
  MONGO: "TCP",
  MYSQL: "TCP",
  REDIS: "TCP",
};

/** Istio's others, and what to write for them. */
const refused: Readonly<Record<string, string>> = {
  UDP: "calls and connections are made over TCP; leave the port out",
  "GRPC-WEB": "declare HTTP, which it is to the mesh",
};

const protocol = z.string().transform((text, context): PortProtocol => {
  const name = text.toUpperCase();
  const known = Object.hasOwn(protocols, name) ? protocols[name] : undefined;
  if (known !== undefined) return known;
  context.addIssue(
    Object.hasOwn(refused, name)
      ? `not supported by this release: ${name} ports; ${refused[name]}`
      : `"${text}" is no protocol: write ${Object.keys(protocols).join(", ")}`,
  );
  return z.NEVER;
});

/** Without `protocol` the prefix of the port's name says it, as in Kubernetes; without either it is HTTP (istio-api §1.5). */
const port = message({
  number: portNumber,
  name: dnsLabel,
  protocol: protocol.optional(),
  targetPort: portNumber.optional(),
}).transform((found, context): ServicePortSpec => {
  if (found.protocol !== undefined) return { ...found, protocol: found.protocol };
  const name = found.name.toUpperCase();
  for (const [other, instead] of Object.entries(refused))
    if (name === other || name.startsWith(`${other}-`)) {
      const message = `not supported by this release: ${other} ports, and the name says that it is one; ${instead}`;
      context.addIssue({ code: "custom", path: ["name"], message });
    }
  const [named = ""] = name.split("-");
  return { ...found, protocol: (Object.hasOwn(protocols, named) ? protocols[named] : undefined) ?? "HTTP" };
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

const fields = message({
  hosts: z.array(wildcardHost).min(1, "needs at least one host").max(256),
  addresses: z.unknown().optional(),
  ports,
  location: z.enum(["MESH_EXTERNAL", "MESH_INTERNAL"]).default("MESH_EXTERNAL"),
  resolution: z.enum(["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]).default("NONE"),
  endpoints: z.array(workloadEntrySchema).max(4096).default([]),
  workloadSelector: message({ labels: labels.default({}) })
    .refine((found) => Object.keys(found.labels).length > 0, "selects every workload of the namespace: write labels")
    .optional(),
  exportTo: serviceExportTo.optional(),
  subjectAltNames: z.array(z.string().min(1, "an empty name is not allowed: remove it")).default([]),
});

export const serviceEntrySchema: z.ZodType<ServiceEntrySpec> = fields.superRefine((spec, context) => {
  for (const [path, message] of contradictions(spec)) context.addIssue({ code: "custom", path: [...path], message });
});

/** What cannot stand together (istio-api §4). */
function* contradictions(spec: ServiceEntrySpec): Iterable<readonly [readonly (string | number)[], string]> {
  const { endpoints, workloadSelector, resolution, hosts, location } = spec;
  if (endpoints.length > 0 && workloadSelector !== undefined)
    yield [[], "has both endpoints and a workloadSelector: keep one of them"];
  const has = endpoints.length > 0 ? "endpoints" : workloadSelector !== undefined ? "workloadSelector" : undefined;
  if ((resolution === "NONE" || resolution === "DYNAMIC_DNS") && has !== undefined)
    yield [
      ["resolution"],
      `is ${resolution}${resolution === "NONE" ? ", which is also the default" : ""}, and goes where the host's own name leads: write STATIC or DNS, or remove ${has}`,
    ];
  if (resolution === "DNS_ROUND_ROBIN" && endpoints.length > 1)
    yield [["endpoints"], "DNS_ROUND_ROBIN is about one name: write DNS, or keep one endpoint"];
  for (const [index, host] of hosts.entries()) {
    const wildcard = host.startsWith("*");
    if (wildcard && (resolution === "DNS" || resolution === "DNS_ROUND_ROBIN") && has === undefined)
      yield [["hosts", index], `"${host}" cannot be looked up: name one host, write DYNAMIC_DNS, or give endpoints`];
    if (!wildcard && resolution === "DYNAMIC_DNS")
      yield [["hosts", index], `DYNAMIC_DNS is for wildcards like *.example.com: write DNS for ${host}`];
  }
  for (const [index, { address }] of endpoints.entries())
    if (address === "" && resolution !== "STATIC")
      yield [["endpoints", index], `has no address, and ${resolution} looks names up: write one, or STATIC`];
    else if (resolution === "STATIC" && isIP(address) === 0 && address !== "" && !isUnixSocket(address))
      yield [["endpoints", index, "address"], `"${address}" is no IP address: STATIC takes addresses; write DNS`];
    else if (resolution !== "STATIC" && isUnixSocket(address))
      yield [["endpoints", index, "address"], `"${address}" is a socket of the caller's machine: write STATIC`];
  for (const [index, { protocol }] of spec.ports.entries())
    if ((protocol === "HTTPS" || protocol === "TLS") && location === "MESH_INTERNAL")
      yield [
        ["ports", index, "protocol"],
        protocol === "HTTPS"
          ? "TLS inside the mesh is the mesh's own: declare HTTP, HTTP2 or GRPC"
          : "TLS inside the mesh is the mesh's own: declare TCP, and it goes around whatever the application speaks",
      ];
}
