import { typeUrls } from "@trama/proto";

import type { NodeView, Snapshot } from "../snapshot.ts";
import type { AdsLimits } from "./limits.ts";

/** From where a response is made: always the newest snapshot (S23). */
export interface View {
  readonly snapshot: Snapshot;
  readonly node: NodeView;
  readonly limits: AdsLimits;
}

/**
 * The two halves of make-before-break (S18): `make` brings what is new or changed and answers what was asked; `break`
 * takes away what the client has and should no longer use.
 */
export type Round = "make" | "break";

/** A response that could go now. Nothing is remembered of it before `commit`, so a plan may also be dropped. */
export interface Plan<Res> {
  /** The response, but for the nonce. */
  readonly build: (nonce: string) => Res;
  /** Names whose resource is new or other than what this client was sent before (S20). */
  readonly changed: readonly string[];
  /** True if the response was cut and another will follow. */
  readonly more: boolean;
  commit(): void;
}

/**
 * What one client wants of one type, and what it has. Pure state, in two dialects: delta and state of the world. Nonces
 * and pace are the session's business.
 */
export interface Subscription<Req, Res> {
  /** Takes in the names of a request. ACK and NACK are no news to it: content that was sent counts as had (S3). */
  request(req: Req): void;
  plan(view: View, round: Round): Plan<Res> | undefined;
  /** These are to be sent again if they are subscribed, though unchanged (S20). */
  renew(names: readonly string[]): void;
  /** Names held in memory for this client. */
  readonly size: number;
  /** Names asked for; a wildcard counts as one. */
  readonly asked: number;
}

/** The types for which a first request without names means all (S9), and whose whole set goes out in SotW (S11). */
export const wholeSetTypes: ReadonlySet<string> = new Set([typeUrls.listener, typeUrls.cluster]);

export const WILDCARD = "*";
