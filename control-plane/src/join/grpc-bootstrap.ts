import { join } from "node:path";

import { fileNames, nodeId, nodeMetadata, type Workload } from "./workload.ts";

export interface GrpcBootstrapOptions {
  readonly dir: string;
  readonly workload: Workload;
  /** `host:port` of the control plane's TLS port. */
  readonly server: string;
  /** `host:port` of its plaintext port instead, for libraries that can do no more (S32). */
  readonly plaintext: string | undefined;
}

/** How often certificates are looked at again; they live for hours, the watcher costs two reads. */
const refreshInterval = "10s";

/**
 * The bootstrap file of gRFC A27 for gRPC's own xDS clients: every field is written, because readers differ in what they
 * demand (BS7, BS8). To the control plane goes TLS with the workload's certificate (A65).
 */
export function grpcBootstrap({ dir, workload, server, plaintext }: GrpcBootstrapOptions): string {
  const pair = {
    certificate_file: join(dir, fileNames.chain),
    private_key_file: join(dir, fileNames.key),
    ca_certificate_file: join(dir, fileNames.root),
    refresh_interval: refreshInterval,
  };
  return json({
    xds_servers: [
      {
        server_uri: plaintext ?? server,
        channel_creds: [plaintext === undefined ? { type: "tls", config: pair } : { type: "insecure" }],
        server_features: ["xds_v3"],
      },
    ],
    node: {
      id: nodeId(workload),
      cluster: workload.name,
      locality: workload.locality,
      metadata: { ...nodeMetadata(workload), GENERATOR: "grpc" },
    },
    certificate_providers: { default: { plugin_name: "file_watcher", config: pair } },
    server_listener_resource_name_template: "xds.istio.io/grpc/lds/inbound/%s",
  });
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
