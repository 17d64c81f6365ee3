// The signing thread: the only place that holds the authority's key once the control plane runs. One order at a time.
import { parentPort, workerData } from "node:worker_threads";

import { createSigner, type SigningKey, type SigningOrder, type SigningResult } from "./signing.ts";

export interface SigningRequest {
  readonly id: number;
  readonly order: SigningOrder;
}
export interface SigningReply {
  readonly id: number;
  readonly result: SigningResult | { readonly failed: string };
}

const sign = createSigner(workerData as SigningKey);

parentPort?.on("message", ({ id, order }: SigningRequest) => {
  const reply: SigningReply = { id, result: attempt(order) };
  parentPort?.postMessage(reply);
});

function attempt(order: SigningOrder): SigningReply["result"] {
  try {
    return sign(order);
  } catch (error) {
    return { failed: error instanceof Error ? error.message : String(error) };
  }
}
