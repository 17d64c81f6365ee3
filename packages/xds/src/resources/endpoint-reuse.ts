import type { EndpointConfig, EndpointSet, Sliced } from "@trama/engine";

import type { AddressSet } from "./address-set.ts";

/**
 * Where the endpoints of a large assignment stand in its bytes, so that the next one is read only where it differs: of 10,000 endpoints
 * one changes, and the bytes before and behind it are the same. Kept beside the assignment for as long as that is held.
 */
export interface AssignmentIndex {
  readonly localities: readonly LocalityIndex[];
  readonly addresses: Addresses;
}

interface LocalityIndex {
  readonly bytes: Buffer;
  /** Of the message's content. */
  readonly start: number;
  readonly end: number;
  readonly endpoints: readonly EndpointConfig[];
  /** Where the field of each endpoint begins, from the content's start on, and where the last one ends: nothing lies between them. */
  readonly starts: Uint32Array;
}

/** All addresses of an assignment. Handed on to its successor, who changes what is different: who it belongs to is looked at first. */
interface Addresses {
  owner: EndpointSet;
  readonly set: AddressSet;
}

const indexes = new WeakMap<EndpointSet, AssignmentIndex>();

/** Smaller ones are read anew. */
const worthwhile = 256;

export function indexOf(set: EndpointSet): AssignmentIndex | undefined {
  const index = indexes.get(set);
  return index?.addresses.owner === set ? index : undefined;
}

/** A locality that was read. */
export interface ReadEndpoints {
  readonly reading: ReusedLocality;
  readonly endpoints: readonly EndpointConfig[];
}

/**
 * Keeps where the parts of an assignment stand that was just read. False, and nothing has changed: by what was added an address seems
 * to be there twice (R43), or somebody else has succeeded to `before` meanwhile. `addresses` are all of them, where they were gathered.
 */
export function remember(
  set: EndpointSet,
  localities: readonly ReadEndpoints[],
  addresses: AddressSet | undefined,
  before: EndpointSet | undefined,
): boolean {
  let box: Addresses;
  if (addresses === undefined) {
    const known = before === undefined ? undefined : indexOf(before);
    if (known === undefined || !exchange(known, localities)) return false;
    box = known.addresses;
    box.owner = set;
  } else {
    if (addresses.size < worthwhile) return true;
    box = { owner: set, set: addresses };
  }
  const read = localities.flatMap(({ reading, endpoints }) => reading.index(endpoints) ?? []);
  if (read.length === localities.length) indexes.set(set, { localities: read, addresses: box });
  return true;
}

/** What is gone goes, what is new comes; all or nothing. */
function exchange(known: AssignmentIndex, now: readonly ReadEndpoints[]): boolean {
  const all = known.addresses.set;
  const gone: EndpointConfig[] = [];
  for (const [at, { endpoints }] of known.localities.entries())
    for (const each of now[at]?.reading.gone() ?? endpoints) gone.push(each);
  for (const { address } of gone) all.delete(address);
  const come: string[] = [];
  for (const { reading } of now)
    for (const { address } of reading.added) {
      if (!all.add(address)) {
        for (const each of come) all.delete(each);
        for (const each of gone) all.add(each.address);
        return false;
      }
      come.push(address);
    }
  return true;
}

/**
 * The endpoints of one locality while they are read. First come those whose bytes are the same as before, then what had to be read, then
 * again those that are the same: nothing is done for each of them that is taken over.
 */
export class ReusedLocality {
  /** Those that had to be read. */
  readonly added: EndpointConfig[] = [];
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #end: number;
  readonly #before: LocalityIndex | undefined;
  /** So many bytes are the same at the end. */
  #suffix = 0;
  /** What was there before is so much further on, seen from the end. */
  #shift = 0;
  /** Of those before, so many lie in the bytes that are the same at the begin. */
  #head = 0;
  #headTaken = false;
  /** Of those before, from here on. */
  #tail: number;
  /** Of those that were read. */
  readonly #starts: number[] = [];
  #behind = -1;
  #adjacent = true;

  /** The content of the message lies from `start` to `end`. */
  constructor(bytes: Buffer, start: number, end: number, before: LocalityIndex | undefined) {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.#before = before;
    this.#tail = before?.endpoints.length ?? 0;
  }

  /** To be called once, before all else. */
  *compare(): Sliced<void> {
    const before = this.#before;
    if (before === undefined) return;
    const start = this.#start;
    const end = this.#end;
    this.#shift = end - start - (before.end - before.start);
    this.#suffix = sameSuffix(this.#bytes, start, end, before);
    yield undefined;
    const prefix = samePrefix(this.#bytes, start, end, before);
    // The start of each is the end of the one before it.
    this.#head = Math.max(0, firstFrom(before.starts, prefix + 1) - 1);
    yield undefined;
  }

  /** So many up to now. */
  get count(): number {
    return (this.#headTaken ? this.#head : 0) + this.added.length;
  }

  /** If at this position stand endpoints that were there before: takes them over, and says where they end. Else 0. */
  take(position: number): number {
    const before = this.#before;
    if (before === undefined || this.#tail < before.endpoints.length) return 0;
    const { starts, endpoints } = before;
    const at = position - this.#start;
    if (this.#head > 0 && !this.#headTaken && at === starts[0]) {
      this.#headTaken = true;
      return this.#from(position, this.#start + starts[this.#head]!);
    }
    const was = at - this.#shift;
    if (was < 0 || before.end - before.start - was > this.#suffix) return 0;
    const first = firstFrom(starts, was);
    if (first < (this.#headTaken ? this.#head : 0) || first >= endpoints.length || starts[first] !== was) return 0;
    this.#tail = first;
    return this.#from(position, this.#start + starts[endpoints.length]! + this.#shift);
  }

  /** One that had to be read, from the begin of its field to its end. */
  add(endpoint: EndpointConfig, start: number, end: number): void {
    this.added.push(endpoint);
    this.#starts.push(start - this.#start);
    this.#from(start, end);
  }

  /** Those before that were not taken over. */
  gone(): readonly EndpointConfig[] {
    return this.#before?.endpoints.slice(this.#headTaken ? this.#head : 0, this.#tail) ?? [];
  }

  /** All of them, in their order. */
  endpoints(): EndpointConfig[] {
    const before = this.#before?.endpoints ?? [];
    return before.slice(0, this.#headTaken ? this.#head : 0).concat(this.added, before.slice(this.#tail));
  }

  /** `undefined`: its endpoints do not stand one behind the other, as every encoder writes them. */
  index(endpoints: readonly EndpointConfig[]): LocalityIndex | undefined {
    if (!this.#adjacent) return undefined;
    const head = this.#headTaken ? this.#head : 0;
    const starts = new Uint32Array(endpoints.length + 1);
    const before = this.#before?.starts;
    if (before !== undefined) starts.set(before.subarray(0, head));
    starts.set(this.#starts, head);
    const tail = head + this.added.length;
    if (before !== undefined && tail < endpoints.length) {
      starts.set(before.subarray(this.#tail), tail);
      if (this.#shift !== 0) for (let at = tail; at < starts.length; at++) starts[at]! += this.#shift;
    } else starts[endpoints.length] = Math.max(0, this.#behind - this.#start);
    return { bytes: this.#bytes, start: this.#start, end: this.#end, endpoints, starts };
  }

  #from(start: number, end: number): number {
    if (this.#behind !== -1 && this.#behind !== start) this.#adjacent = false;
    this.#behind = end;
    return end;
  }
}

/** Index of the first value, in ascending ones, that is not below `least`. */
function firstFrom(values: Uint32Array, least: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Compared in pieces of these sizes out of script, and what is left byte by byte. */
const pieces = [4_096, 64];

function samePrefix(bytes: Buffer, start: number, end: number, before: LocalityIndex): number {
  const most = Math.min(end - start, before.end - before.start);
  let same = 0;
  for (const size of pieces)
    while (same + size <= most && equal(bytes, start + same, before.bytes, before.start + same, size)) same += size;
  while (same < most && bytes[start + same] === before.bytes[before.start + same]) same++;
  return same;
}

function sameSuffix(bytes: Buffer, start: number, end: number, before: LocalityIndex): number {
  const most = Math.min(end - start, before.end - before.start);
  let same = 0;
  for (const size of pieces)
    while (same + size <= most && equal(bytes, end - same - size, before.bytes, before.end - same - size, size))
      same += size;
  while (same < most && bytes[end - same - 1] === before.bytes[before.end - same - 1]) same++;
  return same;
}

function equal(a: Buffer, aStart: number, b: Buffer, bStart: number, size: number): boolean {
  return a.compare(b, bStart, bStart + size, aStart, aStart + size) === 0;
}
