import type { Readable } from "node:stream";
import type { HeaderRecord } from "@trama/engine";

/** What one call may keep of its body; Envoy's default of `per_request_buffer_limit_bytes`. */
const maxBytes = 1024 * 1024;
/** What all calls of the process together may keep. */
const maxBytesInAll = 64 * 1024 * 1024;
let keptInAll = 0;

/**
 * A streamed body that can be sent again: what an attempt reads is kept, up to a limit, so that the next one begins where the
 * first did and then goes on with what is still to come. Past the limit everything is let go, and no attempt follows (dataplane.md §4.2).
 */
export class ReplayBody implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<unknown>;
  #kept: Uint8Array[] = [];
  #bytes = 0;
  /** Chunks that were read, kept or not. */
  #read = 0;
  #whole = true;
  #ended = false;
  #failed: { readonly error: unknown } | undefined = undefined;
  /** The one read of the source that is under way: an attempt that is given up leaves it to the next. */
  #reading: Promise<void> | undefined = undefined;
  /** Only the newest attempt reads. */
  #newest = 0;
  /** Fields behind the body, known when it has been read. */
  trailers: (() => HeaderRecord) | undefined = undefined;

  constructor(source: AsyncIterable<unknown>) {
    const { iterator } = source as Partial<Readable>;
    // An attempt that stops early must not destroy the stream for the next one.
    this.#source =
      typeof iterator === "function"
        ? iterator.call(source as Readable, { destroyOnReturn: false })
        : source[Symbol.asyncIterator]();
  }

  /** Whether it is all still there, from the first byte. */
  get replayable(): boolean {
    return this.#whole;
  }

  /** From the first byte, for one attempt. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const mine = ++this.#newest;
    for (let at = 0; ; at++) {
      while (at >= this.#read && !this.#ended && this.#failed === undefined && mine === this.#newest)
        await (this.#reading ??= this.#next());
      // Never a quiet end: what was sent so far is not the whole body.
      if (mine !== this.#newest) throw new Error("the body is read by another attempt, or by nobody any more");
      if (at < this.#read) yield this.#kept[this.#whole ? at : this.#kept.length - (this.#read - at)]!;
      else if (this.#failed !== undefined) throw this.#failed.error;
      else return;
    }
  }

  /** The call is over: nothing will be sent again. */
  release(): void {
    this.#whole = false;
    this.#newest++;
    this.#forget();
  }

  async #next(): Promise<void> {
    try {
      const { done, value } = await this.#source.next();
      if (done === true) this.#ended = true;
      else this.#keep(bytesOf(value));
    } catch (error) {
      this.#failed = { error };
    }
    this.#reading = undefined;
  }

  #keep(chunk: Uint8Array): void {
    this.#read++;
    const { byteLength } = chunk;
    if (this.#whole && (this.#bytes + byteLength > maxBytes || keptInAll + byteLength > maxBytesInAll)) {
      this.#whole = false;
      this.#forget();
    }
    // Past the limit only the newest, which the one reader is about to take.
    if (!this.#whole) this.#kept.length = 0;
    else {
      this.#bytes += byteLength;
      keptInAll += byteLength;
    }
    this.#kept.push(chunk);
  }

  #forget(): void {
    keptInAll -= this.#bytes;
    this.#bytes = 0;
    this.#kept = [];
  }
}

function bytesOf(chunk: unknown): Uint8Array {
  if (typeof chunk === "string") return Buffer.from(chunk);
  if (chunk instanceof Uint8Array) return chunk;
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  throw new TypeError("a body is made of text and bytes");
}

/** Kept by all calls together, for tests: zero when none is under way. */
export function keptByReplays(): number {
  return keptInAll;
}
