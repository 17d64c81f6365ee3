import type { Diagnostic } from "./diagnostics.ts";
import type { Locality } from "./model/service.ts";

/** Who asks: established by authentication plus node metadata, never by metadata alone (S33). */
export interface NodeView {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Addresses of the workload, as text; IPv6 without brackets. */
  readonly addresses: readonly string[];
  /** Which class of client: a value that a class refuses would take the whole response with it (S38). */
  readonly kind: "trama" | "grpc" | "envoy";
  readonly cluster: string;
  /** Where it runs; empty texts when it does not say. */
  readonly locality: Locality;
  /** L3 domain that it is in. Absent: it does not say, and is told every endpoint's own address. */
  readonly network?: string | undefined;
  /** Of a sidecar: what it wants where. */
  readonly proxy?: ProxySettings;
}

/** What an Envoy says of its own place; it can only change what that Envoy itself is told. */
export interface ProxySettings {
  /** File from which it reads its own certificate and key as a secret; without one, a static secret of its bootstrap. */
  readonly identityFile: string | undefined;
  /** Where the application's HTTP proxy listens. */
  readonly outbound: { readonly address: string; readonly port: number };
  /** Where the application itself listens, on the ports of its services. */
  readonly application: string;
  /** It asks for the endpoints of its own service, and could look at zones in every cluster (Istio's `ENABLE_SELF_DISCOVERY`). */
  readonly selfDiscovery: boolean;
  /** All of it as text, for keys of caches. */
  readonly id: string;
}

/** One resource, ready to be sent. The same content is the same object with the same version (S4). */
export interface WireResource {
  readonly typeUrl: string;
  /** The name asked for, which is not always the name of the thing behind it (I16). */
  readonly name: string;
  /** A hash of the content: equal on all replicas and after a restart (S4). */
  readonly version: string;
  /** The resource message itself, ready to be put into an Any. */
  readonly bytes: Uint8Array;
}

/**
 * One whole, closed and immutable state of the mesh (S19). Resources are generated when they are first asked for, and
 * kept by the identity of what they were made from: a change elsewhere costs nothing and changes no version (S24).
 */
export interface Snapshot {
  readonly version: string;
  /** `undefined`: does not exist, or is not visible to this node; both are answered exactly alike (S34). */
  resource(node: NodeView, typeUrl: string, name: string): WireResource | undefined;
  /** All names of a type that a wildcard subscriber of this kind gets. */
  names(node: NodeView, typeUrl: string): Iterable<string>;
}

/** Where snapshots come from. */
export interface SnapshotSource {
  /** `undefined` until all sources have synchronised once: no answer must be given before (S25). */
  readonly current: Snapshot | undefined;
  /** Called after `current` changed; the return value ends it. */
  subscribe(fn: (snapshot: Snapshot) => void): () => void;
  /** All findings that hold now, errors first. */
  readonly diagnostics: readonly Diagnostic[];
  /** Called after `diagnostics` changed; the return value ends it. */
  onDiagnostics(fn: (diagnostics: readonly Diagnostic[]) => void): () => void;
  close(): Promise<void>;
}
