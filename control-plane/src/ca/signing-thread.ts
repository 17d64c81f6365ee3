import { Worker } from "node:worker_threads";

import type { SigningKey, SigningOrder } from "./signing.ts";
import type { SigningReply, SigningRequest } from "./worker.ts";

/** Why no certificate came of an order. */
export class SigningError extends Error {
  override readonly name = "SigningError";
  /** `refused`: the request is at fault. `busy`: too many are waiting, come back. `failed`: the fault is ours. */
  readonly reason: "refused" | "busy" | "failed";

  constructor(reason: "refused" | "busy" | "failed", message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface SigningThread {
  /** Resolves to the leaf in PEM; rejects with a SigningError. */
  sign(order: SigningOrder): Promise<string>;
  close(): Promise<void>;
}

interface Waiting {
  readonly resolve: (pem: string) => void;
  readonly reject: (error: SigningError) => void;
}

/** At some 3,000 signatures a second these wait a third of a second at most. */
const MAX_WAITING = 1_000;

/**
 * Signs in a thread of its own, so that a thousand clients that come for certificates do not delay one configuration
 * push. The thread is started with the first order; if it dies, those waiting fail and the next order starts another.
 */
export function signingThread(key: SigningKey): SigningThread {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let lastId = 0;
  let closed = false;

  const start = (): Worker => {
    // Beside this file, in the form in which this file itself runs: source or compiled.
    const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
    const started = new Worker(new URL(`./worker${extension}`, import.meta.url), { workerData: key });
    started.unref();
    started.on("message", ({ id, result }: SigningReply) => {
      const order = waiting.get(id);
      waiting.delete(id);
      if ("pem" in result) order?.resolve(result.pem);
      else if ("refused" in result) order?.reject(new SigningError("refused", result.refused));
      else order?.reject(new SigningError("failed", `signing failed: ${result.failed}`));
    });
    started.on("error", (error) => gone(started, `the signing thread died: ${String(error)}`));
    started.on("exit", () => gone(started, "the signing thread ended"));
    return started;
  };
  const gone = (which: Worker, why: string): void => {
    if (worker !== which) return;
    worker = undefined;
    const orders = [...waiting.values()];
    waiting.clear();
    for (const order of orders) order.reject(new SigningError("failed", why));
  };

  return {
    sign(order) {
      if (closed) return Promise.reject(new SigningError("failed", "the certificate authority is closed"));
      if (waiting.size >= MAX_WAITING)
        return Promise.reject(new SigningError("busy", `${MAX_WAITING} signing requests are waiting already`));
      worker ??= start();
      lastId += 1;
      const request: SigningRequest = { id: lastId, order };
      return new Promise((resolve, reject) => {
        waiting.set(request.id, { resolve, reject });
        worker?.postMessage(request);
      });
    },
    async close() {
      closed = true;
      const last = worker;
      if (last === undefined) return;
      gone(last, "the certificate authority is closed");
      await last.terminate();
    },
  };
}
