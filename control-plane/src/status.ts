import type { Diagnostic } from "./diagnostics.ts";

/** What the control plane knows about itself and its clients. Plain data: what `/status` prints. */
export interface ControlPlaneStatus {
  readonly identifier: string;
  readonly startedAt: string;
  /** True once there is a configuration to serve, until the shutdown begins. */
  readonly ready: boolean;
  readonly snapshotVersion: string | undefined;
  readonly ca: { readonly rootExpiresAt: string; readonly signerExpiresAt: string };
  readonly clients: readonly ClientStatus[];
  readonly diagnostics: readonly Diagnostic[];
}

/** One ADS stream. Several may have one node id (S31). */
export interface ClientStatus {
  readonly nodeId: string;
  readonly identity: string;
  readonly namespace: string;
  readonly workload: string;
  readonly kind: "trama" | "grpc" | "envoy";
  readonly protocol: "delta" | "sotw";
  readonly peer: string;
  readonly connectedAt: string;
  readonly types: Readonly<Record<string, TypeStatus>>;
}

/** What went to a client and came back, per type (S46). */
export interface TypeStatus {
  /** Names asked for; a wildcard counts as one. */
  names: number;
  sent: number;
  acked: number;
  nacked: number;
  sentAt: string | undefined;
  ackedAt: string | undefined;
  nackedAt: string | undefined;
  /** What the client said when it last refused a response; `undefined` once it accepted a later one. */
  nackText: string | undefined;
}
