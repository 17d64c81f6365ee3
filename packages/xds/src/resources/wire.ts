import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

import { textOf } from "../errors.ts";
import { ResourceError } from "./error.ts";

/**
 * Reads one field's value from the reader; `end` must be called first for a field that is itself a message, and gives
 * where it ends. A field of which nothing was read is skipped.
 */
export type FieldReader = (field: number, end: () => number) => void;

export function newReader(bytes: Uint8Array): BinaryReader {
  return new BinaryReader(bytes);
}

/**
 * Reads fields up to `end`, unknown ones skipped. Whatever is wrong with the bytes is a ResourceError: a length that
 * leaves its message, a value that ends behind it, a text that is not UTF-8.
 */
export function fields(reader: BinaryReader, end: number, place: string, read: FieldReader): void {
  let wire: WireType = WireType.Varint;
  const inner = (): number => {
    if (wire !== WireType.LengthDelimited) throw new ResourceError(`${place}: a message has wire type ${wire}`);
    const length = reader.uint32();
    if (reader.pos + length > end) throw new ResourceError(`${place}: a length leaves its message`);
    return reader.pos + length;
  };
  try {
    while (reader.pos < end) {
      const [field, type] = reader.tag();
      wire = type;
      const at = reader.pos;
      read(field, inner);
      if (reader.pos === at) reader.skip(type, field);
    }
  } catch (error) {
    if (error instanceof ResourceError) throw error;
    throw new ResourceError(`${place || "the assignment"}: broken bytes (${textOf(error)})`, { cause: error });
  }
  if (reader.pos !== end) throw new ResourceError(`${place || "the assignment"}: a value ends behind its message`);
}

/** google.protobuf.UInt32Value. */
export function wrappedUint32(reader: BinaryReader, end: number): number {
  let value = 0;
  fields(reader, end, "value", (field) => {
    if (field !== 1) return;
    value = reader.uint32();
  });
  return value;
}
