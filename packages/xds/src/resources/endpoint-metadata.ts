import type { Cursor, Span } from "./wire.ts";

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
  /** Where `filter_metadata["istio"].workload` stands; at no bytes when nothing is said. */
  workloadStart: number;
  workloadEnd: number;
  /** `filter_metadata["envoy.lb"].hash_key`: stands for the address in consistent hashing. */
  hashKey: string | undefined;
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
    } else if (tag === 0x12 && isSocketMatch) {
      readText(cursor, end, tlsMode);
      into.tlsMode = cursor.textLike(found, "istio");
    } else if (tag === 0x12 && isIstio) {
      readText(cursor, end, workload);
      into.workloadStart = found.start;
      into.workloadEnd = found.end;
    } else if (tag === 0x12 && isBalancing) {
      readText(cursor, end, hashKey);
      if (found.start < found.end) into.hashKey = cursor.textLike(found, "");
    } else cursor.skip(tag, end);
  }
  cursor.leave(end);
}

/** Where the text stands that was found last; at no bytes when there is none. */
const found: Span = { start: 0, end: 0 };

/** Finds the text under a key of a google.protobuf.Struct. */
function readText(cursor: Cursor, outer: number, wanted: Uint8Array): void {
  const end = cursor.enter(outer);
  found.start = found.end = 0;
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
      else if (part === 0x12 && hit) readValue(cursor, entryEnd);
      else cursor.skip(part, entryEnd);
    }
    cursor.leave(entryEnd);
  }
  cursor.leave(end);
}

/** google.protobuf.Value, of which only a text is of interest. */
function readValue(cursor: Cursor, outer: number): void {
  const end = cursor.enter(outer);
  found.start = found.end = 0;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x1a) {
      found.end = cursor.enter(end);
      found.start = cursor.pos;
      cursor.pos = found.end;
    } else cursor.skip(tag, end);
  }
  cursor.leave(end);
}
