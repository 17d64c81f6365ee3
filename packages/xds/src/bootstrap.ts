/**
 * What a process must know before it can ask for anything: where the control plane is, how to trust it, how to prove
 * who we are, and what node we are. The form is gRPC's bootstrap (gRFC A27), so that a file written for any gRPC
 * library works here as it is; `bootstrapFor` makes the same object out of a few options.
 */
export interface Bootstrap {
  /** By priority, first is best (BS3). At least one. */
  readonly servers: readonly [XdsServer, ...XdsServer[]];
  readonly node: BootstrapNode;
  /** Certificate provider instances by name (BS8). A name that is not here, in a resource, is an error (BS9). */
  readonly certificateProviders: ReadonlyMap<string, CertificateProvider>;
  /** `%s` becomes `ip:port` of the bound socket. Absent: no server of this process can be configured (BS10). */
  readonly serverListenerTemplate: string | undefined;
  /** `%s` becomes the host and port that the application asks for (BS11). */
  readonly clientListenerTemplate: string;
  readonly authorities: ReadonlyMap<string, Authority>;
  /** Targets that resources may name for side calls (ext_authz and its like), and no others (BS14). */
  readonly allowedGrpcServices: ReadonlyMap<string, AllowedGrpcService>;
}

export interface XdsServer {
  /** A gRPC target: `host:port`, `dns:///host:port`, `unix:///path`. */
  readonly uri: string;
  readonly channel: ChannelCredentials;
  readonly call: readonly CallCredentials[];
  /** The words we know; unknown ones are dropped (BS6). */
  readonly features: ReadonlySet<ServerFeature>;
}

export type ServerFeature =
  | "ignore_resource_deletion"
  | "trusted_xds_server"
  | "fail_on_data_errors"
  | "resource_timer_is_transient_error"
  | "xds_v3";

export type ChannelCredentials =
  | { readonly kind: "insecure" }
  | {
      readonly kind: "tls";
      /** Who may sign the control plane's certificate; `undefined` = the system's roots. Read anew for each connection (I3). */
      readonly roots: PemSource | undefined;
      /** Our own certificate, shown to the control plane. Read anew for each connection. */
      readonly certificate: { readonly certificateFile: string; readonly privateKeyFile: string } | undefined;
      /** Checked instead of the dialled host (I2). */
      readonly serverName: string | undefined;
    };

export type PemSource = { readonly file: string } | { readonly pem: string };

/** What proves us on each stream, besides the connection. */
export type CallCredentials =
  /** `authorization: Bearer …`, read anew for each stream (I4, BS5). */
  | { readonly kind: "token_file"; readonly file: string }
  | { readonly kind: "token"; readonly read: () => string | Promise<string> };

export interface BootstrapNode {
  readonly id: string;
  readonly cluster: string;
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string } | undefined;
  /** Any JSON. Istio wants texts for booleans and lists (I12). */
  readonly metadata: Readonly<Record<string, unknown>>;
}

export type CertificateProvider =
  | {
      readonly kind: "file_watcher";
      readonly certificateFile: string | undefined;
      readonly privateKeyFile: string | undefined;
      readonly caCertificateFile: string | undefined;
      readonly refreshIntervalMs: number;
    }
  /** The mesh's own identity: the certificate comes from the control plane's CA and lives in memory. */
  | { readonly kind: "mesh" }
  /** A plug-in we do not have: an error only for the resource that names it (BS8). */
  | { readonly kind: "unsupported"; readonly plugin: string };

export interface Authority {
  /** Empty: the top-level servers (BS12). */
  readonly servers: readonly XdsServer[];
  readonly clientListenerTemplate: string;
  readonly fallbackOnReachabilityOnly: boolean;
}

export interface AllowedGrpcService {
  readonly channel: ChannelCredentials;
  readonly call: readonly CallCredentials[];
}

/** Istio's names for inbound listeners; ours too. */
export const inboundListenerTemplate = "xds.istio.io/grpc/lds/inbound/%s";
