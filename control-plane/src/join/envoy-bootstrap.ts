import { isIP } from "node:net";
import { join } from "node:path";

import { json } from "./grpc-bootstrap.ts";
import { fileNames, nodeId, nodeMetadata, type Workload } from "./workload.ts";

export interface EnvoyBootstrapOptions {
  readonly dir: string;
  readonly workload: Workload;
  /** `host:port` of the control plane's TLS port. */
  readonly server: string;
  /** `host:port` of Envoy's admin page. */
  readonly admin: string;
  /** `host:port` of the listener that the application uses as its HTTP proxy. */
  readonly outbound: string;
  /** Address at which the application behind the sidecar listens, on the ports of its services. */
  readonly application: string;
  readonly protocol: "delta" | "sotw";
}

const controlPlane = "trama-control-plane";
/** The callers of the sidecar's own kind, by zone; the control plane knows them by this name, as Istio's does. */
const localCluster = "local_cluster";
const secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/**
 * Envoy's own certificate as a file subscription: the private key is made beside Envoy and stays there (S35), and a new
 * generation of the folder is taken up without a restart.
 */
export function identitySecret(dir: string): string {
  return secretFile({
    name: "default",
    tls_certificate: {
      certificate_chain: { filename: join(dir, fileNames.chain) },
      private_key: { filename: join(dir, fileNames.key) },
      watched_directory: { path: dir },
    },
  });
}

/** What the control plane's certificate is checked against, before anything can come from it. */
export function rootSecret(dir: string): string {
  return secretFile({
    name: "ROOTCA",
    validation_context: {
      trusted_ca: { filename: join(dir, fileNames.root) },
      watched_directory: { path: dir },
    },
  });
}

function secretFile(secret: Record<string, unknown>): string {
  return json({ resources: [{ "@type": secretType, ...secret }] });
}

/** A bootstrap for Envoy as a sidecar: listeners and clusters from the control plane, over mutual TLS. */
export function envoyBootstrap(options: EnvoyBootstrapOptions): string {
  const { dir, workload, admin, outbound, application, protocol } = options;
  return json({
    node: {
      id: nodeId(workload),
      cluster: workload.name,
      locality: workload.locality,
      metadata: {
        ...nodeMetadata(workload),
        TRAMA_IDENTITY_FILE: join(dir, fileNames.identitySecret),
        TRAMA_OUTBOUND: outbound,
        TRAMA_APPLICATION: application,
        // The control plane then says of each cluster whether zones count.
        ENABLE_SELF_DISCOVERY: "true",
      },
    },
    cluster_manager: { local_cluster_name: localCluster },
    admin: { address: socketAddress(admin) },
    dynamic_resources: {
      ads_config: {
        api_type: protocol === "delta" ? "DELTA_GRPC" : "GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: controlPlane } }],
      },
      cds_config: { ads: {}, resource_api_version: "V3" },
      lds_config: { ads: {}, resource_api_version: "V3" },
    },
    static_resources: { clusters: [controlPlaneCluster(options), localClusterByName()] },
  });
}

/** Envoy's zone aware routing holds a cluster against this one, so it has to know it from the start. */
function localClusterByName(): Record<string, unknown> {
  return {
    name: localCluster,
    type: "EDS",
    connect_timeout: "5s",
    eds_cluster_config: { eds_config: { ads: {}, resource_api_version: "V3" } },
  };
}

function controlPlaneCluster({ dir, server }: EnvoyBootstrapOptions): Record<string, unknown> {
  const { host } = splitAddress(server);
  return {
    name: controlPlane,
    type: isIP(host) === 0 ? "STRICT_DNS" : "STATIC",
    connect_timeout: "5s",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: {
          http2_protocol_options: { connection_keepalive: { interval: "30s", timeout: "10s" } },
        },
      },
    },
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        // An address is no server name; its certificate has it as an address all the same.
        ...(isIP(host) === 0 ? { sni: host } : {}),
        common_tls_context: {
          alpn_protocols: ["h2"],
          tls_certificate_sds_secret_configs: [
            { name: "default", sds_config: fromFile(dir, fileNames.identitySecret) },
          ],
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: [
                { san_type: isIP(host) === 0 ? "DNS" : "IP_ADDRESS", matcher: { exact: host } },
              ],
            },
            validation_context_sds_secret_config: {
              name: "ROOTCA",
              sds_config: fromFile(dir, fileNames.rootSecret),
            },
          },
        },
      },
    },
    load_assignment: {
      cluster_name: controlPlane,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(server) } }] }],
    },
  };
}

function fromFile(dir: string, name: string): Record<string, unknown> {
  return { path_config_source: { path: join(dir, name) }, resource_api_version: "V3" };
}

function socketAddress(text: string): Record<string, unknown> {
  const { host, port } = splitAddress(text);
  return { socket_address: { address: host, port_value: port } };
}

/** `host:port`, IPv6 in brackets; validated where it came in. */
function splitAddress(text: string): { readonly host: string; readonly port: number } {
  const colon = text.lastIndexOf(":");
  return { host: text.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port: Number(text.slice(colon + 1)) };
}
