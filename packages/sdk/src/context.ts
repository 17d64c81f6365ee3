import { AsyncLocalStorage } from "node:async_hooks";
import { type Call, handDown } from "@trama/engine";

/** A deadline that passed this long ago concerns nobody any more: what still runs under it is a job of its own. */
const forgottenAfterMs = 60_000;

/**
 * What a call that is being served hands on to the calls made on its behalf (dataplane.md §16): its deadline, and that it is a
 * retry. Made only where there is something to hand on, so that a request without either costs nothing.
 *
 * It ends with the answer: what a handler leaves running behind it, a timer or a cache that fills itself, calls for nobody
 * and must not be held to the deadline of the request that happened to start it.
 */
export class CallContext {
  /** Absolute end on the monotonic clock in milliseconds; `Infinity` = none. */
  readonly deadlineMs: number;
  /** Which attempt of its caller's the call is; see `Call.callerAttempt`. */
  readonly attempt: number;
  /** The answer is complete. One that was cut short, by its deadline or by a peer that left, keeps its deadline. */
  answered = false;

  constructor(deadlineMs: number, attempt: number) {
    this.deadlineMs = deadlineMs;
    this.attempt = attempt;
  }
}

const storage = new AsyncLocalStorage<CallContext | undefined>();

/**
 * Makes the context of an inbound call out of what its peer says: `timeoutMs` from its start, `Infinity` for none, and the
 * number of the attempt. `undefined`: there is nothing to hand on.
 */
export function contextOf(call: Call, timeoutMs: number, attempt: number): CallContext | undefined {
  if (timeoutMs === Infinity && attempt === 1) return undefined;
  call.deadlineMs = call.record.startMs + timeoutMs;
  call.callerAttempt = attempt;
  return new CallContext(call.deadlineMs, attempt);
}

/**
 * Runs what serves a call; everything that it starts belongs to that call. Without a context it must belong to none: timers and
 * sockets remember where they were made, which may have been in a neighbour's.
 */
export function runInContext<A extends unknown[], R>(
  context: CallContext | undefined,
  fn: (...args: A) => R,
  ...args: A
): R {
  if (context === undefined && storage.getStore() === undefined) return fn(...args);
  return storage.run(context, fn, ...args);
}

/** As it is where this is asked, for whoever runs something there later; see {@link runInContext}. */
export function heldContext(): CallContext | undefined {
  return storage.getStore();
}

/** The call on whose behalf whatever runs here runs; `undefined` outside of one, and when it is over. */
export function currentContext(nowMs: number): CallContext | undefined {
  const context = storage.getStore();
  if (context === undefined || context.answered || nowMs > context.deadlineMs + forgottenAfterMs) return undefined;
  return context;
}

/** An outbound call takes over what the call that is being served here hands on. */
export function inherit(call: Call, context: CallContext | undefined, nowMs: number): void {
  if (context === undefined) return;
  call.callerAttempt = context.attempt;
  call.deadlineMs = Math.min(call.deadlineMs, handDown(context.deadlineMs, nowMs));
}

/**
 * Runs `fn` on behalf of nobody: calls that it makes, now and later, have neither deadline nor anything else of the request that is
 * being served. For work that a handler starts and does not wait for.
 */
export function detached<T>(fn: () => T): T {
  return runInContext(undefined, fn);
}
