import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import { request as undiciRequest, upgrade as undiciUpgrade } from "undici";

import type { MeshAgents } from "../../../packages/sdk/src/adapters/http-agent.ts";
import type { MeshDispatcher } from "../../../packages/sdk/src/adapters/undici.ts";
import { Dispatcher1Wrapper } from "../../../packages/sdk/src/undici-parts.ts";
import type { Request } from "./adapter.ts";

/** What a client library is led into the mesh by. */
export interface Entrances {
  readonly dispatcher: MeshDispatcher;
  readonly agents: MeshAgents;
}

export interface Answer {
  readonly status: number;
  readonly body: AsyncIterable<Uint8Array>;
  text(): Promise<string>;
  readonly header: (name: string) => string | undefined;
  /** Once the body was read. */
  trailers?(): Readonly<Record<string, unknown>>;
  readonly interim?: readonly number[];
}

/** How a library sends a request. */
export interface HttpLibrary {
  send(url: string, request: Request, entrances: Entrances): Promise<Answer>;
  /** Switches to the protocol `shout`, says a word, and returns what comes back; absent where the library cannot. */
  upgrade?(url: string, word: string, entrances: Entrances): Promise<string>;
}

const methodOf = ({ method, body }: Request): string => method ?? (body === undefined ? "GET" : "PUT");

const streamed = (body: string): Readable => Readable.from(body.split("").map((letter) => Buffer.from(letter)));

export const viaUndici: HttpLibrary = {
  async send(url, request, { dispatcher }) {
    const { headers, body, signal, streams } = request;
    const interim: number[] = [];
    const answer = await undiciRequest(url, {
      method: methodOf(request) as "GET",
      headers: headers ?? {},
      body: body === undefined ? null : streams === true ? streamed(body) : body,
      signal: signal ?? null,
      dispatcher,
      onInfo: ({ statusCode }: { statusCode: number }) => void interim.push(statusCode),
    } as never);
    return {
      status: answer.statusCode,
      body: answer.body,
      text: () => answer.body.text(),
      header: (name) => answer.headers[name]?.toString(),
      trailers: () => answer.trailers,
      interim,
    };
  },
  async upgrade(url, word, { dispatcher }) {
    const { socket } = await undiciUpgrade(url, { protocol: "shout", dispatcher });
    socket.write(word);
    return readAll(socket);
  },
};

export const viaFetch: HttpLibrary = {
  async send(url, request, { dispatcher }) {
    const { headers, body, signal, streams } = request;
    const answer = await fetch(url, {
      method: methodOf(request),
      headers: headers ?? {},
      body: body === undefined ? null : streams === true ? Readable.toWeb(streamed(body)) : body,
      duplex: "half",
      signal: signal ?? null,
      dispatcher: new Dispatcher1Wrapper(dispatcher),
    } as unknown as RequestInit);
    return {
      status: answer.status,
      body: answer.body as unknown as AsyncIterable<Uint8Array>,
      text: () => answer.text(),
      header: (name) => answer.headers.get(name) ?? undefined,
    };
  },
};

function viaNode(module: typeof http | typeof https, scheme: "http" | "https"): HttpLibrary {
  const make = (url: string, options: http.RequestOptions, { agents }: Entrances): http.ClientRequest =>
    module.request(url.replace(/^http/, scheme), { ...options, agent: agents[scheme] });
  return {
    send(url, request, entrances) {
      const { headers, body, signal, streams } = request;
      return new Promise((resolve, reject) => {
        const made = make(url, { method: methodOf(request), headers: headers ?? {} }, entrances);
        const interim: number[] = [];
        made.on("error", reject);
        made.on("information", ({ statusCode }) => interim.push(statusCode));
        made.on("response", (response) =>
          resolve({
            status: response.statusCode!,
            body: response,
            text: () => readAll(response),
            header: (name) => response.headers[name]?.toString(),
            trailers: () => response.trailers,
            interim,
          }),
        );
        // The way of this client to give a reason.
        signal?.addEventListener("abort", () => made.destroy(signal.reason as Error));
        if (body !== undefined && streams === true) streamed(body).pipe(made);
        else made.end(body);
      });
    },
    upgrade(url, word, entrances) {
      return new Promise((resolve, reject) => {
        const made = make(url, { headers: { connection: "upgrade", upgrade: "shout" } }, entrances);
        made.on("error", reject);
        made.on("upgrade", (_response, socket, head) => {
          socket.write(word);
          socket.unshift(head);
          readAll(socket).then(resolve, reject);
        });
        made.end();
      });
    },
  };
}

export const viaHttp: HttpLibrary = viaNode(http, "http");
export const viaHttps: HttpLibrary = viaNode(https, "https");

async function readAll(source: AsyncIterable<unknown>): Promise<string> {
  let text = "";
  for await (const chunk of source) text += String(chunk);
  return text;
}
