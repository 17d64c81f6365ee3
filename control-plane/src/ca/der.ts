/**
 * The part of DER (X.690) that certificates and signing requests are made of. Reading is strict: definite lengths in
 * their shortest form, nothing behind the end. Cryptography stays with node:crypto; this only packs and unpacks.
 */
export interface Der {
  readonly tag: number;
  /** The content. */
  readonly value: Buffer;
  /** The whole of it, tag and length included: what is signed, and what is copied on unread. */
  readonly raw: Buffer;
}

export class DerError extends Error {
  override readonly name = "DerError";
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Reads exactly one value. */
export function readDer(bytes: Uint8Array): Der {
  const der = readAt(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  if (der.raw.length !== bytes.length) throw new DerError("bytes behind the end");
  return der;
}

/** The parts of a constructed value. */
export function parts(der: Der): Der[] {
  if ((der.tag & 0x20) === 0) throw new DerError("not a constructed value");
  const found: Der[] = [];
  for (let at = 0; at < der.value.length;) {
    const part = readAt(der.value, at);
    found.push(part);
    at += part.raw.length;
  }
  return found;
}

/** The value, if it has this tag; otherwise an error that names what was looked for. */
export function expectTag(der: Der | undefined, tag: number, what: string): Der {
  if (der?.tag !== tag) throw new DerError(`no ${what} where one must be`);
  return der;
}

function readAt(bytes: Buffer, start: number): Der {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined) throw new DerError("ends too early");
  if ((tag & 0x1f) === 0x1f) throw new DerError("tag of several bytes");
  let at = start + 2;
  let length = first;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4 || at + count > bytes.length) throw new DerError("bad length");
    length = bytes.readUIntBE(at, count);
    at += count;
    if (length < 0x80 || bytes[start + 2] === 0) throw new DerError("length not in its shortest form");
  }
  if (at + length > bytes.length) throw new DerError("ends too early");
  return { tag, value: bytes.subarray(at, at + length), raw: bytes.subarray(start, at + length) };
}

export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), ...content]);
  const bytes =
    length < 0x100 ? [length] : length < 0x10000 ? [length >> 8, length] : [length >> 16, length >> 8, length];
  return Buffer.concat([Buffer.of(tag, 0x80 | bytes.length, ...bytes.map((byte) => byte & 0xff)), ...content]);
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => der(tags.sequence, ...content);

/** A positive INTEGER from its big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  let at = 0;
  while (at < bytes.length - 1 && bytes[at] === 0) at += 1;
  const shortest = bytes.subarray(at);
  return der(tags.integer, (shortest[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), shortest]) : shortest);
}

/** `unused`: how many of the last byte's low bits do not count. */
export const bitString = (bytes: Uint8Array, unused = 0): Buffer => der(tags.bitString, Buffer.of(unused), bytes);

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(tags.oid, Buffer.from(bytes));
}

/** RFC 5280, 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050; whole seconds. */
export function time(ms: number): Buffer {
  const digits = new Date(ms)
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "");
  return new Date(ms).getUTCFullYear() < 2050
    ? der(tags.utcTime, Buffer.from(digits.slice(2), "ascii"))
    : der(tags.generalizedTime, Buffer.from(digits, "ascii"));
}

/** The one PEM block of this label, decoded; `undefined` unless there is exactly one block and nothing else. */
export function pemToDer(pem: string, label: string): Buffer | undefined {
  const match = /^\s*-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]+)-----END ([A-Z0-9 ]+)-----\s*$/.exec(pem);
  if (match === null || match[1] !== label || match[3] !== label) return undefined;
  return Buffer.from(match[2] ?? "", "base64");
}

export function derToPem(bytes: Uint8Array, label: string): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
