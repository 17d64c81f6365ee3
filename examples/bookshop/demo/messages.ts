/** What the processes of the demo tell its launcher over IPC. */
export interface Batch {
  readonly kind: "batch";
  ok: number;
  failed: number;
  /** The first few failures, for people. */
  errors: string[];
  /** From the planned moment of each visit to its last byte. */
  latenciesMs: number[];
  /** Visits by the catalog version that answered, and the wall-clock time of the newest of each. */
  versions: Record<string, number>;
  lastSeenMs: Record<string, number>;
  /** Calls that the policy forbids: how many were made, how many were answered 403. */
  deniable: number;
  denied: number;
  /** On the final batch. */
  last?: boolean;
}

export interface ControlPlaneReady {
  readonly kind: "control-plane";
  readonly port: number;
  readonly statusUrl: string;
  readonly rootCertFile: string;
  readonly tokens: Readonly<Record<string, string>>;
}

export interface Listening {
  readonly kind: "listening";
  readonly port: number;
  readonly metricsPort: number;
}

export interface OutsiderRound {
  readonly kind: "outsider";
  readonly attempts: number;
  readonly refused: number;
}

export type Message = Batch | ControlPlaneReady | Listening | OutsiderRound | { readonly kind: "joined" | "started" };
