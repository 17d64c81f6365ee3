import { ResourceError } from "./error.ts";

/** Wire types of protobuf, the low three bits of a tag. */
const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const fixed32 = 5;

/** Where something stands in the bytes. */
export interface Span {
  start: number;
  end: number;
}

/**
 * A place in protobuf bytes. For the one resource that is too large for the generated decoder: no closures, no copies,
 * no text that nobody asked for. Whatever is wrong with the bytes is a ResourceError.
 *
 * A message is read by a loop up to its end over whole tags (`field << 3 | wire type`), with `skip` for all that is not
 * known, so that a known field of the wrong wire type is passed over like an unknown one; `leave` checks the end.
 */
export class Cursor {
  pos = 0;
  readonly bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The low 32 bits of a varint, without sign; a tag, a length, a uint32, an enum. */
  uint32(): number {
    const bytes = this.bytes;
    let byte = bytes[this.pos++];
    if (byte === undefined) return truncated();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; shift < 70; shift += 7) {
      byte = bytes[this.pos++];
      if (byte === undefined) return truncated();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new ResourceError("broken bytes: a varint is longer than ten bytes");
  }

  /** Reads the length of a message or text and gives where it ends. */
  enter(end: number): number {
    const length = this.uint32();
    if (this.pos + length > end) throw new ResourceError("broken bytes: a length leaves its message");
    return this.pos + length;
  }

  /** Called when a message's loop is over. */
  leave(end: number): void {
    if (this.pos !== end) throw new ResourceError("broken bytes: a value ends behind its message");
  }

  text(end: number): string {
    const stop = this.enter(end);
    const text = this.bytes.toString("utf8", this.pos, stop);
    this.pos = stop;
    return text;
  }

  /** A text which probably is this one, and then makes no new one. Compared in script: texts are short, and calls out of it dear. */
  textLike({ start, end }: Span, likely: string): string {
    if (end - start === likely.length) {
      let same = 0;
      for (; same < likely.length; same++) {
        const code = likely.charCodeAt(same);
        if (code > 0x7f || code !== this.bytes[start + same]) break;
      }
      if (same === likely.length) return likely;
    }
    return this.bytes.toString("utf8", start, end);
  }

  /** Reads a text and says whether it is this one. */
  textIs(end: number, wanted: Uint8Array): boolean {
    const stop = this.enter(end);
    const start = this.pos;
    this.pos = stop;
    if (stop - start !== wanted.length) return false;
    // In script: the texts are short, and a call out of it costs more than the whole loop.
    for (let i = 0; i < wanted.length; i++) if (this.bytes[start + i] !== wanted[i]) return false;
    return true;
  }

  skip(tag: number, end: number): void {
    switch (tag & 7) {
      case varint:
        this.uint32();
        return;
      case fixed64:
        this.pos += 8;
        return;
      case lengthDelimited:
        this.pos = this.enter(end);
        return;
      case fixed32:
        this.pos += 4;
        return;
      default:
        throw new ResourceError(`broken bytes: wire type ${tag & 7}`);
    }
  }

  /** google.protobuf.UInt32Value. */
  wrappedUint32(outer: number): number {
    const end = this.enter(outer);
    let value = 0;
    while (this.pos < end) {
      const tag = this.uint32();
      if (tag === 0x08) value = this.uint32();
      else this.skip(tag, end);
    }
    this.leave(end);
    return value;
  }
}

function truncated(): never {
  throw new ResourceError("broken bytes: they end in the middle of a value");
}
