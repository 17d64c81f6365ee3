import { stringify } from "node:querystring";
import type { Duplex, Readable } from "node:stream";
import {
  type Call,
  type CallInit,
  type Clock,
  type Engine,
  type Flow,
  HeaderList,
  type HeaderRecord,
  type MeshError,
  type ResponseHead,
  type Sink,
  type Snapshot,
  type Transport,
} from "@trama/engine";
import type { Dispatcher } from "undici";

import { type BodyValue, HttpBody } from "../transport/body.ts";
import { ReplayBody } from "../transport/replay-body.ts";
import { errors } from "../undici-parts.ts";
import type { Destination } from "./destination.ts";
import { requestHeaders } from "./request-headers.ts";
import { UpstreamHead } from "../transport/upstream-request.ts";

type Fields = Record<string, string | string[]>;
/** One for all; nobody's to write into. */
const noFields: HeaderRecord = Object.freeze({});
type Raw = Exclude<Dispatcher.DispatchController["rawHeaders"], undefined>;

/** What a dispatcher gives to all its calls. */
export interface CallSource {
  readonly engine: Pick<Engine, "current">;
  readonly transport: Transport;
  readonly clock: Clock;
}

/**
 * A request of the application: undici's controller towards its handler, the engine's sink towards the mesh, the body
 * of the call, and what the call is made of. One object for all, for they live exactly as long as each other.
 */
export class OutboundCall extends HttpBody implements Sink, Dispatcher.DispatchController, CallInit {
  /** As the application gave them. */
  readonly options: Dispatcher.DispatchOptions;
  readonly #source: CallSource;
  readonly #destination: Destination | undefined;
  /** Of the newest head; made of a list when somebody asks, which few handlers do. */
  #rawHeaders: Raw | HeaderList = null;
  #rawTrailers: Raw | HeaderList = null;
  /** Has been told its end. */
  over = false;
  paused = false;
  reason: Error | null = null;
  readonly #handler: Dispatcher.DispatchHandler;
  #call: Call | undefined = undefined;
  #flow: Flow | undefined = undefined;
  #switched = false;

  /** `destination`: absent where there is none, and never will be a call. */
  constructor(
    options: Dispatcher.DispatchOptions,
    source: CallSource,
    destination: Destination | undefined,
    handler: Dispatcher.DispatchHandler,
  ) {
    super();
    this.options = options;
    this.#source = source;
    this.#destination = destination;
    this.#handler = handler;
    const { body } = options;
    // Between attempts undici does not listen to the application's stream, and an error without a listener ends the process.
    if (isStream(body)) body.on("error", (error) => this.abort(error));
  }

  // What a call reads when it is made, once each. A list of it would be one more object.

  get snapshot(): Snapshot {
    return this.#source.engine.current;
  }

  get side(): "outbound" {
    return "outbound";
  }

  get protocol(): "http" {
    return "http";
  }

  get method(): string {
    return this.options.method;
  }

  get scheme(): "http" | "https" {
    return this.#destination!.scheme;
  }

  get authority(): string {
    return this.#destination!.host;
  }

  /** Throws a TypeError for a query that cannot be added. */
  get path(): string {
    return pathOf(this.options);
  }

  /** Throws a TypeError for what are no header fields. */
  get headers(): HeaderList {
    return HeaderList.ofFlat(requestHeaders(this.options.headers, this.authority));
  }

  get body(): this {
    return this;
  }

  get transport(): Transport {
    return this.#source.transport;
  }

  get startMs(): number {
    return this.#source.clock.now();
  }

  get aborted(): boolean {
    return this.reason !== null;
  }

  get rawHeaders(): Raw {
    if (this.#rawHeaders instanceof HeaderList) this.#rawHeaders = buffers(this.#rawHeaders);
    return this.#rawHeaders;
  }

  /** undici's interceptors change what those above them read. */
  set rawHeaders(fields: Raw) {
    this.#rawHeaders = fields;
  }

  get rawTrailers(): Raw {
    if (this.#rawTrailers instanceof HeaderList) this.#rawTrailers = buffers(this.#rawTrailers);
    return this.#rawTrailers;
  }

  set rawTrailers(fields: Raw) {
    this.#rawTrailers = fields;
  }

  get value(): BodyValue {
    return this.options.body;
  }

  override canReplay(): boolean {
    const { body } = this.options as { body?: unknown };
    return body instanceof ReplayBody ? body.replayable : super.canReplay();
  }

  get trailers(): (() => HeaderRecord) | undefined {
    const { body } = this.options as { body?: unknown };
    return body instanceof ReplayBody ? body.trailers : undefined;
  }

  get headersTimeout(): number | null | undefined {
    return this.options.headersTimeout;
  }

  get bodyTimeout(): number | null | undefined {
    return this.options.bodyTimeout;
  }

  get upgrade(): string | null {
    const { upgrade } = this.options;
    return typeof upgrade === "string" ? upgrade : null;
  }

  /** The handler learns at once how to abort: a call may wait long before its first byte is sent. */
  start(): void {
    try {
      this.#handler.onRequestStart?.(this, null);
    } catch (thrown) {
      this.abort(thrown as Error);
    }
  }

  /** From here on the call is the engine's, and `abort` reaches it. */
  attach(call: Call): void {
    this.#call = call;
  }

  // ── towards the application ──

  abort(reason: Error): void {
    if (this.over || this.reason !== null) return;
    this.reason = reason ?? new (errors().RequestAbortedError)();
    this.#call?.abort(this.reason);
    // Nothing was under way that could have answered: the call still waits for its configuration.
    if (!this.over) this.#fail(this.reason);
  }

  pause(): void {
    this.paused = true;
    this.#flow?.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.#flow?.resume();
  }

  // ── towards the mesh ──

  onHead(head: ResponseHead, flow: Flow): void {
    // What a switched connection answered is told by `switched`.
    if (this.over || this.#switched || (head.status === 101 && this.upgrade !== null)) return;
    this.#flow = flow;
    const own = head instanceof UpstreamHead;
    this.#rawHeaders = own && head.untouched ? (head.raw ?? null) : head.headers;
    const fields = (own ? head.record : head.headers.record()) as Fields;
    try {
      this.#handler.onResponseStart?.(this, head.status, fields, head.statusText ?? "");
    } catch (thrown) {
      this.abort(thrown as Error);
    }
  }

  onData(chunk: Uint8Array): void {
    if (this.over) return;
    const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    try {
      this.#handler.onResponseData?.(this, buffer);
    } catch (thrown) {
      this.abort(thrown as Error);
    }
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.over) return;
    this.over = true;
    this.#leaveBody();
    if (this.#switched) return;
    this.#rawTrailers = trailers ?? null;
    try {
      this.#handler.onResponseEnd?.(this, (trailers?.record() ?? noFields) as Fields);
    } catch (thrown) {
      this.#tell(thrown as Error);
    }
  }

  onError(error: MeshError): void {
    // Whoever aborted gets back its own reason, whatever it had become on the way (law 5).
    if (!this.over) this.#fail(this.reason ?? error);
  }

  /** undici's handlers get interim answers as heads of their own. */
  informed(status: number, headers: HeaderRecord): void {
    if (this.over) return;
    this.#rawHeaders = null;
    try {
      this.#handler.onResponseStart?.(this, status, headers as Fields, "");
    } catch (thrown) {
      this.abort(thrown as Error);
    }
  }

  failed(error: Error): void {
    this.abort(error);
  }

  switched(status: number, headers: Fields, socket: Duplex): void {
    this.#switched = true;
    this.#rawHeaders = HeaderList.ofRecord(headers);
    try {
      this.#handler.onRequestUpgrade?.(this, status, headers, socket);
    } catch (thrown) {
      socket.destroy(thrown as Error);
    }
  }

  /** A failure before there was a call: the configuration could not be had, or the request is malformed. */
  #fail(error: Error): void {
    this.over = true;
    this.#leaveBody();
    this.#tell(error);
  }

  /** What the handler throws here has nowhere to go but where every uncaught error goes; never into the mesh. */
  #tell(error: Error): void {
    try {
      this.#handler.onResponseError?.(this, error);
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }

  /** Nobody will read the rest of an application's stream whose request was answered or refused before. */
  #leaveBody(): void {
    this.endCopies();
    const body = this.value;
    if (body instanceof ReplayBody) body.release();
    else if (isStream(body) && !body.readableEnded && !body.destroyed) body.destroy();
  }
}

/** What undici names `query` is part of the path for everyone else. */
export function pathOf({ path, query }: Dispatcher.DispatchOptions): string {
  if (query === undefined || query === null) return path;
  if (path.includes("?") || path.includes("#"))
    throw new TypeError('query cannot be given when the path has "?" or "#" already');
  const text = stringify(query as NodeJS.Dict<string>);
  return text === "" ? path : `${path}?${text}`;
}

function isStream(body: BodyValue): body is Readable {
  return body !== null && typeof body === "object" && "pipe" in body && typeof body.pipe === "function";
}

function buffers(headers: HeaderList): Buffer[] {
  return headers.flat().map((text) => Buffer.from(text, "latin1"));
}
