import type { CopyBudget, HeaderRecord, RequestBody } from "@trama/engine";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

/** What undici takes as a request body. */
export type BodyValue =
  | Dispatcher.DispatchOptions["body"]
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string>;

/**
 * A request body as the HTTP transport sends it, with what else belongs to the request on the wire and is not the engine's
 * business. Adapters extend it, so that it costs no object of its own.
 */
export abstract class HttpBody implements RequestBody {
  /** Asked once for each attempt. */
  abstract get value(): BodyValue;
  /** The authority before any layer rewrote it: as long as it is the call's, the `host` field in the headers holds. */
  abstract readonly authority: string;
  abstract get headersTimeout(): number | null | undefined;
  abstract get bodyTimeout(): number | null | undefined;
  /** Protocol to switch to, such as `websocket`. */
  abstract get upgrade(): string | null;
  /** A stream that is read cannot be read again. */
  #consumed = false;
  /** Copies of a body that comes piece by piece; they get each piece when an attempt takes it. */
  #copies: StreamCopy[] | undefined = undefined;
  /** Pieces that an attempt has taken, where somebody wants to know; -1: nobody does. */
  #taken = -1;
  #whole = false;

  canReplay(): boolean {
    return !this.#consumed;
  }

  /** Called when the first byte may leave. */
  begin(): void {
    if (isOneShot(this.value)) this.#consumed = true;
  }

  /** What an attempt sends. */
  get wire(): BodyValue {
    const { value } = this;
    const watched = this.#copies !== undefined || (this.#taken >= 0 && isOneShot(value));
    return watched ? this.#passed(value as Pieces) : value;
  }

  /** Only a body that comes piece by piece can be slow to come; what is held in memory is whole. */
  moved(): number {
    return (this.#taken = Math.max(0, this.#taken));
  }

  /** Known where it is watched. */
  isOpen(): boolean {
    return this.#taken >= 0 && !this.#whole && isOneShot(this.value);
  }

  /** The pieces of a body, each counted, and for the copies as well. The copies take or lose it; none of them is waited for. */
  async *#passed(pieces: Pieces): AsyncGenerator<Uint8Array | string> {
    const copies = this.#copies ?? [];
    for await (const piece of pieces) {
      if (this.#taken >= 0) this.#taken++;
      for (const copy of copies) copy.add(piece);
      yield piece;
    }
    this.#whole = true;
    for (const copy of copies) copy.end(true);
  }

  copy(budget: CopyBudget): RequestBody | undefined {
    const { value } = this;
    if (this.upgrade !== null || this.#consumed) return undefined;
    if (!isOneShot(value)) return budget.take(bytesOf(value)) ? new BodyCopy(this, value) : undefined;
    const copy = new StreamCopy(this, budget);
    (this.#copies ??= []).push(copy);
    return copy;
  }

  /** The call is over: what was not copied by now never will be. */
  protected endCopies(): void {
    for (const copy of this.#copies ?? []) copy.end(false);
  }

  /** Fields behind the body, asked when its last byte was sent; absent: there will be none. Only HTTP/2 carries them (transport/h2-request.ts). */
  abstract get trailers(): (() => HeaderRecord) | undefined;

  /** An interim answer, 1xx: not a head (law 2), and from an attempt that may yet be repeated. */
  abstract informed(status: number, headers: HeaderRecord): void;

  /** Reading the body failed, by the application's doing: the call ends with that very error. */
  abstract failed(error: Error): void;

  /** The peer switched protocols; the socket is the caller's from here on. */
  abstract switched(status: number, headers: Record<string, string | string[]>, socket: Duplex): void;
}

/** Text and bytes in memory, and forms and blobs, can be sent again; streams and iterables cannot. */
export function isOneShot(value: BodyValue): boolean {
  if (value === null || value === undefined || typeof value === "string") return false;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return false;
  if (value instanceof Blob || "append" in (value as object)) return false;
  return true;
}

/** What is held in memory for as long as it is being sent. */
function bytesOf(value: BodyValue): number {
  if (typeof value === "string") return value.length;
  if (value instanceof Blob) return value.size;
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? value.byteLength : 0;
}

/** The body of a mirrored request. Nobody waits for its answer, so nobody is told of what happens to it. */
class BodyCopy extends HttpBody {
  readonly value: BodyValue;
  readonly authority: string;
  readonly headersTimeout: number | null | undefined;
  readonly bodyTimeout: number | null | undefined;
  readonly upgrade = null;
  readonly trailers = undefined;

  constructor({ authority, headersTimeout, bodyTimeout }: HttpBody, value: BodyValue) {
    super();
    this.value = value;
    this.authority = authority;
    this.headersTimeout = headersTimeout;
    this.bodyTimeout = bodyTimeout;
  }

  informed(): void {}

  failed(): void {}

  /** Never: an upgrade is not copied. */
  switched(_status: number, _headers: object, socket: Duplex): void {
    socket.destroy();
  }
}

type Pieces = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;

/** A bounded queue between the body that is sent and its copy. */
class StreamCopy extends BodyCopy {
  readonly #budget: CopyBudget;
  readonly #pieces: Buffer[] = [];
  #state: "open" | "whole" | "lost" = "open";
  #wake: (() => void) | undefined = undefined;

  constructor(original: HttpBody, budget: CopyBudget) {
    super(original, null);
    this.#budget = budget;
    Object.defineProperty(this, "value", { value: this.#read() });
  }

  add(piece: Uint8Array | string): void {
    if (this.#state !== "open") return;
    // Its owner may write into the same memory again.
    const own = Buffer.from(piece as Uint8Array);
    if (!this.#budget.take(own.length)) return this.end(false);
    this.#pieces.push(own);
    this.#wake?.();
  }

  end(whole: boolean): void {
    if (this.#state !== "open") return;
    this.#state = whole ? "whole" : "lost";
    if (!whole) this.#budget.lost();
    this.#wake?.();
  }

  async *#read(): AsyncGenerator<Buffer> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#budget.give(piece.length);
        yield piece;
      } else if (this.#state === "open") await new Promise<void>((resolve) => (this.#wake = resolve));
      else if (this.#state === "whole") return;
      else throw new Error("the body that this is a copy of broke off, or was faster than its copy");
    }
  }
}
