import type { Peer } from "@trama/engine";
import type { Socket } from "node:net";

import { connections } from "./connection.ts";

export type { ConnectOptions } from "./connector.ts";
export { socket } from "./mesh-socket.ts";
export type { MeshSocket, SocketOptions } from "./mesh-socket.ts";

/**
 * Who is at the other end of a connection that a protected `net.Server` let in, established from its verified certificate; `undefined` for any other
 * socket. In plaintext, where policy permits that, the peer is nobody: its `spiffeId` is undefined.
 */
export function peerOf(socket: Socket): Peer | undefined {
  return connections.get(socket)?.mesh.peer;
}
