import type { Cursor } from "./wire.ts";

const encoder = new TextEncoder();
const socketMatch = encoder.encode("envoy.transport_socket_match");
const istio = encoder.encode("istio");
const tlsMode = encoder.encode("tlsMode");
const workload = encoder.encode("workload");
const loadBalancing = encoder.encode("envoy.lb");
const hashKey = encoder.encode("hash_key");

/** What Istio and Envoy say of an endpoint in its metadata. */
export interface EndpointMetadata {
  /** `filter_metadata["envoy.transport_socket_match"].tlsMode`; empty when nothing is said. */
  tlsMode: string;
  /** `filter_metadata["istio"].workload`. */
  workload: string;
  /** `filter_metadata["envoy.lb"].hash_key`: stands for the address in consistent hashing. */
  hashKey: string | undefined;
  /** What was said of the workload of the endpoint before, which mostly is of the same one. */
  likely: string;
}

/** core.v3.Metadata: three texts are taken out of three of its structs, the rest is skipped unread. */
export function readMetadata(cursor: Cursor, outer: number, into: EndpointMetadata): void {
  const end = cursor.enter(outer);
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) readFilterEntry(cursor, end, into);
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
}

/** An entry of `map<string, Struct>`: the key comes first, as every encoder writes it. */
function readFilterEntry(cursor: Cursor, outer: number, into: EndpointMetadata): void {
  const end = cursor.enter(outer);
  let isSocketMatch = false;
  let isIstio = false;
  let isBalancing = false;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) {
      const start = cursor.pos;
      isSocketMatch = cursor.textIs(end, socketMatch);
      if (isSocketMatch) continue;
      cursor.pos = start;
      isIstio = cursor.textIs(end, istio);
      if (isIstio) continue;
      cursor.pos = start;
      isBalancing = cursor.textIs(end, loadBalancing);
    } else if (tag === 0x12 && isSocketMatch) into.tlsMode = textIn(cursor, end, tlsMode, "istio");
    else if (tag === 0x12 && isIstio) into.workload = into.likely = textIn(cursor, end, workload, into.likely);
    else if (tag === 0x12 && isBalancing) {
      const found = textIn(cursor, end, hashKey, "");
      if (found !== "") into.hashKey = found;
    } else cursor.skip(tag, end);
  }
  cursor.leave(end);
}

/** The text under a key of a google.protobuf.Struct; empty when there is none. */
function textIn(cursor: Cursor, outer: number, wanted: Uint8Array, likely: string): string {
  const end = cursor.enter(outer);
  let found = "";
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag !== 0x0a) {
      cursor.skip(tag, end);
      continue;
    }
    const entryEnd = cursor.enter(end);
    let hit = false;
    while (cursor.pos < entryEnd) {
      const part = cursor.uint32();
      if (part === 0x0a) hit = cursor.textIs(entryEnd, wanted);
      else if (part === 0x12 && hit) found = textValue(cursor, entryEnd, likely);
      else cursor.skip(part, entryEnd);
    }
    cursor.leave(entryEnd);
  }
  cursor.leave(end);
  return found;
}

/** google.protobuf.Value, of which only a text is of interest. */
function textValue(cursor: Cursor, outer: number, likely: string): string {
  const end = cursor.enter(outer);
  let found = "";
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x1a) found = cursor.textLike(end, likely);
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
  return found;
}
