import { AsyncLocalStorage } from "node:async_hooks";

/** What a call that is being served hands on to the calls made on its behalf (dataplane.md §16). */
export interface CallContext {
  /** Absolute end on the monotonic clock in milliseconds. */
  readonly deadlineMs: number;
}

const storage = new AsyncLocalStorage<CallContext>();

/** Runs what serves a call; everything that it starts belongs to that call. */
export function runInContext<A extends unknown[], R>(context: CallContext, fn: (...args: A) => R, ...args: A): R {
  return storage.run(context, fn, ...args);
}

/** When the call that is being served here must be done; `Infinity` outside of one. */
export function inheritedDeadline(): number {
  return storage.getStore()?.deadlineMs ?? Infinity;
}
