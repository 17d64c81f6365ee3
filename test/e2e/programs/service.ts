import type http from "node:http";
import { type AddressInfo, createServer as createNetServer, type Server } from "node:net";
import express from "express";
import Fastify from "fastify";
import { joinMesh, type MeshStatus } from "trama";
import { serve } from "trama/express";
import { serverFactory } from "trama/fastify";
import { createServer, peerOf } from "trama/http";
import { peerOf as peerOfSocket } from "trama/tcp";
import { answer, notReady, ready } from "../harness/rpc.ts";
import { behave, emptyStats, hurry, type Stats } from "./behaviour.ts";
import { memoryUse, watchMemory, type MemoryUse } from "./memory.ts";

/** A service of the mesh under test, in the framework that is asked for, which goes wrong in the ways of `behaviour.ts`. */
export interface ServiceOptions {
  /** `net`: no requests, but lines, which come back with version and peer. */
  readonly framework: "express" | "fastify" | "http" | "net";
  readonly version: string;
}

export interface ServiceReady {
  readonly port: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as ServiceOptions;
const mesh = await joinMesh().catch((error: unknown) => {
  notReady(error);
  throw error;
});
mesh.closeOnSignals();

let stats = emptyStats();
/** What every request is answered with, while something is wrong with this version. */
let broken: number | undefined;
const handle = (request: http.IncomingMessage, response: http.ServerResponse): void => {
  if (broken === undefined) return well(request, response);
  request.resume();
  response.writeHead(broken).end();
};
const well = (request: http.IncomingMessage, response: http.ServerResponse): void =>
  behave(stats, options.version, peerOf(request)?.spiffeId, request, response, (url) => mesh.fetch(url) as never);

const server = await listen();
/** Only applications that listen for it get upgrades; this one says hello and hangs up. */
server.on("upgrade", (_request, socket) => {
  stats.upgrades++;
  socket.end("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: hello\r\n\r\nhello");
});

async function listen(): Promise<Server> {
  switch (options.framework) {
    case "express": {
      const app = express();
      // A route of its own: Express decides by its own reading of the path whether this handler runs.
      app.get("/admin", handle);
      app.use(handle);
      const server = serve(mesh, app);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }
    case "fastify": {
      const app = Fastify({ serverFactory: serverFactory(mesh) });
      // Bodies stay streams: the behaviours read them themselves.
      app.removeAllContentTypeParsers();
      app.addContentTypeParser("*", (_request, _payload, done) => done(null));
      app.all("*", (request, reply) => {
        reply.hijack();
        handle(request.raw, reply.raw);
      });
      app.get("/admin", (request, reply) => {
        reply.hijack();
        handle(request.raw, reply.raw);
      });
      await app.listen({ port: 0, host: "127.0.0.1" });
      return app.server;
    }
    case "net": {
      const server = mesh.protect(
        createNetServer((socket) => {
          socket.on("error", () => {});
          socket.on("data", (text) =>
            socket.write(`${options.version} ${peerOfSocket(socket)?.spiffeId ?? "nobody"} ${String(text).trim()}\n`),
          );
        }),
      );
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }
    case "http": {
      const server = createServer(mesh, handle);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }
  }
}

const methods = {
  stats: (): Stats => stats,
  reset: (): void => {
    stats = { ...emptyStats(), open: stats.open };
  },
  break: (status: number): void => void (broken = status),
  mend: (): void => void (broken = undefined),
  status: (): MeshStatus => mesh.status(),
  metrics: (): Promise<string> => mesh.metricsText(),
  hurry: (): void => hurry(),
  watchMemory: (): void => watchMemory(),
  memory: (): MemoryUse => memoryUse(),
};
export type ServiceMethods = typeof methods;

answer(methods);
// The process ends by itself when the server does: the test's channel must not hold it.
process.channel?.unref();
await mesh.ready();
ready({ port: (server.address() as AddressInfo).port } satisfies ServiceReady);
