import { once } from "node:events";
import http, { type RequestListener, type Server } from "node:http";
import http2, { type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { type MeshConfig, MeshError } from "@trama/engine";

import { meshAgents } from "../../../packages/sdk/src/adapters/http-agent.ts";
import { clientWorld } from "../../../packages/sdk/test/client-world.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../kit/mesh-config.ts";
import { settled } from "../../kit/until.ts";
import type { Behaviour, ClientAdapter, ClientUnderTest, Reply, Request, Scope, ServerAdapter } from "./adapter.ts";
import { type HttpLibrary, viaFetch, viaHttp, viaHttps, viaUndici } from "./http-exchanges.ts";
import { endingOf, statusOf } from "./http-statuses.ts";
import { recordOf } from "./record.ts";

const chunk = Buffer.alloc(64 * 1024, "z");
const chunks = 500;

interface ClientOptions {
  readonly library: HttpLibrary;
  /** Every cluster is one of HTTP/2, and so are the servers. */
  readonly http2?: boolean;
  readonly lacks: Readonly<Record<string, string>>;
  readonly secured: ServerAdapter["serve"];
}

function httpClient(name: string, { library, http2: overHttp2 = false, lacks, secured }: ClientOptions): ClientAdapter {
  const adapted = (config: MeshConfig): MeshConfig =>
    overHttp2
      ? { ...config, clusters: new Map([...config.clusters].map(([key, value]) => [key, { ...value, http2: true }])) }
      : config;
  const serve = (scope: Scope, application: RequestListener): Promise<string> =>
    overHttp2 ? serveHttp2(scope, application) : serveHttp1(scope, application);
  return {
    name,
    lacks: { "retry-on-trailing-status": "HTTP has no status behind its body", ...lacks },
    open(scope, config, identity, policy): ClientUnderTest {
      const world = clientWorld(adapted(config), identity, policy);
      const agents = meshAgents(world.dispatcher, policy ?? "ALLOW_ANY");
      const entrances = { dispatcher: world.dispatcher, agents };
      scope.defer(() => {
        agents.http.destroy();
        agents.https.destroy();
        return world.close();
      });
      const call = async (request: Request = {}): Promise<Reply> => {
        try {
          const answer = await library.send(
            `http://reviews:9090${request.path ?? "/shop.Reviews/One"}`,
            request,
            entrances,
          );
          const { status, header, interim } = answer;
          const text = await answer.text();
          return { ending: endingOf(status), text, header, interim, trailers: answer.trailers?.() };
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
      const publish = (next: MeshConfig): void => world.engine.publish(adapted(next));
      return {
        call,
        publish,
        upgrade: (word) => library.upgrade!("http://reviews:9090/", word, entrances),
        async readSlowly() {
          let written = 0;
          const address = await serve(scope, (_request, response) => {
            const more = (): void => {
              while (written < chunks) {
                written++;
                if (!response.write(chunk)) return void response.once("drain", more);
              }
              response.end();
            };
            more();
          });
          publish(
            meshConfig({
              outbound: [listener("reviews:9090", [route(forward("c"))])],
              clusters: [cluster("c", { endpoints: [endpoint(address)] })],
            }),
          );
          const { body } = await library.send("http://reviews:9090/", {}, entrances);
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
    backend: (scope, behaviour) => serve(scope, (incoming, response) => void answer(behaviour, incoming, response)),
    secured,
  };
}

async function serveHttp1(scope: Scope, application: RequestListener): Promise<string> {
  const server = http.createServer(application);
  server.on("upgrade", (_request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n");
    socket.once("data", (word: Buffer) => socket.end(word.toString().toUpperCase()));
  });
  scope.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  return listen(server);
}

async function serveHttp2(scope: Scope, application: RequestListener): Promise<string> {
  const server = http2.createServer(application as never);
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  scope.defer(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return listen(server);
}

async function answer(
  behaviour: Behaviour,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  let body = "";
  for await (const part of incoming) body += String(part);
  const { ending, text, interim, trailers } = await behaviour({
    path: incoming.url!,
    header: (name) => String(incoming.headers[name] ?? ""),
    authority: incoming.headers.host ?? String(incoming.headers[":authority"] ?? ""),
    body,
  });
  if (interim !== undefined) response.writeEarlyHints({ link: "</a.css>; rel=preload" });
  response.writeHead(statusOf[ending]);
  if (trailers !== undefined) {
    response.write(text);
    response.addTrailers(trailers as http.OutgoingHttpHeaders);
    response.end();
  } else response.end(text);
}

export async function listen(server: Server | Http2Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Each with the server that its mTLS scenarios call. */
export function httpClients(secured: ServerAdapter["serve"]): Readonly<
  Record<"undici" | "undiciHttp2", ClientAdapter>
> & {
  readonly all: readonly ClientAdapter[];
} {
  const onceOnly = {
    "retry-sends-a-streamed-body-again": "a stream that undici is given is read once; fetch's and node:http's are kept",
  };
  const undici = httpClient("undici", { library: viaUndici, lacks: onceOnly, secured });
  const undiciHttp2 = httpClient("undici-http2", {
    library: viaUndici,
    http2: true,
    lacks: {
      ...onceOnly,
      upgrade: "upgrades go over HTTP/1.1, and this scenario's server speaks HTTP/2 only",
      "opaque-port": "what is in such a connection is the client's own, and without TLS undici speaks HTTP/1.1",
    },
    secured,
  });
  const fetchClient = httpClient("fetch", {
    library: viaFetch,
    lacks: {
      "interim-answer": "fetch does not tell of interim answers",
      "trailers-of-the-answer": "fetch does not tell of trailers",
      upgrade: "fetch has no upgrades; WebSocket goes through the dispatcher",
    },
    secured,
  });
  const node = httpClient("node:http", { library: viaHttp, lacks: {}, secured });
  const nodeTls = httpClient("node:https", {
    library: viaHttps,
    lacks: { "opaque-port": "TLS in such a connection is the client's own, and this scenario's server has none" },
    secured,
  });
  return { undici, undiciHttp2, all: [undici, undiciHttp2, fetchClient, node, nodeTls] };
}
