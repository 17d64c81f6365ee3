/**
 * As much of DER (X.690) as certificates and signing requests need: reading one element after the other with every
 * length checked, and writing definite-length elements. Node shows a certificate's names only as text, and text of
 * names can be forged by quoting (dataplane.md §19), so names are read from the bytes.
 */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  sequence: 0x30,
  context0: 0xa0,
  context3: 0xa3,
} as const;

export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

export class DerError extends Error {
  override readonly name = "DerError";
}

/** The elements that stand side by side in `bytes`; throws a DerError where it is not DER. */
export function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at++]!;
    if ((tag & 0x1f) === 0x1f) throw new DerError("a tag of more than one byte");
    let length = bytes[at++];
    if (length === undefined) throw new DerError("an element without a length");
    if (length >= 0x80) {
      const count = length & 0x7f;
      // 0 is BER's indefinite form; four bytes of length are more than any certificate has.
      if (count === 0 || count > 4) throw new DerError("a length that DER does not know");
      length = 0;
      for (let i = 0; i < count; i++) {
        const byte = bytes[at++];
        if (byte === undefined) throw new DerError("a length that ends early");
        length = length * 256 + byte;
      }
      if (length < 0x80 || (count > 1 && length < 2 ** (8 * (count - 1))))
        throw new DerError("a length not in its shortest form");
    }
    if (at + length > bytes.length) throw new DerError("an element longer than what is there");
    found.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}

/** The one element that `bytes` is, of that tag. */
export function only(bytes: Uint8Array, tag: number): Uint8Array {
  const [element, more] = elements(bytes);
  if (element === undefined || more !== undefined || element.tag !== tag)
    throw new DerError(`not one element of tag ${tag}`);
  return element.content;
}

export function encode(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new DerError("more than a signing request may hold");
  return Buffer.concat([Uint8Array.from(head), ...contents]);
}
