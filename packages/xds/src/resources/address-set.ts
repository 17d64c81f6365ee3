import { xxHash64Of } from "@trama/engine";

/** More than so many of eight places are not taken. */
const full = 5;

/**
 * Which addresses there are, by 64 bits of hash each, beside the heap: a set of ten thousand texts is a table that V8 looks through, and copies
 * whenever it grows. Two addresses may have one hash, so what is known here may yet be new; what is new here is new.
 */
export class AddressSet {
  /** Pairs of halves; both 0: free. */
  #places = new Int32Array(2 * 512);
  #size = 0;
  readonly #hash = { high: 0, low: 0 };
  #room = Buffer.alloc(64);

  get size(): number {
    return this.#size;
  }

  /** False: it is known, or one of the same hash. */
  add(address: string): boolean {
    const bytes = Buffer.from(address);
    return this.addBytes(bytes, 0, bytes.length);
  }

  /** The same of one that stands in these bytes. */
  addBytes(bytes: Buffer, start: number, end: number): boolean {
    if (8 * (this.#size + 1) > (this.#places.length / 2) * full) this.#grow();
    const { high, low } = this.#hashOf(bytes, start, end);
    const at = this.#find(high, low);
    if (!this.#free(at)) return false;
    this.#put(at, high, low);
    this.#size++;
    return true;
  }

  delete(address: string): void {
    const bytes = Buffer.from(address);
    const { high, low } = this.#hashOf(bytes, 0, bytes.length);
    let hole = this.#find(high, low);
    if (this.#free(hole)) return;
    this.#size--;
    const mask = this.#places.length / 2 - 1;
    // Who stands behind it, and would have stood here, moves up; so a look-up may stop at the first free place.
    for (let at = (hole + 1) & mask; !this.#free(at); at = (at + 1) & mask) {
      const home = this.#places[2 * at + 1]! & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#put(hole, this.#places[2 * at]!, this.#places[2 * at + 1]!);
      hole = at;
    }
    this.#put(hole, 0, 0);
  }

  #hashOf(bytes: Buffer, start: number, end: number): { readonly high: number; readonly low: number } {
    const hash = this.#hash;
    const length = end - start;
    if (this.#room.length < length) this.#room = Buffer.alloc(2 * length);
    for (let at = 0; at < length; at++) this.#room[at] = bytes[start + at]!;
    xxHash64Of(this.#room, length, hash);
    if (hash.high === 0 && hash.low === 0) hash.low = 1;
    return hash;
  }

  /** Where it stands, or the free place where it would. */
  #find(high: number, low: number): number {
    const places = this.#places;
    const mask = places.length / 2 - 1;
    let at = low & mask;
    while (!this.#free(at) && (places[2 * at] !== high || places[2 * at + 1] !== low)) at = (at + 1) & mask;
    return at;
  }

  #free(at: number): boolean {
    return this.#places[2 * at] === 0 && this.#places[2 * at + 1] === 0;
  }

  #put(at: number, high: number, low: number): void {
    this.#places[2 * at] = high;
    this.#places[2 * at + 1] = low;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Int32Array(2 * before.length);
    for (let at = 0; at < before.length; at += 2) {
      const high = before[at]!;
      const low = before[at + 1]!;
      if (high !== 0 || low !== 0) this.#put(this.#find(high, low), high, low);
    }
  }
}
