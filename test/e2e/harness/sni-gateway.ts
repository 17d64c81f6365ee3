import { once } from "node:events";
import net, { type AddressInfo, type Socket } from "node:net";

/** An east-west gateway in small: reads the server name in the first bytes of a connection and passes it on as it is, to a port of loopback. */
export interface SniGateway {
  readonly port: number;
  /** Server name → port; connections for others are cut. */
  readonly routes: Map<string, number>;
  /** Of the connections that came, in order. */
  readonly names: string[];
  close(): Promise<void>;
}

export async function sniGateway(): Promise<SniGateway> {
  const routes = new Map<string, number>();
  const names: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
    return socket;
  };
  const server = net.createServer((downstream) => {
    keep(downstream);
    let first = Buffer.alloc(0);
    downstream.on("data", function read(chunk: Buffer) {
      first = Buffer.concat([first, chunk]);
      if (first.length < 5 || first.length < 5 + first.readUInt16BE(3)) return;
      downstream.off("data", read).pause();
      const name = serverNameIn(first) ?? "";
      names.push(name);
      const port = routes.get(name);
      if (port === undefined) return void downstream.destroy();
      const upstream = keep(net.connect(port, "127.0.0.1"));
      upstream.write(first);
      downstream.pipe(upstream).pipe(downstream);
      downstream.on("close", () => upstream.destroy());
      upstream.on("close", () => downstream.destroy());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    routes,
    names,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const handshake = 22;
const clientHello = 1;

/** RFC 8446 §4.1.2, RFC 6066 §3. `record`: the whole first record. `undefined`: it is no TLS, or names no server. */
function serverNameIn(record: Buffer): string | undefined {
  if (record[0] !== handshake || record[5] !== clientHello) return undefined;
  // Behind the headers of record and message (5 + 4), version and random (2 + 32).
  let at = 43;
  at += 1 + record.readUInt8(at);
  at += 2 + record.readUInt16BE(at);
  at += 1 + record.readUInt8(at);
  const end = at + 2 + record.readUInt16BE(at);
  at += 2;
  while (at < end) {
    const [type, length] = [record.readUInt16BE(at), record.readUInt16BE(at + 2)];
    // A list of one name, of type 0.
    if (type === 0) return record.toString("latin1", at + 9, at + 4 + length);
    at += 4 + length;
  }
  return undefined;
}
