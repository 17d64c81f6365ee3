import { hostname } from "node:os";
import { z } from "zod";

import type { ListedNode } from "./ads/plaintext.ts";
import { ControlPlaneError } from "./errors.ts";
import { defaultMesh } from "./model/mesh.ts";

/** What `startControlPlane` takes. Everything has a default but the folder to read and the folder to keep. */
export interface ControlPlaneOptions {
  /** Folders of YAML to read and watch; at least one. */
  readonly configDirs: readonly string[];
  /** Where keys and certificates are kept between starts; made with mode 0700 if it does not exist. */
  readonly dataDir: string;
  /**
   * Folder with `ca-cert.pem`, `ca-key.pem`, `root-cert.pem` and, for an intermediate, `cert-chain.pem` (the names of Istio's
   * `cacerts`). Default: `ca` below `dataDir`, where a self-signed root of ten years is made at the first start.
   */
  readonly caDir?: string | undefined;
  /** Address of the ADS and CA port. Default `127.0.0.1`. */
  readonly host?: string | undefined;
  /** ADS and CA port, TLS only. 0 takes any free one. Default 15012, as istiod's. */
  readonly port?: number | undefined;
  /**
   * Port on 127.0.0.1 for ADS in plaintext, for gRPC libraries that cannot do TLS to the control plane; it has no certificates
   * to give. 0 takes any free one. Default: none. Only together with `plaintextNodes`.
   */
  readonly plaintextPort?: number | undefined;
  /** Who is answered there, by exact node id, and as whom: on plaintext nobody can prove who he is (S32). */
  readonly plaintextNodes?: readonly ListedNode[] | undefined;
  /** Address of the status server. It has no authentication: keep it on loopback, which is the default (`127.0.0.1`). */
  readonly httpHost?: string | undefined;
  /** Port of the status server. 0 takes any free one. Default 15014, as istiod's. */
  readonly httpPort?: number | undefined;
  /** Default `cluster.local`. */
  readonly trustDomain?: string | undefined;
  /** Namespace whose policies hold for all, as Istio's `rootNamespace`. Default `istio-system`. */
  readonly rootNamespace?: string | undefined;
  /** Domain that completes short host names: `<name>.<namespace>.svc.<domain>`. Default `cluster.local`. */
  readonly domain?: string | undefined;
  /** Name of the cluster that endpoints are said to be in. Default `Kubernetes`, as Istio's. */
  readonly cluster?: string | undefined;
  /**
   * Folder on the callers' machines in which the Secrets that a DestinationRule's `credentialName` names are mounted, each as a folder of
   * its own: keys never pass through the control plane. Absolute; default `/etc/trama/credentials`.
   */
  readonly credentialsDir?: string | undefined;
  /**
   * File with Istio's `networks:` (MeshNetworks): which endpoints are in which L3 network, and the gateways into each. Read at the start;
   * a change needs a restart. Default: none, everybody reaches every address.
   */
  readonly networksFile?: string | undefined;
  /** DNS names and addresses under which clients dial this server, besides `localhost`, `127.0.0.1`, `::1` and `host`. */
  readonly serverNames?: readonly string[] | undefined;
  /** Life of a workload certificate that asks for none. Default 86400 (24 h), bounds 10 s to `maxCertificateLifeSeconds`. */
  readonly certificateLifeSeconds?: number | undefined;
  /** Longest life that is granted; more is refused. Default and upper bound 7776000 (90 days). */
  readonly maxCertificateLifeSeconds?: number | undefined;
  /**
   * Age at which a client's connection is ended, ± 10 %, so that load spreads over replicas (istiod's keepalive option
   * `maxServerConnectionAge`). Default 1800, bounds 10 to 86400.
   */
  readonly maxConnectionAgeSeconds?: number | undefined;
  /** How long `close()` spreads the ends of the streams. Default 2, bounds 0 to 300. */
  readonly shutdownGraceSeconds?: number | undefined;
  /** How this replica names itself in `control_plane.identifier` (S7). Default: the host name. */
  readonly identifier?: string | undefined;
  /** Level of the log on stderr. Default `info`. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | "silent" | undefined;
}

/** The options after validation, nothing missing. */
export type ControlPlaneConfig = {
  readonly [K in Exclude<keyof ControlPlaneOptions, "caDir" | "networksFile" | "plaintextPort">]-?: Exclude<
    ControlPlaneOptions[K],
    undefined
  >;
} & {
  readonly caDir: string | undefined;
  readonly networksFile: string | undefined;
  readonly plaintextPort: number | undefined;
};

const DAY = 86_400;
const MAX_CERTIFICATE_LIFE = 90 * DAY;
const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const dnsName = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;
const dnsNameOrAddress = z.union([z.ipv4(), z.ipv6(), z.string().regex(dnsName, "not a DNS name or an address")]);
const port = z.number().int().min(0).max(65_535);
const seconds = (min: number, max: number): z.ZodNumber => z.number().min(min).max(max);

const schema = z
  .strictObject({
    configDirs: z.array(z.string().min(1)).min(1).readonly(),
    dataDir: z.string().min(1),
    caDir: z.string().min(1).optional(),
    host: dnsNameOrAddress.default("127.0.0.1"),
    port: port.default(15_012),
    plaintextPort: port.optional(),
    plaintextNodes: z
      .array(
        z.strictObject({
          id: z.string().min(1).max(1_024),
          namespace: z.string().regex(label, "not a namespace (DNS label)"),
          serviceAccount: z.string().regex(dnsName, "not a service account (DNS name)"),
        }),
      )
      .max(1_000)
      .readonly()
      .default([]),
    httpHost: dnsNameOrAddress.default("127.0.0.1"),
    httpPort: port.default(15_014),
    trustDomain: z.string().regex(dnsName, "not a trust domain (lower-case DNS name)").default("cluster.local"),
    rootNamespace: z.string().regex(label, "not a namespace (DNS label)").default("istio-system"),
    domain: z.string().regex(dnsName, "not a DNS name").default("cluster.local"),
    cluster: z.string().min(1).max(253).default("Kubernetes"),
    credentialsDir: z
      .string()
      .regex(/^(\/[^/\0]+)+$/, "not an absolute path")
      .default(defaultMesh.credentialsDir),
    networksFile: z.string().min(1).optional(),
    serverNames: z.array(dnsNameOrAddress).max(100).readonly().default([]),
    certificateLifeSeconds: seconds(10, MAX_CERTIFICATE_LIFE).int().default(DAY),
    maxCertificateLifeSeconds: seconds(10, MAX_CERTIFICATE_LIFE).int().default(MAX_CERTIFICATE_LIFE),
    maxConnectionAgeSeconds: seconds(10, DAY).default(1_800),
    shutdownGraceSeconds: seconds(0, 300).default(2),
    identifier: z.string().min(1).max(253).default(hostname),
    logLevel: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
  })
  .refine((options) => options.certificateLifeSeconds <= options.maxCertificateLifeSeconds, {
    path: ["certificateLifeSeconds"],
    error: "longer than maxCertificateLifeSeconds",
  })
  .refine((options) => (options.plaintextPort !== undefined) === options.plaintextNodes.length > 0, {
    path: ["plaintextPort"],
    error: "goes only together with plaintextNodes: on plaintext nobody is answered who is not listed",
  });

/** Validates once, at the edge: everything behind trusts the result. */
export function parseOptions(options: ControlPlaneOptions): ControlPlaneConfig {
  const parsed = schema.safeParse(options);
  if (parsed.success) {
    const { caDir, networksFile, plaintextPort } = parsed.data;
    return { ...parsed.data, caDir, networksFile, plaintextPort };
  }
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "options"}: ${issue.message}`);
  throw new ControlPlaneError("OPTIONS", `the options are not valid: ${faults.join("; ")}`, parsed.error);
}
