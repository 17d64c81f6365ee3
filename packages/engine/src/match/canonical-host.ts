import { asciiLower } from "./ascii.ts";
import { parseAddress } from "./cidr.ts";
import type { Address } from "./cidr.ts";

export type CanonicalHost =
  | {
      readonly ok: true;
      readonly host: string;
      /** Digits as written; empty when there is none. */ readonly port: string;
    }
  | { readonly ok: false; readonly reason: string };

/**
 * The host of an authority as authorization compares it (dataplane.md §23 rule 3): lower case, no port, no trailing dot,
 * IPv6 in brackets in its one short form, without zone. What is outside the host grammar is refused.
 */
export function canonicalHost(authority: string): CanonicalHost {
  const parts = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]+)(?::(\d{0,5}))?$/.exec(authority);
  if (parts === null) return { ok: false, reason: "the authority is not a host with an optional port" };
  const [, host = "", port = ""] = parts;
  if (host.startsWith("[")) {
    const address = host.includes(":") ? parseAddress(host.slice(1, -1)) : undefined;
    if (address === undefined) return { ok: false, reason: "the authority has a malformed IPv6 address" };
    return { ok: true, host: addressText(address), port };
  }
  const name = asciiLower(host.endsWith(".") ? host.slice(0, -1) : host);
  if (name.length > 253 || !NAME.test(name)) return { ok: false, reason: "the authority is not a host name" };
  return { ok: true, host: name, port };
}

/** Labels of letters, digits, hyphens and the underscores that people use; no empty label. */
const NAME = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;

/** RFC 5952; an IPv4-mapped address is its IPv4 address (R55). */
function addressText(address: Address): string {
  if (address.length === 1) return [24, 16, 8, 0].map((shift) => (address[0] >>> shift) & 0xff).join(".");
  const groups = address.flatMap((word) => [word >>> 16, word & 0xffff]).map((group) => group.toString(16));
  const text = groups.join(":");
  // The longest run of at least two zero groups, the first of equals, is what `::` stands for.
  let longest = "";
  for (const [run] of text.matchAll(/\b0(?::0)+\b/g)) if (run.length > longest.length) longest = run;
  if (longest === "") return `[${text}]`;
  const at = text.search(new RegExp(`\\b${longest}\\b`));
  return `[${text.slice(0, at).replace(/:$/, "")}::${text.slice(at + longest.length).replace(/^:/, "")}]`;
}
