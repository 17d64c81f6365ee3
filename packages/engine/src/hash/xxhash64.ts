/** 64 bits as two signed 32-bit halves: a bigint, or a number of more than 31 bits, would be garbage with every hash. */
export interface Hash64 {
  high: number;
  low: number;
}

// The primes of XXH64, in halves.
const P1H = 0x9e3779b1 | 0;
const P1L = 0x85ebca87 | 0;
const P2H = 0xc2b2ae3d | 0;
const P2L = 0x27d4eb4f | 0;
const P3H = 0x165667b1 | 0;
const P3L = 0x9e3779f9 | 0;
const P4H = 0x85ebca77 | 0;
const P4L = 0xc2b2ae63 | 0;
const P5H = 0x27d4eb2f | 0;
const P5L = 0x165667c5 | 0;

let bytes = new Uint8Array(256);
/** The 64 bits that the functions below work on. */
let high = 0;
let low = 0;
/** The four accumulators, for texts of 32 bytes and more. */
const lanes = new Int32Array(8);

/**
 * XXH64, which Envoy and gRPC hash by (R46, R47), of a byte string: a character a byte, as Node gives what stood on the wire. The
 * seed has 64 bits. `into` takes the result; nothing is allocated but, for the longest text so far, a buffer that stays.
 */
export function xxHash64(text: string, into: Hash64, seedHigh = 0, seedLow = 0): void {
  const length = bytesOf(text);
  let at = 0;
  if (length >= 32) {
    at = stripes(length, seedHigh, seedLow);
  } else {
    high = seedHigh;
    low = seedLow;
    add(P5H, P5L);
  }
  add(0, length);
  for (; at + 8 <= length; at += 8) {
    const h = high;
    const l = low;
    high = read32(at + 4);
    low = read32(at);
    multiply(P2H, P2L);
    rotate(31);
    multiply(P1H, P1L);
    high ^= h;
    low ^= l;
    rotate(27);
    multiply(P1H, P1L);
    add(P4H, P4L);
  }
  if (at + 4 <= length) {
    mix(read32(at), P1H, P1L);
    rotate(23);
    multiply(P2H, P2L);
    add(P3H, P3L);
    at += 4;
  }
  for (; at < length; at++) {
    mix(bytes[at]!, P5H, P5L);
    rotate(11);
    multiply(P1H, P1L);
  }
  low ^= high >>> 1; // 33 places to the right
  multiply(P2H, P2L);
  low ^= (low >>> 29) | (high << 3);
  high ^= high >>> 29;
  multiply(P3H, P3L);
  low ^= high;
  into.high = high;
  into.low = low;
}

/** Whole stripes of 32 bytes, each by four lanes, which are then put together; gives where the rest begins. */
function stripes(length: number, seedHigh: number, seedLow: number): number {
  lane(0, P1H, P1L, seedHigh, seedLow);
  add(P2H, P2L);
  store(0);
  lane(2, P2H, P2L, seedHigh, seedLow);
  lane(4, 0, 0, seedHigh, seedLow);
  lane(6, ~P1H, -P1L, seedHigh, seedLow); // minus the first prime
  let at = 0;
  for (; at + 32 <= length; at += 32)
    for (let each = 0; each < 8; each += 2) {
      high = read32(at + each * 4 + 4);
      low = read32(at + each * 4);
      round(each);
      store(each);
    }
  high = 0;
  low = 0;
  for (let each = 0; each < 8; each += 2) {
    const h = high;
    const l = low;
    load(each);
    rotate(rotations[each >> 1]!);
    add(h, l);
  }
  for (let each = 0; each < 8; each += 2) {
    const h = high;
    const l = low;
    load(each);
    multiply(P2H, P2L);
    rotate(31);
    multiply(P1H, P1L);
    high ^= h;
    low ^= l;
    multiply(P1H, P1L);
    add(P4H, P4L);
  }
  return at;
}

const rotations = [1, 7, 12, 18];

/** A lane starts as a constant and the seed. */
function lane(at: number, constantHigh: number, constantLow: number, seedHigh: number, seedLow: number): void {
  high = constantHigh;
  low = constantLow;
  add(seedHigh, seedLow);
  store(at);
}

/** Takes the current 64 bits into a lane. */
function round(at: number): void {
  multiply(P2H, P2L);
  add(lanes[at]!, lanes[at + 1]!);
  rotate(31);
  multiply(P1H, P1L);
}

function load(at: number): void {
  high = lanes[at]!;
  low = lanes[at + 1]!;
}

function store(at: number): void {
  lanes[at] = high;
  lanes[at + 1] = low;
}

/** Xor with `value`, unsigned, times a prime. */
function mix(value: number, primeHigh: number, primeLow: number): void {
  const h = high;
  const l = low;
  high = 0;
  low = value;
  multiply(primeHigh, primeLow);
  high ^= h;
  low ^= l;
}

function add(byHigh: number, byLow: number): void {
  const sum = (low + byLow) | 0;
  // A sum that is smaller than what was added has overflowed.
  high = (high + byHigh + (sum >>> 0 < byLow >>> 0 ? 1 : 0)) | 0;
  low = sum;
}

function rotate(by: number): void {
  const h = high;
  high = (h << by) | (low >>> (32 - by));
  low = (low << by) | (h >>> (32 - by));
}

/** The low 64 bits of the product; the carry of the low halves by schoolbook, 16 bits a digit. */
function multiply(byHigh: number, byLow: number): void {
  const a0 = low & 0xffff;
  const a1 = low >>> 16;
  const b0 = byLow & 0xffff;
  const b1 = byLow >>> 16;
  let t = (Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16)) | 0;
  const carry = t >>> 16;
  t = (Math.imul(a0, b1) + (t & 0xffff)) | 0;
  const top = (Math.imul(a1, b1) + carry + (t >>> 16)) | 0;
  high = (top + Math.imul(low, byHigh) + Math.imul(high, byLow)) | 0;
  low = Math.imul(low, byLow);
}

function read32(at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** Fills `bytes` and gives their number. */
function bytesOf(text: string): number {
  if (text.length > bytes.length) bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return text.length;
}
