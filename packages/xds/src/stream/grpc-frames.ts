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

export interface Message {
  readonly compressed: boolean;
  readonly bytes: Buffer;
}

/** Cuts a stream of bytes into messages. It never holds more than one message and refuses one by its length, before its bytes come. */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #head = Buffer.allocUnsafe(prefix);
  #headBytes = 0;
  #parts: Buffer[] = [];
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
      const part = chunk.subarray(at, at + this.#missing);
      at += part.length;
      this.#missing -= part.length;
      if (this.#missing > 0) {
        this.#parts.push(part);
        return undefined;
      }
      let bytes = part;
      if (this.#parts.length > 0) {
        this.#parts.push(part);
        bytes = Buffer.concat(this.#parts);
        this.#parts = [];
      }
      const compressed = this.#head[0] !== 0;
      this.#headBytes = 0;
      emit({ compressed, bytes });
    }
    return undefined;
  }
}
