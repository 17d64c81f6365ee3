/** Length-Prefixed-Message of gRPC over HTTP/2: one byte of flags, four of length, then the message. */
const prefix = 5;

/** Past this the message itself is not copied to stand behind its prefix. */
const copyBelow = 16 * 1024;

/** What goes on the wire for one message: one buffer, or two for a large one. */
export function frameMessage(message: Uint8Array, compressed: boolean): Buffer[] {
  const { length } = message;
  const small = length < copyBelow;
  const head = Buffer.allocUnsafe(small ? prefix + length : prefix);
  head[0] = compressed ? 1 : 0;
  head.writeUInt32BE(length, 1);
  if (!small) return [head, Buffer.from(message.buffer, message.byteOffset, length)];
  head.set(message, prefix);
  return [head];
}

/** Of a message that comes in several chunks. */
const leastRoom = 16 * 1024;

export interface Message {
  readonly compressed: boolean;
  readonly bytes: Buffer;
}

/** Cuts a stream of bytes into messages. It never holds more than one message and refuses one by its length, before its bytes come. */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #head = Buffer.allocUnsafe(prefix);
  #headBytes = 0;
  /** Of one that came in several chunks: each is copied to its place as it comes, for a large message would hold the event loop. */
  #message: Buffer | undefined;
  #missing = 0;

  /** -1: no limit. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** True between messages. */
  get complete(): boolean {
    return this.#headBytes === 0;
  }

  /** Calls `emit` for each message that is complete; returns the length of one that is larger than the limit, else `undefined`. */
  read(chunk: Buffer, emit: (message: Message) => void): number | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.#headBytes < prefix) {
        const taken = chunk.copy(this.#head, this.#headBytes, at, at + prefix - this.#headBytes);
        this.#headBytes += taken;
        at += taken;
        if (this.#headBytes < prefix) return undefined;
        this.#missing = this.#head.readUInt32BE(1);
        if (this.#maxBytes >= 0 && this.#missing > this.#maxBytes) return this.#missing;
      }
      const to = Math.min(at + this.#missing, chunk.length);
      let bytes: Buffer;
      if (this.#message === undefined && to - at === this.#missing) bytes = chunk.subarray(at, to);
      else {
        bytes = this.#room(to - at);
        this.#missing -= chunk.copy(bytes, this.#head.readUInt32BE(1) - this.#missing, at, to);
        if (this.#missing > 0) return undefined;
        this.#message = undefined;
      }
      at = to;
      const compressed = this.#head[0] !== 0;
      this.#headBytes = 0;
      emit({ compressed, bytes });
    }
    return undefined;
  }

  /** The message's buffer with room for so much more: at most twice what has come, for a length is only a claim. */
  #room(more: number): Buffer {
    const length = this.#head.readUInt32BE(1);
    const had = length - this.#missing;
    const before = this.#message;
    if (before !== undefined && before.length >= had + more) return before;
    const size = Math.min(length, Math.max(2 * (had + more), leastRoom));
    const message = (this.#message = Buffer.allocUnsafeSlow(size));
    before?.copy(message, 0, 0, had);
    return message;
  }
}
