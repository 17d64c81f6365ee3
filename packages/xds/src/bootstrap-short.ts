import { isIP } from "node:net";

import { type Bootstrap, type CallCredentials, type PemSource, inboundListenerTemplate } from "./bootstrap.ts";
import { XdsError } from "./errors.ts";
import { nodeId, nodeMetadata } from "./node.ts";
import { parseTarget } from "./stream/target.ts";

/** The short form: all that a process must know to join a mesh whose control plane speaks docs/wire.md, or an istiod. */
export interface BootstrapOptions {
  /** `host:port` of the control plane (15012 by habit). */
  readonly controlPlane: string;
  /** PEM file with the roots that may sign the control plane's certificate. One of this and `rootCertPem`. */
  readonly rootCertFile?: string | undefined;
  readonly rootCertPem?: string | undefined;
  /** The name in the control plane's certificate, if it is not the dialled host (I2). */
  readonly serverName?: string | undefined;
  /** A join token, or a function that gives one; it is asked again for each stream. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** A file with a join token, read again for each stream (I4). */
  readonly tokenFile?: string | undefined;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly workload: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** The address under which this workload is registered (I13). Default 127.0.0.1. */
  readonly ip?: string | undefined;
  /** Chooses the API server that reviews the token, where there are several (I5). Default `Kubernetes`. */
  readonly clusterId?: string | undefined;
  /** Last part of host names. Default `cluster.local`. */
  readonly domain?: string | undefined;
  readonly locality?: { readonly region: string; readonly zone: string; readonly subZone: string } | undefined;
}

/** Makes the {@link Bootstrap} that a file would give. TLS always: an insecure control plane needs a bootstrap file. */
export function bootstrapFor(options: BootstrapOptions): Bootstrap {
  required(options.controlPlane, "controlPlane", "host:port of the control plane");
  if (!/:\d{1,5}$/.test(options.controlPlane)) fail("controlPlane", "has no port", "Write host:port, 15012 by habit.");
  if (parseTarget(options.controlPlane) === undefined)
    fail(
      "controlPlane",
      `is ${JSON.stringify(options.controlPlane.slice(0, 100))}, which is not the address of one server`,
      "Write host:port; an IPv6 address goes into brackets.",
    );
  required(options.namespace, "namespace", "the namespace of the join token");
  required(options.serviceAccount, "serviceAccount", "the service account of the join token");
  required(options.workload, "workload", "the name of this workload");
  const ip = options.ip ?? "127.0.0.1";
  if (isIP(ip) === 0) fail("ip", `is not an IP address ("${ip}")`, "Write it without brackets and port.");
  const domain = options.domain ?? "cluster.local";
  return {
    servers: [
      {
        uri: options.controlPlane,
        channel: { kind: "tls", roots: roots(options), certificate: undefined, serverName: options.serverName },
        call: call(options),
        features: new Set(["xds_v3"]),
      },
    ],
    node: {
      id: nodeId({ ip, workload: options.workload, namespace: options.namespace, domain }),
      cluster: `${options.workload}.${options.namespace}`,
      locality: options.locality,
      metadata: nodeMetadata({
        ip,
        workload: options.workload,
        namespace: options.namespace,
        serviceAccount: options.serviceAccount,
        clusterId: options.clusterId ?? "Kubernetes",
        labels: options.labels ?? {},
      }),
    },
    certificateProviders: new Map([["default", { kind: "mesh" }]]),
    serverListenerTemplate: inboundListenerTemplate,
    clientListenerTemplate: "%s",
    authorities: new Map(),
    allowedGrpcServices: new Map(),
  };
}

function roots(options: BootstrapOptions): PemSource {
  if (options.rootCertPem !== undefined && options.rootCertFile !== undefined) {
    fail("rootCertPem", "and rootCertFile are both given", "Give one of them.");
  }
  if (options.rootCertPem !== undefined) {
    if (!options.rootCertPem.includes("-----BEGIN CERTIFICATE-----")) {
      fail("rootCertPem", "holds no certificate", "Give the text of the PEM file, or rootCertFile with its path.");
    }
    return { pem: options.rootCertPem };
  }
  required(options.rootCertFile, "rootCertFile", "PEM file with the root certificate of the control plane");
  return { file: options.rootCertFile };
}

function call(options: BootstrapOptions): CallCredentials[] {
  const { token, tokenFile } = options;
  if (token !== undefined && tokenFile !== undefined)
    fail("token", "and tokenFile are both given", "Give one of them.");
  if (tokenFile !== undefined) {
    required(tokenFile, "tokenFile", "file with the join token");
    return [{ kind: "token_file", file: tokenFile }];
  }
  if (token === undefined) return []; // a client certificate may be enough
  if (typeof token === "function") return [{ kind: "token", read: token }];
  required(token, "token", "the join token");
  return [{ kind: "token", read: () => token }];
}

function required(value: string | undefined, field: string, meaning: string): asserts value is string {
  if (value === undefined || value === "") fail(field, "is missing", `Give ${meaning}.`);
}

function fail(field: string, problem: string, remedy: string): never {
  throw new XdsError("BOOTSTRAP_INVALID", `bootstrap: ${field} ${problem}. ${remedy}`, { field });
}
