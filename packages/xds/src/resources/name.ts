import { Cursor } from "./wire.ts";

/** Field 1, length-delimited. */
const nameTag = 0x0a;

/**
 * The name inside a resource's bytes, without decoding it: each of the four types has it in field 1. In the state of the world a
 * resource that cannot be decoded is known only by this, and must be known, or its absence would be taken for a deletion.
 * Throws ResourceError when the bytes are broken before that; empty text when there is no name.
 */
export function resourceName(bytes: Uint8Array): string {
  const cursor = new Cursor(bytes);
  while (cursor.pos < bytes.length) {
    const tag = cursor.uint32();
    if (tag === nameTag) return cursor.text(bytes.length);
    cursor.skip(tag, bytes.length);
  }
  return "";
}
