import { type CallRecord, type Flow, noFlow } from "@trama/engine";

import { isKnownEncoding, unpack } from "../transport/grpc-compression.ts";
import { type Message, MessageReader } from "@trama/xds";

/** Messages that wait for their reader, in bytes; past it the peer is held back. */
const aheadBytes = 32 * 1024;

const resourceExhausted = 8;
const internal = 13;

export interface Receiver {
  deliver(message: Buffer): void;
  /** The answer cannot be read: a gRPC status, and why. */
  refuse(code: number, details: string): void;
  /** After {@link Inbox.end}: everything has been delivered. */
  drained(): void;
}

/**
 * The messages of an answer on their way in. One is delivered for each `read`; those ahead of their reader are few, and the source is
 * paused meanwhile.
 */
export class Inbox {
  readonly #receiver: Receiver;
  readonly #maxBytes: number;
  readonly #reader: MessageReader;
  readonly #emit = (message: Message): void => this.#take(message);
  #encoding = "identity";
  readonly #queue: { bytes: Buffer | undefined }[] = [];
  #ahead = 0;
  #reads = 0;
  #wanted = false;
  #delivering = false;
  #scheduled = false;
  #record: CallRecord | undefined = undefined;
  #flow: Flow = noFlow;
  #paused = false;
  #ended = false;
  #flush = false;
  #over = false;

  constructor(receiver: Receiver, maxBytes: number) {
    this.#receiver = receiver;
    this.#maxBytes = maxBytes;
    this.#reader = new MessageReader(maxBytes);
  }

  /** False when the answer ended inside a message. */
  get complete(): boolean {
    return this.#reader.complete;
  }

  start(encoding: string | undefined, flow: Flow, record: CallRecord): void {
    this.#record = record;
    this.#encoding = encoding ?? "identity";
    this.#flow = flow;
  }

  data(chunk: Uint8Array): void {
    if (this.#over) return;
    const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const large = this.#reader.read(buffer, this.#emit);
    if (large !== undefined)
      this.#refuse(resourceExhausted, `Received message larger than max (${large} vs. ${this.#maxBytes})`);
    else if (!this.#wanted && this.#ahead > aheadBytes && !this.#paused) {
      this.#paused = true;
      this.#flow.pause();
    }
  }

  /** The reader is ready for one more. It gets it later, never at once. */
  read(): void {
    this.#reads++;
    this.#wanted = true;
    if (this.#delivering) return;
    if (this.#queue.length > 0) this.#later();
    else this.#resume();
  }

  /**
   * Nothing more comes. `flush`: what is there is delivered without being asked for, so that a status that tells of a failure is not
   * withheld by a reader who has stopped. So is a second message for a reader that ever wanted one: it can only be unary.
   */
  end(flush: boolean): void {
    this.#ended = true;
    this.#flush = flush || this.#reads <= 1;
    this.#advance();
  }

  /** The call is over. */
  close(): void {
    this.#over = true;
    this.#queue.length = 0;
    if (this.#paused) this.#flow.resume();
  }

  #take({ compressed, bytes }: Message): void {
    if (this.#over) return;
    this.#record!.responseMessages++;
    if (!compressed) {
      this.#queue.push({ bytes });
      this.#ahead += bytes.length;
      if (this.#wanted) this.#advance();
      return;
    }
    if (!isKnownEncoding(this.#encoding))
      return this.#refuse(internal, `Received message compressed with unsupported encoding "${this.#encoding}"`);
    const entry: { bytes: Buffer | undefined } = { bytes: undefined };
    this.#queue.push(entry);
    unpack(this.#encoding, bytes, this.#maxBytes, (result) => {
      if (this.#over) return;
      if (result === "large")
        return this.#refuse(
          resourceExhausted,
          `Received message that decompresses to a size larger than ${this.#maxBytes}`,
        );
      if (result instanceof Error) return this.#refuse(internal, "Failed to decompress message");
      entry.bytes = result;
      this.#ahead += result.length;
      this.#advance();
    });
  }

  #later(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#advance();
    });
  }

  #advance(): void {
    if (this.#delivering || this.#over) return;
    this.#delivering = true;
    while (!this.#over && (this.#wanted || (this.#ended && this.#flush))) {
      const bytes = this.#queue[0]?.bytes;
      if (bytes === undefined) break;
      this.#queue.shift();
      this.#ahead -= bytes.length;
      this.#wanted = false;
      this.#receiver.deliver(bytes);
    }
    this.#delivering = false;
    if (this.#over) return;
    if (this.#queue.length > 0) return;
    if (this.#ended) {
      this.#over = true;
      this.#receiver.drained();
    } else if (this.#wanted) this.#resume();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#flow.resume();
  }

  #refuse(code: number, details: string): void {
    if (this.#over) return;
    this.close();
    this.#receiver.refuse(code, details);
  }
}
