import type { Socket } from "node:net";
import { Duplex } from "node:stream";

import { bytesOf, type Written } from "./entrance-head.ts";

/** What a pipe's end tells of the connection that it stands for. */
export interface PipeFacts {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}

/**
 * Stands in for the other end of a pipe as long as it understands what is written: bytes then go from writer to reader without a
 * second stream in between.
 */
export interface PipeIntake {
  /** Takes a whole write, of one piece or of several, or says no: then it goes to the other end. */
  take(first: string | Buffer, encoding: BufferEncoding, more: readonly Written[]): boolean;
  /** The reader has room again. */
  wanted(): void;
  /** The writer has said its last, or is gone. */
  gone(): void;
}

/**
 * One end of a connection that never leaves the process. It speaks bytes, as a socket does, so that Node's own HTTP/1.1 parser and
 * writer can stand at either end, and everything that applications and libraries know of `http.ClientRequest`, `IncomingMessage` and
 * `ServerResponse` holds as it is. It has what they touch of a socket: addresses, time-out, keep-alive, `ref` and `unref`.
 *
 * It ends like a TCP connection: `end()` is seen by the other end behind all that was written; `destroy()` of an end that had not
 * finished destroys the other.
 */
export class PipeSocket extends Duplex {
  readonly connecting = false;
  readonly pending = false;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly remoteFamily = "IPv4";
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  bytesRead = 0;
  bytesWritten = 0;
  timeout = 0;
  intake: PipeIntake | undefined = undefined;
  #other!: PipeSocket;
  /** The other end has written all it ever will. */
  #ended = false;
  /** The other end's writer, who waits until this one has read. */
  #waiting: ((error?: Error | null) => void) | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;

  private constructor(facts: PipeFacts, halfOpen: boolean) {
    // Texts come as they were written: who takes them here may need no bytes.
    super({ allowHalfOpen: halfOpen, emitClose: true, autoDestroy: true, decodeStrings: false });
    this.remoteAddress = facts.remoteAddress;
    this.remotePort = facts.remotePort;
    this.localAddress = facts.localAddress;
    this.localPort = facts.localPort;
  }

  /** The end of a client and that of a server, which stays open for its answer when the client has said its last. */
  static pair(client: PipeFacts, server: PipeFacts): readonly [client: PipeSocket, server: PipeSocket] {
    const [one, other] = [new PipeSocket(client, false), new PipeSocket(server, true)];
    one.#other = other;
    other.#other = one;
    return [one, other];
  }

  /** The other end. */
  get other(): PipeSocket {
    return this.#other;
  }

  /** As the type that Node's functions ask for; they take any stream. */
  get socket(): Socket {
    return this as unknown as Socket;
  }

  override _read(): void {
    this.intake?.wanted();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  override _write(chunk: string | Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.intake?.take(chunk, encoding, noMore) === true) this.#took(sizeOf(chunk, encoding), done);
    else this.#pass(bytesOf(chunk, encoding), done);
  }

  override _writev(chunks: Written[], done: (error?: Error | null) => void): void {
    const { chunk: first, encoding } = chunks[0]!;
    if (this.intake?.take(first, encoding, chunks.length === 1 ? noMore : chunks.slice(1)) === true)
      this.#took(
        chunks.reduce((sum, each) => sum + sizeOf(each.chunk, each.encoding), 0),
        done,
      );
    else this.#pass(Buffer.concat(chunks.map((each) => bytesOf(each.chunk, each.encoding))), done);
  }

  #took(length: number, done: () => void): void {
    this.#stir();
    this.bytesWritten += length;
    done();
  }

  /** Gives this end something to read, past the other one. False: no more for now. */
  deliver(bytes: Buffer): boolean {
    if (this.#ended || this.destroyed) return true;
    this.#stir();
    this.bytesRead += bytes.length;
    // What `push` comes to where somebody reads as it comes, without the bookkeeping for the one who does not.
    if (this.readableFlowing === true && this.readableLength === 0 && this.readableEncoding === null) {
      this.emit("data", bytes);
      return true;
    }
    return this.push(bytes);
  }

  #pass(chunk: Buffer, done: (error?: Error | null) => void): void {
    const other = this.#other;
    if (other.destroyed || other.#ended) return done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    if (chunk.length === 0) return done();
    this.#stir();
    other.#stir();
    this.bytesWritten += chunk.length;
    other.bytesRead += chunk.length;
    if (other.push(chunk)) done();
    else other.#waiting = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.intake?.gone();
    this.#other.#end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.intake?.gone();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    const other = this.#other;
    const abrupt = !this.writableFinished;
    process.nextTick(() => {
      waiting?.();
      if (abrupt) other.destroy();
    });
    done(error);
  }

  #end(): void {
    if (this.#ended || this.destroyed) return;
    this.#ended = true;
    this.push(null);
  }

  // ── what is asked of a socket ──

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  setTimeout(ms: number, callback?: () => void): this {
    this.timeout = ms;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (ms > 0) {
      this.#timer = setTimeout(() => this.emit("timeout"), Math.min(ms, 0x7fff_ffff)).unref();
      if (callback !== undefined) this.once("timeout", callback);
    } else if (callback !== undefined) this.removeListener("timeout", callback);
    return this;
  }

  #stir(): void {
    this.#timer?.refresh();
  }

  get readyState(): "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.readable) return this.writable ? "open" : "readOnly";
    return this.writable ? "writeOnly" : "closed";
  }

  address(): object {
    return this.localAddress === undefined
      ? {}
      : { address: this.localAddress, port: this.localPort, family: this.remoteFamily };
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

const noMore: readonly Written[] = [];

function sizeOf(chunk: string | Buffer, encoding: BufferEncoding): number {
  return typeof chunk === "string" && encoding !== "latin1" ? Buffer.byteLength(chunk, encoding) : chunk.length;
}
