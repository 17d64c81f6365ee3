import type { Addresses } from "./addresses.ts";

/**
 * Somebody else's software, and what we prove with it. A peer is one file below this folder, listed in `peers.ts`; adding one touches
 * nothing of the others.
 */
export interface Peer {
  /** As the table prints it. */
  readonly name: string;
  readonly version: string;
  /** What must be on the machine beforehand; without it each capability is `skipped: needs go`. */
  readonly needs: Tool;
  /**
   * Brings the peer into `cache` by the ordinary package client; called once, before the first capability. A second run finds it there.
   * What it throws is a failure of the peer: the tool is there, so somebody has to make its packages reachable.
   */
  install(cache: Cache): Promise<void>;
  readonly capabilities: readonly Capability[];
}

export type Tool = "node" | "python" | "go";

/** One statement about the peer, a line of the table. */
export interface Capability {
  readonly name: string;
  /** After this the context's signal is aborted, and what ran is a failure. */
  readonly limitMs: number;
  /** What it throws is a failure, too. */
  run(context: Context): Promise<Outcome>;
}

export interface Outcome {
  readonly result: "pass" | "fail";
  /** One line for people: what was done, or what went wrong. */
  readonly detail: string;
  /** For `--json`. */
  readonly figures?: Readonly<Record<string, number>>;
}

export interface Context {
  readonly cache: Cache;
  /** Of this run alone. */
  readonly addresses: Addresses;
  /** An empty folder of this capability, removed after a pass and kept after a failure. */
  readonly scratch: string;
  /** Decides every roll of the dice. */
  readonly seed: number;
  /** How many requests the differential tests send, all together. */
  readonly requests: number;
  /** Aborted when the time is up or the user stops the run: every process and socket of the capability ends then. */
  readonly signal: AbortSignal;
  /** To stderr. */
  progress(text: string): void;
}

/** Folders that outlive a run. Nothing in them is ours; all of it can be deleted. */
export interface Cache {
  /** `test/interop/.cache`. */
  readonly root: string;
  /** Where the installers write what they say. */
  progress(text: string): void;
}
