import type { status } from "@grpc/grpc-js";

import type { Clock } from "../clock.ts";
import type { NodeView, Snapshot } from "../snapshot.ts";
import type { AdsLimits } from "./limits.ts";

/** The stream that a session speaks on. */
export interface Wire<Res> {
  /** `taken` is called when the response has left for the client: not before flow control let it go. */
  send(response: Res, taken: () => void): void;
  /** Ends the stream with a status. */
  end(code: status, message: string): void;
  /** Drops a connection that takes nothing any more, so that not even a status would reach it. */
  cut(): void;
}

/** What a session tells of its work. */
export interface SessionEvents {
  identified(node: NodeView): void;
  sent(typeUrl: string): void;
  acked(typeUrl: string): void;
  nacked(node: NodeView, typeUrl: string, text: string): void;
  staleNonce(typeUrl: string): void;
  unknownType(node: NodeView, typeUrl: string): void;
  sendTimedOut(node: NodeView, typeUrl: string): void;
  /** A published change has been accepted by this client. */
  converged(publishedAt: number): void;
  /** A bug: the stream is ended, the others go on. */
  crashed(error: unknown): void;
}

export interface SessionEnv {
  readonly clock: Clock;
  readonly limits: AdsLimits;
  readonly identifier: string;
  readonly events: SessionEvents;
  /** `undefined` before the first synchronisation: requests are held until then (S25). */
  readonly current: () => Snapshot | undefined;
}
