import { createServer } from "node:http";
import type { Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

import { numberField, outcomesField } from "./cases.ts";
import type { Outcome } from "./cases.ts";

export interface Event {
  readonly port: number;
  readonly outcome: Outcome;
}

export interface Backends {
  readonly ports: readonly number[];
  /** By the number of the request: who had it, and what became of it. */
  readonly events: ReadonlyMap<string, Event>;
  close(): Promise<void>;
}

/** So many servers, of which each does with a request what the request says of it. */
export async function startBackends(count: number, host: string): Promise<Backends> {
  const events = new Map<string, Event>();
  const servers: Server[] = [];
  const listen = async (server: Server): Promise<number> => {
    server.keepAliveTimeout = 0;
    server.listen(0, host);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const ports: number[] = [];
  for (let index = 0; index < count; index++) {
    const server = createServer((request, response) => {
      const text = String(request.headers[outcomesField]).split(",")[index]!;
      const outcome: Outcome = text === "reset" ? "reset" : Number(text);
      events.set(String(request.headers[numberField]), { port: ports[index]!, outcome });
      if (outcome === "reset") request.socket.destroy();
      else response.writeHead(outcome, outcome === 204 ? {} : { "content-length": 0 }).end();
    });
    servers.push(server);
    ports.push(await listen(server));
  }
  return {
    ports,
    events,
    async close() {
      const closed = servers.map((server) => once(server, "close"));
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
      await Promise.all(closed);
    },
  };
}
