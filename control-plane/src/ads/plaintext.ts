import { status } from "@grpc/grpc-js";

import { AuthError } from "../auth/auth-error.ts";
import type { CallerEvidence } from "../auth/authenticate.ts";
import type { Identity } from "../auth/identity.ts";
import type { Clock } from "../clock.ts";
import type { AnyRequest } from "./dialect.ts";
import { StreamFault } from "./limits.ts";

/** A node that is believed without a proof, because whoever started the control plane says so. */
export interface ListedNode {
  /** `node.id`, exactly. */
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** A stream as far as its caller can be told from it. */
export interface AdsCall extends CallerEvidence {
  once(event: string, listener: (value: AnyRequest) => void): unknown;
  off(event: string, listener: (value: AnyRequest) => void): unknown;
  pause(): unknown;
  unshift(request: AnyRequest): void;
}

/**
 * S32: on plaintext nobody can prove anything, so a node is who the list says that its id is, and who is not on it gets
 * nothing. It is for libraries that cannot do TLS to the control plane, on loopback, where only processes of this machine come.
 * What they learn is names and addresses: certificates and keys are not to be had on that port.
 */
export function listedNodes(
  nodes: readonly ListedNode[],
  trustDomain: string,
  { clock, firstRequestMs }: { readonly clock: Clock; readonly firstRequestMs: number },
): (call: AdsCall) => Promise<Identity> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  return async (call) => {
    const { node } = await firstRequest(call, clock, firstRequestMs);
    const listed = byId.get(node?.id ?? "");
    if (listed === undefined)
      throw new AuthError(
        "on plaintext the control plane answers to the nodes listed with --plaintext-node; use the TLS port",
      );
    const { namespace, serviceAccount } = listed;
    return { trustDomain, namespace, serviceAccount, proof: "list", expiresAt: Number.POSITIVE_INFINITY };
  };
}

/** Looks at it and puts it back: the session reads it again. */
function firstRequest(call: AdsCall, clock: Clock, waitMs: number): Promise<AnyRequest> {
  return new Promise((resolve, reject) => {
    const taken = (request: AnyRequest): void => {
      stop();
      call.pause();
      call.unshift(request);
      resolve(request);
    };
    const gone = (): void => {
      stop();
      reject(new StreamFault(status.INVALID_ARGUMENT, "no request came on this stream"));
    };
    const cancel = clock.after(waitMs, gone);
    const stop = (): void => {
      cancel();
      call.off("data", taken);
      call.off("end", gone);
      call.off("cancelled", gone);
    };
    call.once("data", taken);
    call.once("end", gone);
    call.once("cancelled", gone);
  });
}
