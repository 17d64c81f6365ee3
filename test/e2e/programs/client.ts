import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import { fetch as undiciFetch, request as undiciRequest, setGlobalDispatcher } from "undici";
import { joinMesh, type MeshStatus } from "trama";
import { agents } from "trama/http";
import { socket } from "trama/tcp";
import { answer, failureOf, notReady, ready, type Failure } from "../harness/rpc.ts";
import { load, type Fetch, type Load, type LoadOptions, type Tally } from "./load.ts";
import { memoryUse, watchMemory, type MemoryUse } from "./memory.ts";

/** A caller of the mesh under test, driven by the test. */

/** The ways into the mesh that applications have. */
export type Via =
  | "mesh.fetch"
  | "undici.request"
  | "undici.fetch"
  | "built-in fetch"
  | "undici.request, global"
  | "node:http";

export interface CallOptions {
  readonly url: string;
  readonly via?: Via;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The body as a stream of so many bytes, which cannot be sent twice. */
  readonly streamBytes?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface Aborted {
  /** Whether what the caller got is the very object that it aborted with. */
  readonly ownReason: boolean;
  readonly failure: Failure | undefined;
}

export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
  /** Sent as it is; the answer is a line. Nothing: the server speaks first. */
  readonly say?: string;
  /** By the stream of `trama/tcp` instead of the socket itself. */
  readonly stream?: boolean;
}

export interface TransferOptions {
  readonly url: string;
  readonly via: Via;
  readonly bytes: number;
}

const chunk = Buffer.alloc(65_536, "x");

const mesh = await joinMesh().catch((error: unknown) => {
  notReady(error);
  throw error;
});
// A test that failed leaves calls behind: they must not hold the file up.
mesh.closeOnSignals({ deadlineMs: 3_000 });
const loads = new Map<number, Load>();
const held = new Map<
  number,
  { readonly abort: AbortController; readonly reason: Error; readonly end: Promise<unknown> }
>();
let numbers = 0;
/** Bytes that the upload under way has handed over so far. */
let produced = 0;

const meshFetch: Fetch = (url, init) => mesh.fetch(url, init);

function* pieces(bytes: number): Generator<Uint8Array> {
  produced = 0;
  for (let left = bytes; left > 0; left -= chunk.length) {
    const piece = left < chunk.length ? chunk.subarray(0, left) : chunk;
    produced += piece.length;
    yield piece;
  }
}

interface Opened {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** The same request through whichever door. */
async function open(
  { url, via = "mesh.fetch", method = "GET", headers = {}, body, streamBytes }: CallOptions,
  signal?: AbortSignal,
): Promise<Opened> {
  const aborts = signal === undefined ? {} : { signal };
  if (via === "undici.request" || via === "undici.request, global") {
    const response = await undiciRequest(url, {
      method: method as "GET",
      headers: { ...headers },
      body: streamBytes === undefined ? (body ?? null) : Readable.from(pieces(streamBytes)),
      ...aborts,
      ...(via === "undici.request" ? { dispatcher: mesh.dispatcher } : {}),
    });
    const flat = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
    return { status: response.statusCode, headers: Object.fromEntries(flat), body: response.body };
  }
  if (via === "node:http") {
    const secure = url.startsWith("https:");
    const agent = secure ? agents(mesh).https : agents(mesh).http;
    const request = (secure ? https : http).request(url, { method, headers, agent, ...aborts });
    const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
    if (streamBytes === undefined) request.end(body);
    else Readable.from(pieces(streamBytes)).pipe(request);
    const [response] = await answered;
    const flat = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
    return { status: response.statusCode!, headers: Object.fromEntries(flat), body: response };
  }
  const init = {
    method,
    headers: { ...headers },
    ...aborts,
    ...(body === undefined ? {} : { body }),
    ...(streamBytes === undefined ? {} : { body: ReadableStream.from(pieces(streamBytes)), duplex: "half" as const }),
  };
  const response =
    via === "mesh.fetch"
      ? await mesh.fetch(url, init as RequestInit)
      : via === "built-in fetch"
        ? await fetch(url, init as RequestInit)
        : await undiciFetch(url, { ...(init as object), dispatcher: mesh.dispatcher });
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: (response.body ?? []) as unknown as AsyncIterable<Uint8Array>,
  };
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Reads to the end and keeps nothing, with a pause after each chunk. */
async function read(body: AsyncIterable<Uint8Array>, pauseMs: number = 0): Promise<number> {
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return bytes;
}

const methods = {
  call: async (options: CallOptions): Promise<Answer> => {
    const { status, headers, body } = await open(options);
    return { status, headers, text: await textOf(body) };
  },
  /** A call that may fail: its answer or its error, and how long that took. */
  attempt: async (options: CallOptions): Promise<{ answer?: Answer; failure?: Failure; tookMs: number }> => {
    const startMs = performance.now();
    try {
      const { status, headers, body } = await open(options);
      return { answer: { status, headers, text: await textOf(body) }, tookMs: performance.now() - startMs };
    } catch (error) {
      return { failure: failureOf(error), tookMs: performance.now() - startMs };
    }
  },
  /** A line of the other end, over a connection to an opaque port. */
  connect: async (options: ConnectionOptions): Promise<{ line?: string; failure?: Failure }> => {
    try {
      const { host, port, servername, say, stream } = options;
      const to = { host, port, ...(servername !== undefined && { servername }) };
      const connection = stream === true ? socket(mesh, to) : await mesh.connect(to);
      if (say !== undefined) connection.write(say);
      let line = "";
      for await (const chunk of connection) if ((line += String(chunk)).endsWith("\n")) break;
      return { line: line.trimEnd() };
    } catch (error) {
      return { failure: failureOf(error) };
    }
  },
  /** So many requests, to their end. */
  burst: (options: LoadOptions & { readonly count: number }): Promise<Tally> => load(meshFetch, options).done,
  startLoad: (options: LoadOptions): number => {
    loads.set(++numbers, load(meshFetch, options));
    return numbers;
  },
  tally: (id: number): Tally => loads.get(id)!.tally,
  stopLoad: async (id: number): Promise<Tally> => {
    const tally = await loads.get(id)!.stop();
    loads.delete(id);
    return tally;
  },
  /** Starts a call and keeps it until `abort`. */
  hold: (options: CallOptions & { readonly readPauseMs?: number }): number => {
    const abort = new AbortController();
    const reason = new Error("the caller's own reason");
    const end = open(options, abort.signal)
      .then(({ body }) => read(body, options.readPauseMs))
      .then(
        () => undefined,
        (error: unknown) => error ?? new Error("rejected with nothing"),
      );
    held.set(++numbers, { abort, reason, end });
    return numbers;
  },
  abort: async (id: number): Promise<Aborted> => {
    const { abort, reason, end } = held.get(id)!;
    held.delete(id);
    abort.abort(reason);
    const error = await end;
    return { ownReason: error === reason, failure: error === undefined ? undefined : failureOf(error) };
  },
  upload: async ({ url, via, bytes }: TransferOptions): Promise<Answer> => {
    const { status, headers, body } = await open({ url, via, method: "POST", streamBytes: bytes });
    return { status, headers, text: await textOf(body) };
  },
  produced: (): number => produced,
  download: async ({ url, via }: TransferOptions): Promise<number> => read((await open({ url, via })).body),
  catchBuiltInFetch: (): void => setGlobalDispatcher(mesh.dispatcher),
  watchMemory: (): void => watchMemory(),
  memory: (): MemoryUse => memoryUse(),
  status: (): MeshStatus => mesh.status(),
  metrics: (): Promise<string> => mesh.metricsText(),
  close: (): Promise<void> => mesh.close(),
};
export type ClientMethods = typeof methods;

answer(methods);
ready();
