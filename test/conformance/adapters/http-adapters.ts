import { once } from "node:events";
import http, { type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import Fastify from "fastify";
import { fetch as undiciFetch, request as undiciRequest } from "undici";

import { MeshError } from "@trama/engine";
import { clientWorld } from "../../../packages/sdk/test/client-world.ts";
import { serverWorld } from "../../../packages/sdk/test/server-world.ts";
import { peerOf } from "../../../packages/sdk/src/adapters/connection.ts";
import { serve as serveExpress } from "../../../packages/sdk/src/adapters/express.ts";
import { serverFactory } from "../../../packages/sdk/src/adapters/fastify.ts";
import type { Mesh } from "../../../packages/sdk/src/mesh-types.ts";
import { Dispatcher1Wrapper } from "../../../packages/sdk/src/undici-parts.ts";
import type {
  Behaviour,
  ClientAdapter,
  ClientUnderTest,
  Ending,
  Reply,
  Request,
  ServedRequest,
  ServerAdapter,
  ServerUnderTest,
} from "./adapter.ts";
import { recordOf } from "./record.ts";

const statusOf: Readonly<Record<Ending, number>> = {
  ok: 200,
  denied: 403,
  unavailable: 503,
  deadline: 504,
  exhausted: 429,
  other: 500,
};

function endingOf(status: number): Ending {
  return (Object.keys(statusOf) as Ending[]).find((ending) => statusOf[ending] === status) ?? "other";
}

type Exchange = (
  url: string,
  request: Request,
  dispatcher: never,
) => Promise<{
  status: number;
  body: AsyncIterable<Uint8Array>;
  text(): Promise<string>;
  header: (name: string) => string | undefined;
}>;

const viaUndici: Exchange = async (url, { headers, body, signal }, dispatcher) => {
  const answer = await undiciRequest(url, {
    method: body === undefined ? "GET" : "PUT",
    headers: headers ?? {},
    body: body ?? null,
    signal: signal ?? null,
    dispatcher,
  });
  return {
    status: answer.statusCode,
    body: answer.body,
    text: () => answer.body.text(),
    header: (name) => answer.headers[name]?.toString(),
  };
};

const viaFetch: Exchange = async (url, { headers, body, signal }, dispatcher) => {
  const answer = await fetch(url, {
    method: body === undefined ? "GET" : "PUT",
    headers: headers ?? {},
    body: body ?? null,
    signal: signal ?? null,
    dispatcher: new Dispatcher1Wrapper(dispatcher),
  } as unknown as RequestInit);
  return {
    status: answer.status,
    body: answer.body as unknown as AsyncIterable<Uint8Array>,
    text: () => answer.text(),
    header: (name) => answer.headers.get(name) ?? undefined,
  };
};

const chunk = Buffer.alloc(64 * 1024, "z");
const chunks = 500;

function httpClient(name: string, exchange: Exchange, lacks: Readonly<Record<string, string>>): ClientAdapter {
  return {
    name,
    lacks: { "retry-on-trailing-status": "HTTP has no status behind its body", ...lacks },
    open(scope, config, identity, policy): ClientUnderTest {
      const world = clientWorld(config, identity, policy);
      scope.defer(() => world.close());
      const call = async (request: Request = {}): Promise<Reply> => {
        try {
          const answer = await exchange(
            `http://reviews:9090${request.path ?? "/shop.Reviews/One"}`,
            request,
            world.dispatcher as never,
          );
          return { ending: endingOf(answer.status), text: await answer.text(), header: answer.header };
        } catch (thrown) {
          // fetch wraps what it is told in a TypeError.
          const error = thrown instanceof MeshError ? thrown : ((thrown as Error).cause ?? thrown);
          return {
            ending: endingOf((error as { status?: number }).status ?? 0),
            text: "",
            error: request.signal?.aborted === true ? thrown : error,
          };
        }
      };
      return {
        call,
        publish: (next) => world.engine.publish(next),
        async readSlowly() {
          let written = 0;
          const server = http.createServer((_request, response) => {
            const more = (): void => {
              while (written < chunks) {
                written++;
                if (!response.write(chunk)) return void response.once("drain", more);
              }
              response.end();
            };
            more();
          });
          const address = await listen(server);
          scope.defer(() => server.close());
          const { body } = await exchange(`http://${address}/`, {}, world.dispatcher as never);
          const reader = body[Symbol.asyncIterator]();
          let bytes = (await reader.next()).value!.byteLength as number;
          const ahead = await settled(() => written);
          for (let each = await reader.next(); each.done !== true; each = await reader.next())
            bytes += each.value.byteLength;
          return { ahead, read: bytes / chunk.length, total: chunks };
        },
        get recorded() {
          return world.ended.map(recordOf);
        },
        asked: world.asked,
        get active() {
          return world.engine.active;
        },
      };
    },
    backend: async (scope, behaviour) => {
      const server = http.createServer((incoming, response) => void answer(behaviour, incoming, response));
      scope.defer(() => {
        server.close();
        server.closeAllConnections();
      });
      return listen(server);
    },
    secured: (scope, identity) => httpServers[0]!.serve(scope, identity),
  };
}

async function answer(
  behaviour: Behaviour,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  let body = "";
  for await (const part of incoming) body += String(part);
  const { ending, text } = await behaviour({
    path: incoming.url!,
    header: (name) => String(incoming.headers[name] ?? ""),
    authority: incoming.headers.host ?? "",
    body,
  });
  response.writeHead(statusOf[ending]);
  response.end(text);
}

/** A count that has stopped to grow. */
export async function settled(count: () => number): Promise<number> {
  for (let before = -1, now = count(); ; before = now, now = count()) {
    if (before === now) return now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The servers' own `protect` is that of their world. */
const mesh = { protect: <S>(server: S): S => server } as unknown as Mesh;

interface Frameworks {
  readonly "node-http": (listener: RequestListener) => Server | Promise<Server>;
  readonly express: Frameworks["node-http"];
  readonly fastify: Frameworks["node-http"];
}

const frameworks: Frameworks = {
  "node-http": (listener) => http.createServer(listener),
  express: (listener) => {
    const app = express();
    app.use((request, response) => listener(request, response));
    return serveExpress(mesh, app);
  },
  fastify: async (listener) => {
    const app = Fastify({ serverFactory: serverFactory(mesh) });
    app.all("/*", (request, reply) => {
      reply.hijack();
      listener(request.raw, reply.raw);
    });
    await app.ready();
    return app.server;
  },
};

function httpServer(name: keyof Frameworks): ServerAdapter {
  return {
    name,
    lacks: {},
    client: undici,
    async serve(scope, identity): Promise<ServerUnderTest> {
      const served: ServedRequest[] = [];
      let held: Promise<void> | undefined;
      const application: RequestListener = (incoming, response) => {
        served.push({ peer: peerOf(incoming)?.spiffeId, headers: Object.keys(incoming.headers) });
        incoming.resume();
        void Promise.resolve(held).then(() => response.end("served"));
      };
      const server = await frameworks[name](application);
      const world = await serverWorld(server, { identity });
      scope.defer(() => world.close());
      return {
        address: world.address,
        publish: (mode, filters = []) => world.publish(mode, filters as never),
        served,
        get recorded() {
          return world.ended.map((call) => ({
            ...recordOf(call),
            status: call.record.status,
            grpcStatus: call.record.grpcStatus,
            flag: call.record.flag,
          }));
        },
        get active() {
          return world.engine.active;
        },
        hold() {
          const { promise, resolve } = Promise.withResolvers<void>();
          held = promise;
          return () => {
            held = undefined;
            resolve();
          };
        },
        stop: (deadlineMs) => world.guard.stop(deadlineMs, 50),
      };
    },
    async plain(_scope, address, request = {}) {
      try {
        const response = await undiciFetch(`http://${address}${request.path ?? "/shop.Reviews/One"}`, {
          headers: { ...request.headers, connection: "close" },
        });
        return { ending: endingOf(response.status), text: await response.text() };
      } catch (error) {
        return { ending: "unavailable", text: "", error };
      }
    },
  };
}

const undici = httpClient("undici", viaUndici, {});

export const httpClients: readonly ClientAdapter[] = [
  undici,
  httpClient("fetch", viaFetch, {
    "retry-sends-the-body-again": "fetch hands every body on as a stream, which can be read once",
  }),
];
export const httpServers: readonly ServerAdapter[] = (Object.keys(frameworks) as (keyof Frameworks)[]).map(httpServer);
