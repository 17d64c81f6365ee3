import type { Call } from "@trama/engine";

import { CallContext, currentContext, runInContext } from "../../../packages/sdk/src/context.ts";
import type { HandedOn, Recorded } from "./adapter.ts";

export function recordOf({ record }: Call): Recorded {
  return {
    attempts: record.attempts,
    mtls: record.mtls,
    peer: record.peerPrincipal,
    cluster: record.cluster?.name ?? "",
  };
}

/** Asked inside of a handler. */
export function handedOn(): HandedOn | undefined {
  const nowMs = performance.now();
  const context = currentContext(nowMs);
  return context && { leftMs: context.deadlineMs - nowMs, attempt: context.attempt };
}

/** Runs `fn` as the handler of a call that is a second attempt and must be done in 5 s. */
export function whileServing<T>(fn: () => T): T {
  return runInContext(new CallContext(performance.now() + 5_000, 2), fn);
}
