/** What the processes of the demo tell its launcher over IPC. */
export interface Batch {
  readonly kind: "batch";
  ok: number;
  failed: number;
  /** The first few failures, for people. */
  errors: string[];
  /** From the planned moment of each visit to its last byte. */
  latenciesMs: number[];
  /** Visits by the catalog version that answered, and the wall-clock time at which the newest of each began. */
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

/** One answer that a reader of the three regions got. */
export interface Reading {
  readonly region: string;
  /** When it came, by the wall clock. */
  readonly atMs: number;
  /** From the planned moment of the request to the last byte. */
  readonly tookMs: number;
}

export interface Readings {
  readonly kind: "readings";
  readonly readings: readonly Reading[];
  /** Of requests without a good answer. */
  readonly errors: readonly string[];
}

export type Message =
  | Batch
  | ControlPlaneReady
  | Listening
  | OutsiderRound
  | Readings
  | { readonly kind: "joined" | "started" };
