import type { Socket } from "node:net";

import type { ChannelCredentials } from "@grpc/grpc-js";

/** Longer than any handshake with a server that is alive. */
const limitMs = 20_000;

/** The part of grpc-js that shakes hands. It has no public face, so what is not there is simply not guarded. */
interface Connector {
  connect(socket: Socket): Promise<unknown>;
}
interface WithConnector {
  _createSecureConnector?: (...values: unknown[]) => Connector;
}

/**
 * grpc-js knows no limit for a TLS handshake, and closing its client leaves one that is under way: with a server that takes
 * connections and says nothing, each attempt would hold a socket, and the process, for ever. Bounds them in time, and returns what ends
 * them at once.
 */
export function boundHandshakes(credentials: ChannelCredentials): () => void {
  const sockets = new Set<Socket>();
  const patched = credentials as WithConnector;
  const create = patched._createSecureConnector?.bind(credentials);
  if (create === undefined) return () => {};
  patched._createSecureConnector = (...values) => {
    const connector = create(...values);
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      sockets.add(socket);
      // The socket under TLS sees no traffic of its own, so this is a limit for the whole handshake.
      socket.setTimeout(limitMs, () => socket.destroy());
      return connect(socket).finally(() => {
        sockets.delete(socket);
        socket.setTimeout(0);
      });
    };
    return connector;
  };
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}
