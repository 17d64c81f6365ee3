import type { Socket } from "node:net";
import { Duplex, type DuplexOptions } from "node:stream";

import type { Mesh } from "../mesh-types.ts";
import type { ConnectOptions } from "./connector.ts";

/** Where a {@link MeshSocket} goes; without, where its `connect(port, host)` says. */
export type SocketOptions = Pick<ConnectOptions, "host" | "port" | "servername">;

/**
 * A connection of `mesh.connect()` as a stream that is there at once, for drivers that want a socket from a function that cannot wait:
 * `new pg.Pool({ host: "db.shop", stream: () => socket(mesh) })`. What is written before it stands is kept, as a socket of Node's keeps it.
 * Every chunk takes one more step than on the socket itself; where a driver can wait, `mesh.connect()` is the better way.
 */
export function socket(mesh: Pick<Mesh, "connect">, options?: SocketOptions): MeshSocket {
  return new MeshSocket(mesh, options);
}

/** Speaks as a `net.Socket` does, as far as drivers ask: events `connect`, `ready`, `timeout`, and the methods below. */
export class MeshSocket extends Duplex {
  readonly #mesh: Pick<Mesh, "connect">;
  readonly #abort = new AbortController();
  #socket: Socket | undefined = undefined;
  #started = false;
  /** What waits for the connection. */
  #waiting: (() => void) | undefined = undefined;
  /** Settings of the socket that were made before there was one. */
  readonly #settings: ((socket: Socket) => void)[] = [];

  constructor(mesh: Pick<Mesh, "connect">, options?: SocketOptions) {
    super({ autoDestroy: true, emitClose: true, allowHalfOpen: false } satisfies DuplexOptions);
    this.#mesh = mesh;
    if (options !== undefined) void this.#start(options);
  }

  get connecting(): boolean {
    return this.#started && this.#socket === undefined && !this.destroyed;
  }

  get pending(): boolean {
    return this.#socket === undefined;
  }

  get readyState(): "opening" | "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.#socket !== undefined) return this.#socket.readyState as "open";
    return this.connecting ? "opening" : "closed";
  }

  get remoteAddress(): string | undefined {
    return this.#socket?.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#socket?.remotePort;
  }

  get bytesRead(): number {
    return this.#socket?.bytesRead ?? 0;
  }

  get bytesWritten(): number {
    return this.#socket?.bytesWritten ?? 0;
  }

  /** `(port, host)` or `({ host, port, servername })`. Does nothing when it knows where to go already. */
  connect(where: number | SocketOptions, second?: string | (() => void), third?: () => void): this {
    const done = typeof second === "function" ? second : third;
    if (done !== undefined) this.once("connect", done);
    if (this.#started) return this;
    const host = typeof second === "string" ? second : "localhost";
    void this.#start(typeof where === "object" ? where : { host, port: where });
    return this;
  }

  setNoDelay(on?: boolean): this {
    return this.#set((socket) => socket.setNoDelay(on));
  }

  setKeepAlive(on?: boolean, delayMs?: number): this {
    return this.#set((socket) => socket.setKeepAlive(on, delayMs));
  }

  /** Counts from when it stands. */
  setTimeout(ms: number, onTimeout?: () => void): this {
    if (onTimeout !== undefined) this.once("timeout", onTimeout);
    return this.#set((socket) => socket.setTimeout(ms));
  }

  ref(): this {
    return this.#set((socket) => socket.ref());
  }

  unref(): this {
    return this.#set((socket) => socket.unref());
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket === undefined) this.#waiting = () => this._write(chunk, encoding, done);
    else this.#socket.write(chunk, encoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#socket === undefined && this.#started) this.#waiting = () => this._final(done);
    else if (this.#socket === undefined) done();
    else this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#abort.abort();
    this.#waiting = undefined;
    this.#socket?.destroy();
    done(error);
  }

  #set(setting: (socket: Socket) => void): this {
    if (this.#socket === undefined) this.#settings.push(setting);
    else setting(this.#socket);
    return this;
  }

  async #start(options: SocketOptions): Promise<void> {
    this.#started = true;
    let socket: Socket;
    try {
      socket = await this.#mesh.connect({ ...options, signal: this.#abort.signal });
    } catch (thrown) {
      // Whoever destroyed it knows.
      if (!this.destroyed) this.destroy(thrown as Error);
      return;
    }
    if (this.destroyed) return void socket.destroy();
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("timeout", () => this.emit("timeout"));
    socket.on("close", () => {
      if (!this.readableEnded) this.push(null);
      // What was read must be taken first.
      if (this.readableLength === 0) this.destroy();
      else this.once("end", () => this.destroy());
    });
    for (const setting of this.#settings.splice(0)) setting(socket);
    this.emit("connect");
    this.emit("ready");
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }
}
