import { createServer, type Server as NetServer, type Socket } from "node:net";
import {
  Server,
  type ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

import type { Connections } from "./ads/server.ts";
import { type Clock, delay } from "./clock.ts";
import { ControlPlaneError } from "./errors.ts";

export interface PortOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  readonly maxMessageBytes: number;
  readonly maxConnections: number;
  readonly maxConnectionAgeMs: number;
  readonly clock: Clock;
}

/** The TLS port on which ADS and the certificate service are offered. */
export interface GrpcPort {
  readonly connections: Connections;
  offer(definition: ServiceDefinition, implementation: UntypedServiceImplementation): void;
  /** Starts to listen; resolves to the port. */
  listen(credentials: ServerCredentials): Promise<number>;
  /** GOAWAY to all, no new connections; what is open after the grace is dropped. */
  close(graceMs: number): Promise<void>;
}

/** Dead connections are found by pings (S26): those that a vanished machine left half open. */
const KEEPALIVE_TIME_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const MAX_IDLE_MS = 60_000;

/**
 * grpc-js, on sockets that are ours: a client that takes nothing can be cut off, its status stuck behind the data that it
 * does not read (S26), and the age of a connection is known to its streams (S27).
 */
export function grpcPort(options: PortOptions): GrpcPort {
  const { clock } = options;
  const server = new Server({
    "grpc.max_receive_message_length": options.maxMessageBytes,
    "grpc.max_send_message_length": -1,
    "grpc.max_concurrent_streams": 100,
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    // Connections without a stream or call: nobody has proved who he is on them.
    "grpc.max_connection_idle_ms": MAX_IDLE_MS,
    "grpc.max_connection_age_ms": options.maxConnectionAgeMs,
    // Streams end at 1.1 to 1.2 of the age: what is open long after that is not one of ours.
    "grpc.max_connection_age_grace_ms": Math.ceil(options.maxConnectionAgeMs * 0.5),
    "grpc.enable_channelz": 0,
  });
  const open = new Map<string, { readonly socket: Socket; readonly acceptedAt: number }>();
  let listener: NetServer | undefined;
  let injector: ReturnType<Server["createConnectionInjector"]> | undefined;

  const accept = (socket: Socket): void => {
    const peer = peerOf(socket);
    socket.setNoDelay(true);
    open.set(peer, { socket, acceptedAt: clock.now() });
    socket.once("close", () => open.delete(peer));
    // A reset of a connection is no event of ours; TLS and HTTP/2 above it report it as well.
    socket.on("error", () => {});
    injector?.injectConnection(socket);
  };

  return {
    connections: {
      acceptedAt: (peer) => open.get(peer)?.acceptedAt,
      cut: (peer) => void open.get(peer)?.socket.destroy(),
    },
    offer: (definition, implementation) => server.addService(definition, implementation),
    listen(credentials) {
      injector = server.createConnectionInjector(credentials);
      const created = createServer(accept);
      created.maxConnections = options.maxConnections;
      listener = created;
      return listen(created, options.host, options.port, "ADS");
    },
    async close(graceMs) {
      const stopped = new Promise<void>((resolve) =>
        listener === undefined ? resolve() : listener.close(() => resolve()),
      );
      injector?.drain(graceMs);
      // Unary calls get the grace; ADS streams have been ended by then.
      await Promise.race([stopped, delay(clock, graceMs)]);
      for (const { socket } of open.values()) socket.destroy();
      await stopped;
      injector?.destroy();
      server.forceShutdown();
    },
  };
}

/** As grpc-js's `getPeer` writes it. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

/** Listens, or says in one error why not. */
export function listen(server: NetServer, host: string, port: number, what: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const remedy =
        error.code === "EADDRINUSE" ? "another program has it: choose another port" : "choose another address";
      reject(
        new ControlPlaneError(
          "LISTEN",
          `cannot listen on ${host}:${port} for ${what}: ${error.code}; ${remedy}`,
          error,
        ),
      );
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
