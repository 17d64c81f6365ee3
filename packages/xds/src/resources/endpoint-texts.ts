import type { AddressSet } from "./address-set.ts";

const colon = 0x3a;
const zero = 0x30;
/** Of a port, and what else an address has beside its host: brackets and a colon. */
const most = 8;
/** Begin and end of the address, begin and end of the workload. */
const marks = 4;

/**
 * What the endpoints of one assignment say of themselves that others do not: their addresses and workloads, as bytes, one behind the other,
 * beside V8's heap. A text is made of them when somebody asks, which for most of ten thousand nobody ever does.
 */
export class EndpointTexts {
  #bytes = Buffer.alloc(0);
  #length = 0;
  #marks = new Uint32Array(0);
  #count = 0;
  /** Of the workload that was asked for last, which is mostly that of the next one too. */
  #start = -1;
  #workload = "";

  /**
   * Takes in an endpoint, and gives its index: the address `host:port`, IPv6 in brackets, of a host that stands in `bytes` from `hostStart` to
   * `hostEnd`, or without a port the path of a socket, as it is; and its workload, from `start` to `end`.
   */
  add(bytes: Buffer, hostStart: number, hostEnd: number, port: number, start: number, end: number): number {
    this.#reserve(hostEnd - hostStart + most + end - start);
    const index = this.#count++;
    const at = index * marks;
    this.#marks[at] = this.#length;
    this.#address(bytes, hostStart, hostEnd, port);
    this.#marks[at + 1] = this.#length;
    this.#marks[at + 2] = this.#marks[at + 3] = this.#length;
    if (this.#likeBefore(index, bytes, start, end)) {
      this.#marks[at + 2] = this.#marks[at - 2]!;
      this.#marks[at + 3] = this.#marks[at - 1]!;
      return index;
    }
    for (let from = start; from < end; from++) this.#bytes[this.#length++] = bytes[from]!;
    this.#marks[at + 3] = this.#length;
    return index;
  }

  /** No more come: gives back the room that was left for them. */
  settle(): void {
    const bytes = Buffer.allocUnsafeSlow(this.#length);
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
    this.#marks = this.#marks.slice(0, this.#count * marks);
  }

  address(index: number): string {
    return this.#text(this.#marks[index * marks]!, this.#marks[index * marks + 1]!);
  }

  workload(index: number): string {
    const start = this.#marks[index * marks + 2]!;
    const end = this.#marks[index * marks + 3]!;
    if (start === end) return "";
    if (start !== this.#start) {
      this.#workload = this.#text(start, end);
      this.#start = start;
    }
    return this.#workload;
  }

  /** Puts its address among those that are known; false: it, or one of the same hash, is known. */
  enter(addresses: AddressSet, index: number): boolean {
    return addresses.addBytes(this.#bytes, this.#marks[index * marks]!, this.#marks[index * marks + 1]!);
  }

  #text(start: number, end: number): string {
    return this.#bytes.toString("utf8", start, end);
  }

  #address(bytes: Buffer, start: number, end: number, port: number): void {
    const into = this.#bytes;
    let at = this.#length;
    const brackets = port !== 0 && hasColon(bytes, start, end);
    if (brackets) into[at++] = 0x5b;
    for (let from = start; from < end; from++) into[at++] = bytes[from]!;
    if (brackets) into[at++] = 0x5d;
    if (port !== 0) {
      into[at++] = colon;
      let scale = 1;
      while (scale * 10 <= port) scale *= 10;
      for (; scale >= 1; scale = Math.floor(scale / 10)) into[at++] = zero + (Math.floor(port / scale) % 10);
    }
    this.#length = at;
  }

  #likeBefore(index: number, bytes: Buffer, start: number, end: number): boolean {
    if (index === 0) return false;
    const was = this.#marks[index * marks - 2]!;
    if (this.#marks[index * marks - 1]! - was !== end - start) return false;
    // In script: they are short, and a call out of it costs more than the whole loop.
    for (let at = 0; at < end - start; at++) if (this.#bytes[was + at] !== bytes[start + at]) return false;
    return true;
  }

  #reserve(more: number): void {
    if (this.#length + more > this.#bytes.length) {
      const bytes = Buffer.allocUnsafeSlow(2 * (this.#length + more));
      this.#bytes.copy(bytes, 0, 0, this.#length);
      this.#bytes = bytes;
    }
    if ((this.#count + 1) * marks > this.#marks.length) {
      const longer = new Uint32Array(2 * (this.#count + 1) * marks);
      longer.set(this.#marks);
      this.#marks = longer;
    }
  }
}

function hasColon(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] === colon) return true;
  return false;
}
