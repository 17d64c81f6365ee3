import { scalars, wire } from "./layout.ts";

/** Messages inside of messages; more is an attack. */
const maxDepth = 100;

const strict = new TextDecoder("utf-8", { fatal: true });

/** A place in bytes and the end of the message that it is in. Whatever is wrong with the bytes is an Error for people. */
export class Reader {
  readonly #bytes: Buffer;
  #pos = 0;
  #end: number;
  #depth = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.byteLength;
  }

  get more(): boolean {
    return this.#pos < this.#end;
  }

  /** Enters a length-delimited value; the result is for `leave`. */
  enter(): number {
    if (++this.#depth > maxDepth) throw new Error(`broken bytes: more than ${maxDepth} messages inside of one another`);
    const outer = this.#end;
    this.#end = this.#stop();
    return outer;
  }

  leave(outer: number): void {
    this.#end = outer;
    this.#depth -= 1;
  }

  scalar(type: number): unknown {
    switch (type) {
      case scalars.string:
        return this.#text();
      case scalars.bool:
        return this.#varint64() !== 0n;
      case scalars.uint32:
        return this.uint32();
      case scalars.int32:
        return this.uint32() | 0;
      case scalars.sint32: {
        const value = this.uint32();
        return (value >>> 1) ^ -(value & 1);
      }
      case scalars.bytes: {
        const stop = this.#stop();
        const { buffer, byteOffset } = this.#bytes;
        const value = new Uint8Array(buffer, byteOffset + this.#pos, stop - this.#pos);
        this.#pos = stop;
        return value;
      }
      case scalars.uint64:
        return this.#varint64();
      case scalars.int64:
        return BigInt.asIntN(64, this.#varint64());
      case scalars.sint64: {
        const value = this.#varint64();
        return (value >> 1n) ^ -(value & 1n);
      }
      case scalars.double:
        return this.#bytes.readDoubleLE(this.#advance(8));
      case scalars.float:
        return this.#bytes.readFloatLE(this.#advance(4));
      case scalars.fixed32:
        return this.#bytes.readUInt32LE(this.#advance(4));
      case scalars.sfixed32:
        return this.#bytes.readInt32LE(this.#advance(4));
      case scalars.fixed64:
        return this.#bytes.readBigUInt64LE(this.#advance(8));
      case scalars.sfixed64:
        return this.#bytes.readBigInt64LE(this.#advance(8));
      default:
        throw new Error(`there is no scalar type ${type}`);
    }
  }

  /** The low 32 bits of a varint. */
  uint32(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new Error("broken bytes: a varint is longer than ten bytes");
  }

  skip(wireType: number): void {
    switch (wireType) {
      case wire.varint:
        this.uint32();
        return;
      case wire.fixed64:
        this.#advance(8);
        return;
      case wire.lengthDelimited:
        this.#pos = this.#stop();
        return;
      case wire.fixed32:
        this.#advance(4);
        return;
      default:
        throw new Error(`broken bytes: wire type ${wireType}`);
    }
  }

  #varint64(): bigint {
    const first = this.#byte();
    if (first < 0x80) return BigInt(first);
    let value = BigInt(first & 0x7f);
    for (let shift = 7n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error("broken bytes: a varint is longer than ten bytes");
  }

  #text(): string {
    const stop = this.#stop();
    const start = this.#pos;
    this.#pos = stop;
    const text = this.#bytes.toString("utf8", start, stop);
    // A replacement character was in the bytes, or stands for bytes that are no text.
    if (text.includes("\uFFFD")) {
      try {
        return strict.decode(this.#bytes.subarray(start, stop));
      } catch {
        throw new Error("broken bytes: a text is not UTF-8");
      }
    }
    return text;
  }

  /** Reads a length and gives where it ends. */
  #stop(): number {
    const length = this.uint32();
    if (length > this.#end - this.#pos) throw new Error("broken bytes: a length leaves its message");
    return this.#pos + length;
  }

  #byte(): number {
    const byte = this.#bytes[this.#advance(1)];
    return byte ?? 0;
  }

  #advance(by: number): number {
    const at = this.#pos;
    if (by > this.#end - at) throw new Error("broken bytes: they end in the middle of a value");
    this.#pos = at + by;
    return at;
  }
}
