import type { Metadata, ServerUnaryCall } from "@grpc/grpc-js";
import type { Peer } from "@trama/engine";

/** By the metadata object that grpc-js made of the request. Metadata can be made by anyone; an entry here only by a verified connection. */
export const peers: WeakMap<Metadata, Peer> = new WeakMap();

/** Any of grpc-js's four calls as handlers get them. */
export type ServedCall = Pick<ServerUnaryCall<unknown, unknown>, "metadata">;

/**
 * Who sent this call, established from the verified certificate of its connection; in plaintext, where policy permits that, nobody:
 * `spiffeId` is undefined. `undefined` on a server that is not protected, or when an interceptor has replaced the call's metadata.
 */
export function peerOf(call: ServedCall): Peer | undefined {
  return peers.get(call.metadata);
}
