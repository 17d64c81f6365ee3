import { scalars } from "./layout.ts";

/** Bytes that grow. */
export class Writer {
  #bytes = Buffer.allocUnsafe(256);
  #pos = 0;

  /** What was written; valid until more is. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#pos);
  }

  tag(field: number, wireType: number): void {
    this.uint32(((field << 3) | wireType) >>> 0);
  }

  uint32(value: number): void {
    this.#grow(5);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#pos++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#pos++] = rest;
  }

  /** With its length before it. */
  delimited(bytes: Uint8Array): void {
    this.uint32(bytes.length);
    this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#pos);
    this.#pos += bytes.length;
  }

  scalar(type: number, value: unknown): void {
    switch (type) {
      case scalars.string:
        return this.#text(value as string);
      case scalars.bytes:
        return this.delimited(value as Uint8Array);
      case scalars.bool:
        return this.uint32(value === true ? 1 : 0);
      case scalars.uint32:
        return this.uint32(value as number);
      case scalars.int32:
        return this.#int32(value as number);
      case scalars.sint32:
        return this.uint32((((value as number) << 1) ^ ((value as number) >> 31)) >>> 0);
      case scalars.int64:
      case scalars.uint64:
        return this.#varint64(BigInt.asUintN(64, value as bigint));
      case scalars.sint64:
        return this.#varint64(BigInt.asUintN(64, ((value as bigint) << 1n) ^ ((value as bigint) >> 63n)));
      default:
        return this.#fixed(type, value);
    }
  }

  #text(text: string): void {
    const length = Buffer.byteLength(text);
    this.uint32(length);
    this.#grow(length);
    this.#pos += this.#bytes.write(text, this.#pos);
  }

  /** A negative one has ten bytes, as if it were an int64. */
  #int32(value: number): void {
    if (value < 0) this.#varint64(BigInt.asUintN(64, BigInt(value)));
    else this.uint32(value);
  }

  #varint64(value: bigint): void {
    let rest = value;
    while (rest > 0xffffffffn) {
      this.#grow(1);
      this.#bytes[this.#pos++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.uint32(Number(rest));
  }

  #fixed(type: number, value: unknown): void {
    this.#grow(8);
    switch (type) {
      case scalars.double:
        this.#pos = this.#bytes.writeDoubleLE(value as number, this.#pos);
        return;
      case scalars.float:
        this.#pos = this.#bytes.writeFloatLE(value as number, this.#pos);
        return;
      case scalars.fixed32:
        this.#pos = this.#bytes.writeUInt32LE(value as number, this.#pos);
        return;
      case scalars.sfixed32:
        this.#pos = this.#bytes.writeInt32LE(value as number, this.#pos);
        return;
      case scalars.fixed64:
        this.#pos = this.#bytes.writeBigUInt64LE(value as bigint, this.#pos);
        return;
      case scalars.sfixed64:
        this.#pos = this.#bytes.writeBigInt64LE(value as bigint, this.#pos);
        return;
      default:
        throw new Error(`there is no scalar type ${type}`);
    }
  }

  #grow(by: number): void {
    if (this.#pos + by <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#pos + by));
    this.#bytes.copy(larger, 0, 0, this.#pos);
    this.#bytes = larger;
  }
}
