import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { canonicalHost } from "@trama/engine";

import { http } from "../env/node-http.ts";
import type { PipeSocket } from "./pipe-socket.ts";
import { own, ownerListener, type StreamOwner } from "./stream-owner.ts";

/** Fields of one HTTP/1.1 connection, which an HTTP/2 answer must not have (RFC 9113 §8.2.2). */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** Connections inside the process to the server behind. */
export interface BridgePipes {
  /** Keeps those that are free for the next request. */
  readonly agent: Agent;
  /** One that ends with its request. */
  once(): PipeSocket;
}

/** One stream, spoken on as an HTTP/1.1 request over a pipe, and its answer brought back. */
export class BridgedStream implements StreamOwner {
  readonly #stream: ServerHttp2Stream;
  readonly #pipes: BridgePipes;
  #request: ClientRequest | undefined = undefined;
  #response: IncomingMessage | undefined = undefined;

  constructor(stream: ServerHttp2Stream, pipes: BridgePipes) {
    this.#stream = stream;
    this.#pipes = pipes;
    own(stream, this);
  }

  closed(): void {
    this.#request?.destroy();
  }

  static readonly #trailed = ownerListener<BridgedStream, [IncomingHttpHeaders, number, string[]]>(
    (owner, _fields, _flags, raw) => owner.#onTrailers(raw),
  );
  static readonly #drained = ownerListener<BridgedStream, []>((owner) => owner.#response?.resume());
  static readonly #trailersWanted = ownerListener<BridgedStream, []>((owner) => owner.#sendTrailers());

  /** Speaks the request, or answers the stream here: not every one could be said in HTTP/1.1. */
  begin(headers: IncomingHttpHeaders, raw: readonly string[]): void {
    const method = headers[":method"] ?? "";
    // Also HTTP/2's own way to switch protocols (RFC 8441), which is not offered.
    if (method === "CONNECT") return this.#refuse(501, "CONNECT is not served here");
    const fields = toHttp1(headers, raw);
    if (typeof fields === "string") return this.#refuse(400, fields);
    const body = !this.#stream.endAfterHeaders;
    // A body whose length nobody said must be framed, whatever the method: otherwise it would be read as the next request.
    if (body && headers["content-length"] === undefined) fields.push("transfer-encoding", "chunked");
    let request: ClientRequest;
    try {
      request = new http.ClientRequest({
        method,
        path: headers[":path"] ?? "",
        headers: fields,
        setHost: false,
        // A body, and with it every doubt about where a request ends, has a connection to itself.
        ...(body ? { createConnection: () => this.#pipes.once().socket } : { agent: this.#pipes.agent }),
        maxHeaderSize: 1024 * 1024,
      });
    } catch (thrown) {
      return this.#refuse(400, (thrown as Error).message);
    }
    this.#request = request;
    request.on("response", (response) => this.#respond(response));
    // 100 as well.
    request.on("information", ({ statusCode, rawHeaders }) => this.#inform(statusCode, rawHeaders));
    // The server closed without an answer: by policy, an injected fault, or the application's own will.
    request.on("error", () => this.#cut());
    this.#stream.on("trailers", BridgedStream.#trailed);
    if (body) this.#stream.pipe(request);
    else request.end();
  }

  #respond(response: IncomingMessage): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.headersSent) return;
    const trailing = response.headers["transfer-encoding"] !== undefined;
    this.#attempt(() =>
      stream.respond(toHttp2(response.rawHeaders, response.statusCode ?? 500), { waitForTrailers: trailing }),
    );
    if (!stream.headersSent) return;
    response.on("error", () => this.#cut());
    if (stream.writableEnded) {
      response.resume();
      return;
    }
    this.#response = response;
    if (trailing) stream.on("wantTrailers", BridgedStream.#trailersWanted);
    // What `pipe` does, without its listeners for streams of which nothing is known.
    response.on("data", (chunk: Buffer) => {
      if (!stream.write(chunk)) response.pause();
    });
    stream.on("drain", BridgedStream.#drained);
    response.on("end", () => stream.end());
  }

  #onTrailers(raw: readonly string[]): void {
    const request = this.#request;
    if (request === undefined || request.writableEnded || raw.length === 0) return;
    this.#attempt(() => request.addTrailers(pairs(raw)));
  }

  #sendTrailers(): void {
    this.#attempt(() => this.#stream.sendTrailers(toHttp2(this.#response?.rawTrailers ?? [])));
  }

  #inform(status: number, rawHeaders: readonly string[]): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.headersSent) return;
    this.#attempt(() => stream.additionalHeaders(toHttp2(rawHeaders, status)));
  }

  /** What one side takes and the other refuses, in fields that a handler or a peer made up, ends the stream and nothing else. */
  #attempt(write: () => void): void {
    try {
      write();
    } catch {
      this.#cut();
    }
  }

  #cut(): void {
    if (!this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  #refuse(status: number, text: string): void {
    this.#stream.respond({ ":status": status, "content-type": "text/plain" });
    this.#stream.end(`${text}\n`);
  }
}

/**
 * The fields as HTTP/1.1 has them: `host` for `:authority`, one `cookie` (RFC 9113 §8.2.3). Text says why there is no such request:
 * both names of the host are there and differ (dataplane.md §23 rule 3).
 */
function toHttp1(headers: IncomingHttpHeaders, raw: readonly string[]): string[] | string {
  const { ":authority": authority, host } = headers;
  if (authority !== undefined && host !== undefined && authority !== host) {
    const [one, other] = [canonicalHost(authority), canonicalHost(host)];
    if (!one.ok || !other.ok || one.host !== other.host) return "host and :authority differ";
  }
  const fields = ["host", authority ?? host ?? ""];
  let cookie = -1;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    if (name.startsWith(":") || name === "host") continue;
    if (name === "cookie" && cookie >= 0) {
      fields[cookie] += `; ${raw[i + 1]!}`;
      continue;
    }
    fields.push(name, raw[i + 1]!);
    if (name === "cookie") cookie = fields.length - 1;
  }
  return fields;
}

function toHttp2(raw: readonly string[], status?: number): OutgoingHttpHeaders {
  const fields = Object.create(null) as Record<string, number | string | string[]>;
  if (status !== undefined) fields[":status"] = status;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    const value = raw[i + 1]!;
    if (hopByHop.has(name)) continue;
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else fields[name] = [String(before), value];
  }
  return fields;
}

function pairs(raw: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) list.push([raw[i]!, raw[i + 1]!]);
  return list;
}
