import { once } from "node:events";
import http, { type RequestListener, type Server } from "node:http";
import http2, { type Http2Server } from "node:http2";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { createEngine, type Call } from "@trama/engine";
import express from "express";
import Fastify from "fastify";
import { fetch as undiciFetch } from "undici";

import { peerOf } from "../../../packages/sdk/src/adapters/connection.ts";
import { serve as serveExpress } from "../../../packages/sdk/src/adapters/express.ts";
import { serverFactory } from "../../../packages/sdk/src/adapters/fastify.ts";
import { guarded } from "../../../packages/sdk/src/adapters/middleware.ts";
import { createClock } from "../../../packages/sdk/src/env/clock.ts";
import { compileRegex } from "../../../packages/sdk/src/env/regex.ts";
import { internals } from "../../../packages/sdk/src/internals.ts";
import type { Mesh } from "../../../packages/sdk/src/mesh-types.ts";
import { inboundConfig, serverWorld } from "../../../packages/sdk/test/server-world.ts";
import type { TestIdentity } from "../../kit/identity.ts";
import { meshConfig } from "../../kit/mesh-config.ts";
import type { ClientAdapter, Request, Reply, Scope, ServedRequest, ServerAdapter, ServerUnderTest } from "./adapter.ts";
import { httpClients as clientsOf } from "./http-clients.ts";
import { endingOf } from "./http-statuses.ts";
import { handedOn, recordOf } from "./record.ts";

/** The servers' own `protect` is that of their world. */
const mesh = { protect: <S>(server: S): S => server } as unknown as Mesh;

type Framework = (listener: RequestListener) => Server | Http2Server | Promise<Server>;

const nodeHttp: Framework = (listener) => http.createServer(listener);
const nativeHttp2: Framework = (listener) => http2.createServer(listener as never);
const expressApp: Framework = (listener) => {
  const app = express();
  app.use((request, response) => listener(request, response));
  return serveExpress(mesh, app);
};
const fastifyApp: Framework = async (listener) => {
  const app = Fastify({ serverFactory: serverFactory(mesh) });
  app.all("/*", (request, reply) => {
    reply.hijack();
    listener(request.raw, reply.raw);
  });
  await app.ready();
  return app.server;
};

/** Answers `served`, at once or when it is let. */
class Application {
  readonly served: ServedRequest[] = [];
  #held: Promise<void> | undefined;

  readonly listener: RequestListener = (incoming, response) => {
    this.served.push({ peer: peerOf(incoming)?.spiffeId, headers: Object.keys(incoming.headers), handsOn: handedOn() });
    incoming.resume();
    void Promise.resolve(this.#held).then(() => response.end("served"));
  };

  readonly hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held = promise;
    return () => {
      this.#held = undefined;
      resolve();
    };
  };
}

const recorded = (ended: readonly Call[]): ServerUnderTest["recorded"] =>
  ended.map((call) => ({
    ...recordOf(call),
    status: call.record.status,
    grpcStatus: call.record.grpcStatus,
    flag: call.record.flag,
  }));

async function protect(framework: Framework, scope: Scope, identity: TestIdentity): Promise<ServerUnderTest> {
  const application = new Application();
  const world = await serverWorld(await framework(application.listener), { identity });
  scope.defer(() => world.close());
  return {
    address: world.address,
    publish: (mode, filters = []) => world.publish(mode, filters as never),
    served: application.served,
    get recorded() {
      return recorded(world.ended);
    },
    get active() {
      return world.engine.active;
    },
    hold: application.hold,
    stop: (deadlineMs) => world.guard.stop(deadlineMs, 50),
  };
}

/** An `https.Server` of the application's own, with the certificate of the mesh and its roots, and the middleware first. */
async function guard(scope: Scope, identity: TestIdentity): Promise<ServerUnderTest> {
  const application = new Application();
  const clock = createClock();
  const ended: Call[] = [];
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const telemetry = { onCall: (call: Call) => void ended.push(call) };
  const engine = createEngine({ clock, random: () => 0.5, telemetry, log, regex: compileRegex });
  const own = {} as Mesh;
  const discovery = { inbound: () => Promise.resolve("found") };
  internals.set(own, { engine, identity, clock, log, discovery, open: true } as never);
  const { keyPem: key, chainPem: cert, rootsPem } = identity.current;
  const tls = { key, cert, ca: [...rootsPem], requestCert: true, rejectUnauthorized: true };
  const server = https.createServer(tls, guarded(own, application.listener));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  scope.defer(() => {
    server.closeAllConnections();
    server.close();
    clock.close();
  });
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    address,
    publish: (mode, filters = []) =>
      engine.publish(meshConfig({ inbound: [inboundConfig(address, mode, filters as never)] })),
    served: application.served,
    get recorded() {
      return recorded(ended);
    },
    get active() {
      return engine.active;
    },
    hold: application.hold,
    stop: () => Promise.reject(new Error("the application stops its own listener")),
  };
}

async function plainHttp1(_scope: Scope, address: string, request: Request = {}): Promise<Reply> {
  try {
    const response = await undiciFetch(`http://${address}${request.path ?? "/shop.Reviews/One"}`, {
      method: request.method ?? "GET",
      headers: { ...request.headers, connection: "close" },
    });
    const header = (name: string): string | undefined => response.headers.get(name) ?? undefined;
    return { ending: endingOf(response.status), text: await response.text(), header };
  } catch (error) {
    return { ending: "unavailable", text: "", error };
  }
}

async function plainHttp2(_scope: Scope, address: string, request: Request = {}): Promise<Reply> {
  const session = http2.connect(`http://${address}`);
  try {
    return await new Promise<Reply>((resolve) => {
      const failed = (error: Error): void => resolve({ ending: "unavailable", text: "", error });
      session.on("error", failed);
      session.on("close", () => failed(new Error("closed")));
      const stream = session.request({
        ":method": request.method ?? "GET",
        ":path": request.path ?? "/shop.Reviews/One",
        ":authority": "reviews",
        ...request.headers,
      });
      // Of GET Node knows that there is no body.
      stream.end();
      let status = 0;
      let text = "";
      let answered: http2.IncomingHttpHeaders = {};
      const header = (name: string): string | undefined => answered[name]?.toString();
      stream.on("error", failed);
      stream.on("response", (headers) => {
        answered = headers;
        status = Number(headers[":status"]);
      });
      stream.on("data", (part: Buffer) => (text += part.toString()));
      stream.on("end", () => resolve({ ending: status === 0 ? "unavailable" : endingOf(status), text, header }));
    });
  } finally {
    session.destroy();
  }
}

function protectedServer(name: string, framework: Framework, client: ClientAdapter, overHttp2: boolean): ServerAdapter {
  return {
    name,
    lacks: {},
    client,
    serve: (scope, identity) => protect(framework, scope, identity),
    plain: overHttp2 ? plainHttp2 : plainHttp1,
  };
}

const clients = clientsOf((scope, identity) => protect(nodeHttp, scope, identity));

export const httpClients: readonly ClientAdapter[] = clients.all;

const ownPort = "its port speaks the application's own TLS, and nothing else";

export const httpServers: readonly ServerAdapter[] = [
  protectedServer("node-http", nodeHttp, clients.undici, false),
  protectedServer("express", expressApp, clients.undici, false),
  protectedServer("fastify", fastifyApp, clients.undici, false),
  protectedServer("node-http-h2", nodeHttp, clients.undiciHttp2, true),
  protectedServer("express-h2", expressApp, clients.undiciHttp2, true),
  protectedServer("fastify-h2", fastifyApp, clients.undiciHttp2, true),
  protectedServer("http2-native", nativeHttp2, clients.undiciHttp2, true),
  {
    name: "middleware",
    lacks: {
      "permissive-takes-both": ownPort,
      "internal-fields-removed": `${ownPort}; its own tests show it`,
      "policy-reaches-live-connections": `${ownPort}, so there is no PERMISSIVE to begin with; requests are judged by the policy in force`,
      "drain-loses-no-call": "the application stops its own listener",
      "certificate-renewal-fails-no-call": "the certificate of the application's own TLS is its own affair",
      "browsers-are-told-what-they-may-read": ownPort,
    },
    client: clients.undici,
    serve: guard,
    plain: plainHttp1,
  },
];
