import type { Agent, ClientRequestArgs } from "node:http";
import type { Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { buildConnector } from "undici";

import { http, https } from "../env/node-http.ts";
import { realConnector } from "../undici-parts.ts";
import type { Connector } from "./connector.ts";

/**
 * How undici's clients connect to opaque ports: the mesh makes the connection, and undici does the rest as ever, a TLS of the application's own
 * included: it is this that rules choose by when they name servers.
 */
export function ledConnections(connector: Connector): buildConnector.connector {
  let secure: buildConnector.connector | undefined;
  return (options, done) => {
    const tls = options.protocol === "https:";
    void lead(connector, tls, { ...options, host: options.hostname }, (error, socket) => {
      if (error !== null) done(error, null);
      else if (tls) (secure ??= realConnector({}))({ ...options, httpSocket: socket! }, done);
      else done(null, socket!);
    });
  };
}

/** The same for agents of `node:http` and `node:https`. */
export function ledAgent(scheme: "http:" | "https:", connector: Connector): Agent {
  const tls = scheme === "https:";
  const agent = new (tls ? https : http).Agent({ keepAlive: true });
  const secure = agent.createConnection.bind(agent) as unknown as (options: ConnectionOptions) => Socket;
  const createConnection = (options: ClientRequestArgs & ConnectionOptions, done: Done): void => {
    void lead(connector, tls, options, (error, socket) => {
      if (error !== null || !tls) done(error, socket);
      else done(null, secure({ ...options, socket: socket! }));
    });
  };
  return Object.assign(agent, { createConnection });
}

type Done = (error: Error | null, socket?: Socket) => void;

interface Place {
  readonly host?: string | null | undefined;
  readonly port?: string | number | null | undefined;
  readonly servername?: string | null | undefined;
}

/** Who makes no TLS asks for no server; a TLS without a word about it asks for the host. */
async function lead(connector: Connector, tls: boolean, { host, port, servername }: Place, done: Done): Promise<void> {
  const asked = tls ? servername || undefined : "";
  let socket: Socket;
  try {
    socket = await connector.connect({
      host: host ?? "localhost",
      port: Number(port) || (tls ? 443 : 80),
      servername: asked,
    });
  } catch (thrown) {
    return done(thrown as Error);
  }
  done(null, socket);
}
