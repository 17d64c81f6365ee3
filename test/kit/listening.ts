import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";

/** A server of a test, on a port of its own. */
export interface Listening {
  readonly port: number;
  /** `127.0.0.1:port`. */
  readonly address: string;
  /** Ends its connections too, whatever they speak. */
  readonly close: () => Promise<void>;
}

/** Listens on loopback. */
export async function listening(server: Server): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    address: `127.0.0.1:${port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
