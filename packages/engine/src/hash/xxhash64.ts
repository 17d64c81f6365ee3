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

let buffer = new Uint8Array(256);

/**
 * XXH64, which Envoy and gRPC hash by (R46, R47), of a byte string: a character a byte, as Node gives what stood on the wire. The
 * seed has 64 bits. `into` takes the result; nothing is allocated but, for the longest text so far, a buffer that stays.
 */
export function xxHash64(text: string, into: Hash64, seedHigh = 0, seedLow = 0): void {
  if (text.length > buffer.length) buffer = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) buffer[i] = text.charCodeAt(i);
  xxHash64Of(buffer, text.length, into, seedHigh, seedLow);
}

/** The same of the first `length` bytes. All numbers are signed halves in local variables, which is what makes it fast. */
export function xxHash64Of(bytes: Uint8Array, length: number, into: Hash64, seedHigh = 0, seedLow = 0): void {
  let h = 0;
  let l = 0;
  let at = 0;
  if (length >= 32) {
    at = stripes(bytes, length, into, seedHigh, seedLow);
    h = into.high;
    l = into.low;
  } else {
    l = (seedLow + P5L) | 0;
    h = (seedHigh + P5H + carry(l, P5L)) | 0;
  }
  l = (l + length) | 0;
  h = (h + carry(l, length)) | 0;
  for (; at + 8 <= length; at += 8) {
    const xl = read32(bytes, at);
    const yh = times(read32(bytes, at + 4), xl, P2H, P2L);
    const yl = Math.imul(xl, P2L);
    // Rotated by 31.
    const zl = (yl << 31) | (yh >>> 1);
    h ^= times((yh << 31) | (yl >>> 1), zl, P1H, P1L);
    l ^= Math.imul(zl, P1L);
    const rl = (l << 27) | (h >>> 5);
    h = times((h << 27) | (l >>> 5), rl, P1H, P1L);
    l = (Math.imul(rl, P1L) + P4L) | 0;
    h = (h + P4H + carry(l, P4L)) | 0;
  }
  if (at + 4 <= length) {
    const xl = read32(bytes, at);
    h ^= times(0, xl, P1H, P1L);
    l ^= Math.imul(xl, P1L);
    const rl = (l << 23) | (h >>> 9);
    h = times((h << 23) | (l >>> 9), rl, P2H, P2L);
    l = (Math.imul(rl, P2L) + P3L) | 0;
    h = (h + P3H + carry(l, P3L)) | 0;
    at += 4;
  }
  for (; at < length; at++) {
    const xl = bytes[at]!;
    h ^= times(0, xl, P5H, P5L);
    l ^= Math.imul(xl, P5L);
    const rl = (l << 11) | (h >>> 21);
    h = times((h << 11) | (l >>> 21), rl, P1H, P1L);
    l = Math.imul(rl, P1L);
  }
  l ^= h >>> 1; // 33 places to the right
  h = times(h, l, P2H, P2L);
  l = Math.imul(l, P2L);
  l ^= (l >>> 29) | (h << 3);
  h ^= h >>> 29;
  h = times(h, l, P3H, P3L);
  l = Math.imul(l, P3L);
  into.high = h;
  into.low = l ^ h;
}

/** Four lanes of two halves. */
const lanes = new Int32Array(8);

/** Whole stripes of 32 bytes, each by four lanes, which are then put together in `into`; gives where the rest begins. */
function stripes(bytes: Uint8Array, length: number, into: Hash64, seedHigh: number, seedLow: number): number {
  start(0, seedHigh, seedLow, P1H, P1L);
  start(0, lanes[0]!, lanes[1]!, P2H, P2L);
  start(2, seedHigh, seedLow, P2H, P2L);
  start(4, seedHigh, seedLow, 0, 0);
  start(6, seedHigh, seedLow, ~P1H, -P1L); // minus the first prime
  let at = 0;
  for (; at + 32 <= length; at += 32)
    for (let each = 0; each < 8; each += 2) {
      const low = read32(bytes, at + each * 4);
      const high = times(read32(bytes, at + each * 4 + 4), low, P2H, P2L);
      start(each, lanes[each]!, lanes[each + 1]!, high, Math.imul(low, P2L));
      mixed(each, lanes[each]!, lanes[each + 1]!);
    }
  let h = 0;
  let l = 0;
  for (let each = 0; each < 4; each++) {
    const by = rotations[each]!;
    const high = lanes[2 * each]!;
    const low = lanes[2 * each + 1]!;
    const added = (low << by) | (high >>> (32 - by));
    l = (l + added) | 0;
    h = (h + ((high << by) | (low >>> (32 - by))) + carry(l, added)) | 0;
  }
  for (let each = 0; each < 8; each += 2) {
    const low = lanes[each + 1]!;
    mixed(each, times(lanes[each]!, low, P2H, P2L), Math.imul(low, P2L));
    h ^= lanes[each]!;
    l ^= lanes[each + 1]!;
    h = times(h, l, P1H, P1L);
    l = (Math.imul(l, P1L) + P4L) | 0;
    h = (h + P4H + carry(l, P4L)) | 0;
  }
  into.high = h;
  into.low = l;
  return at;
}

const rotations = [1, 7, 12, 18];

/** Sets a lane to a sum. */
function start(lane: number, high: number, low: number, byHigh: number, byLow: number): void {
  const sum = (low + byLow) | 0;
  lanes[lane] = (high + byHigh + carry(sum, byLow)) | 0;
  lanes[lane + 1] = sum;
}

/** Sets a lane to a value, rotated by 31, times the first prime. */
function mixed(lane: number, high: number, low: number): void {
  const rotated = (low << 31) | (high >>> 1);
  lanes[lane] = times((high << 31) | (low >>> 1), rotated, P1H, P1L);
  lanes[lane + 1] = Math.imul(rotated, P1L);
}

/** What a sum of low halves carries over: it is smaller than what was added when it has overflowed. */
function carry(sum: number, added: number): number {
  return sum >>> 0 < added >>> 0 ? 1 : 0;
}

/** The high half of a product of 64 bits; the carry of the low halves by schoolbook, 16 bits a digit. The low half is one `imul`. */
function times(high: number, low: number, byHigh: number, byLow: number): number {
  const a0 = low & 0xffff;
  const a1 = low >>> 16;
  const b0 = byLow & 0xffff;
  const b1 = byLow >>> 16;
  const t = (Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16)) | 0;
  const u = (Math.imul(a0, b1) + (t & 0xffff)) | 0;
  const top = (Math.imul(a1, b1) + (t >>> 16) + (u >>> 16)) | 0;
  return (top + Math.imul(low, byHigh) + Math.imul(high, byLow)) | 0;
}

function read32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
