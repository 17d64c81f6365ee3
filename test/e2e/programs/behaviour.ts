import type { IncomingMessage, ServerResponse } from "node:http";
import { chain, type Fetch } from "./load.ts";

/** What the service saw and did: the truth that tests compare with what clients believe. */
export interface Stats {
  /** Times that a handler ran, by `<method> <path>`. */
  readonly served: Record<string, number>;
  /** Times that a request body arrived whole, by `<method> <path>`. */
  readonly bodies: Record<string, number>;
  readonly bodyBytes: number;
  /** Requests whose caller went away before the answer was complete, by `<method> <path>`. */
  readonly aborted: Record<string, number>;
  /** Upgrades that reached the application. */
  readonly upgrades: number;
  /** Whoever called, by SPIFFE id; `nobody` for plaintext. */
  readonly peers: Record<string, number>;
  /** Serial numbers of the client certificates seen, in order of first sight. */
  readonly clientSerials: string[];
  /** Requests in the handler right now. */
  readonly open: number;
}

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function emptyStats(): Mutable<Stats> {
  return { served: {}, bodies: {}, bodyBytes: 0, aborted: {}, upgrades: 0, peers: {}, clientSerials: [], open: 0 };
}

export function count(counts: Record<string, number>, key: string): number {
  return (counts[key] = (counts[key] ?? 0) + 1);
}

/** How the generic service answers: the path says what goes wrong, the query by how much. */
export function behave(
  stats: Mutable<Stats>,
  version: string,
  peer: string | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  fetch: Fetch,
): void {
  const url = new URL(request.url ?? "/", "http://service");
  const key = `${request.method} ${url.pathname}`;
  const nth = count(stats.served, key);
  count(stats.peers, peer ?? "nobody");
  noteSerial(stats, request);
  stats.open++;
  response.setHeader("x-version", version);
  response.once("close", () => {
    stats.open--;
    if (!response.writableFinished) count(stats.aborted, key);
  });
  const number = (name: string, otherwise: number): number => Number(url.searchParams.get(name) ?? otherwise);

  switch (url.pathname) {
    case "/flaky":
      // Every n-th answer is a 503.
      consume(stats, key, request, () => {
        if (nth % number("every", 2) === 0) response.writeHead(503).end("flaky");
        else reply(response, { version, nth });
      });
      return;
    case "/status":
      consume(stats, key, request, () => response.writeHead(number("code", 200)).end("as you wish"));
      return;
    case "/hang":
      request.resume();
      return;
    case "/slow":
      consume(stats, key, request, () => void setTimeout(() => reply(response, { version }), number("ms", 100)));
      return;
    case "/cut":
      // The worst moment: the body is here, the answer is not.
      consume(stats, key, request, () => request.socket.destroy());
      return;
    case "/drip": {
      response.writeHead(200);
      const timer = setInterval(() => response.write("drip"), 20);
      response.once("close", () => clearInterval(timer));
      return;
    }
    case "/stream":
      stream(response, number("bytes", 1), Buffer.alloc(number("chunk", 65_536), "x"));
      return;
    case "/relay":
      // A service in the middle: its answer is that of the service it asks.
      consume(stats, key, request, () => void relay(response, fetch, url.searchParams.get("url") ?? ""));
      return;
    case "/sip":
      sip(stats, request, number("pauseMs", 10));
      return;
    default:
      consume(stats, key, request, (bytes) =>
        reply(response, {
          version,
          peer: peer ?? null,
          method: request.method,
          path: request.url,
          headers: request.headers,
          // What was agreed in the TLS handshake.
          protocol: (request.socket as { alpnProtocol?: string | false }).alpnProtocol,
          bytes,
        }),
      );
  }
}

function reply(response: ServerResponse, value: unknown): void {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
}

/** Reads the body to its end, without keeping it. */
function consume(stats: Mutable<Stats>, key: string, request: IncomingMessage, then: (bytes: number) => void): void {
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    stats.bodyBytes += chunk.length;
  });
  request.on("end", () => {
    if (bytes > 0) count(stats.bodies, key);
    then(bytes);
  });
}

/** Writes so many bytes, no faster than the caller reads. */
function stream(response: ServerResponse, bytes: number, chunk: Buffer): void {
  let left = bytes;
  const write = (): void => {
    while (left > 0) {
      const piece = left < chunk.length ? chunk.subarray(0, left) : chunk;
      left -= piece.length;
      if (!response.write(piece)) {
        if (left > 0) response.once("drain", write);
        else response.end();
        return;
      }
    }
    response.end();
  };
  write();
}

async function relay(response: ServerResponse, fetch: Fetch, url: string): Promise<void> {
  try {
    const answer = await fetch(url);
    response.writeHead(answer.status).end(await answer.text());
  } catch (error) {
    response.writeHead(502).end(chain(error));
  }
}

let hurried = false;
/** No more pauses: what is still in the buffers of a caller that left is soon read. */
export function hurry(): void {
  hurried = true;
}

/** Reads a chunk, and takes its time before the next one: the sender must wait. */
function sip(stats: Mutable<Stats>, request: IncomingMessage, pauseMs: number): void {
  hurried = false;
  request.on("data", (chunk: Buffer) => {
    stats.bodyBytes += chunk.length;
    if (hurried) return;
    request.pause();
    setTimeout(() => request.resume(), pauseMs);
  });
}

/** The certificate that the caller showed on this connection. */
function noteSerial(stats: Mutable<Stats>, request: IncomingMessage): void {
  const { socket } = request as unknown as {
    socket: { getPeerCertificate?: () => { serialNumber?: string } };
  };
  const serial = socket.getPeerCertificate?.().serialNumber;
  if (serial !== undefined && !stats.clientSerials.includes(serial)) stats.clientSerials.push(serial);
}
