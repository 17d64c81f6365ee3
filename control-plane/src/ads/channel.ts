import type { Subscription } from "./subscription.ts";
import type { TypeStatus } from "../status.ts";

/** One type on one stream: what is wanted, and the one response that may be on its way (S1, S23). */
export interface TypeChannel<Req, Res> {
  readonly typeUrl: string;
  readonly subscription: Subscription<Req, Res>;
  readonly status: TypeStatus;
  /** The last nonce of this type on this stream; empty before the first response. */
  nonce: string;
  /** When the response was sent that has neither been ACKed nor NACKed. */
  unansweredSince: number | undefined;
  /** When the change was published that the unanswered response brings, if it was a change. */
  publishedAt: number | undefined;
  /** Something came since there was last nothing to send. */
  dirty: boolean;
}

export function newStatus(): TypeStatus {
  return {
    names: 0,
    sent: 0,
    acked: 0,
    nacked: 0,
    sentAt: undefined,
    ackedAt: undefined,
    nackedAt: undefined,
    nackText: undefined,
  };
}
