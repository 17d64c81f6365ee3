import type { Cidr } from "../config.ts";
import { MeshError } from "../errors.ts";

/** A block of addresses, compiled. A text that is no address is in no block. */
export type AddressTest = (address: string) => boolean;

/**
 * Compiles an address block (R55). An IPv4-mapped IPv6 address is its IPv4 address, on both sides, so that
 * a dual-stack socket (`::ffff:10.0.0.1`) does not escape an IPv4 rule. Bits below the prefix are ignored on both sides.
 */
export function compileCidr(cidr: Cidr): AddressTest {
  const block = blockOf(cidr);
  return (text) => {
    const address = parseAddress(text);
    return address !== undefined && inBlock(address, block);
  };
}

/** The same over several blocks; the address is read once. */
export function compileCidrs(cidrs: readonly Cidr[]): AddressTest {
  const blocks = cidrs.map(blockOf);
  return (text) => {
    const address = parseAddress(text);
    return address !== undefined && blocks.some((block) => inBlock(address, block));
  };
}

/** Big-endian 32-bit words: one for IPv4, four for IPv6. */
export type Address = readonly [number] | readonly [number, number, number, number];

interface Block {
  readonly address: Address;
  readonly bits: number;
}

function blockOf({ address: text, bits }: Cidr): Block {
  const address = parseAddress(text);
  // A mapped block shorter than ::ffff:0:0/96 holds more than IPv4 and stays IPv6.
  const mapped = address?.length === 1 && text.includes(":");
  if (mapped && bits < 96) return checked(text, bits, parseV6(text));
  return checked(text, mapped ? bits - 96 : bits, address);
}

function checked(text: string, bits: number, address: Address | undefined): Block {
  if (address === undefined || !Number.isInteger(bits) || bits < 0 || bits > address.length * 32)
    throw new MeshError(
      "INTERNAL",
      `"${text}/${bits}" is not an address block: write an IPv4 or IPv6 address and its bits`,
    );
  return { address, bits };
}

function inBlock(address: Address, { address: net, bits }: Block): boolean {
  if (address.length !== net.length) return false;
  let left = bits;
  for (let word = 0; left > 0; word++, left -= 32) {
    // A shift by 32 is a shift by 0 in JavaScript; whole words are compared without one.
    const shift = left >= 32 ? 0 : 32 - left;
    if (address[word]! >>> shift !== net[word]! >>> shift) return false;
  }
  return true;
}

/** Reads an address; `undefined` for anything else, a zone (`fe80::1%eth0`) included: a zone means nothing to a peer. */
export function parseAddress(text: string): Address | undefined {
  if (!text.includes(":")) {
    const v4 = parseV4(text);
    return v4 === undefined ? undefined : [v4];
  }
  const v6 = parseV6(text);
  if (v6 !== undefined && v6[0] === 0 && v6[1] === 0 && v6[2] === 0xffff) return [v6[3]];
  return v6;
}

/** Four decimal parts, without leading zeros: `010` is 8 to some parsers and 10 to others. */
function parseV4(text: string): number | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (parts === null) return undefined;
  let value = 0;
  for (let i = 1; i <= 4; i++) {
    const part = parts[i]!;
    if (Number(part) > 255 || (part.length > 1 && part.startsWith("0"))) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

function parseV6(text: string): readonly [number, number, number, number] | undefined {
  // The last 32 bits may be written as IPv4.
  const dotted = text.includes(".") ? text.lastIndexOf(":") + 1 : -1;
  let rest = text;
  if (dotted >= 0) {
    const v4 = parseV4(text.slice(dotted));
    if (v4 === undefined) return undefined;
    rest = `${text.slice(0, dotted)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  }
  const gap = rest.indexOf("::");
  const left = groups(gap < 0 ? rest : rest.slice(0, gap));
  const right = groups(gap < 0 ? "" : rest.slice(gap + 2));
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  if (gap < 0 ? missing !== 0 : missing < 1) return undefined;
  const all = [...left, ...Array.from({ length: missing }, () => 0), ...right];
  const word = (at: number): number => all[at]! * 0x10000 + all[at + 1]!;
  return [word(0), word(2), word(4), word(6)];
}

function groups(text: string): number[] | undefined {
  if (text === "") return [];
  const values: number[] = [];
  for (const group of text.split(":")) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    values.push(Number.parseInt(group, 16));
  }
  return values;
}
