import { peerHeader } from "../transport/upstream-request.ts";
import type { Dispatcher } from "undici";

/**
 * The application's header fields as one flat array of our own, `host` first: undici takes records, flat arrays and iterables of
 * pairs. The peer header is ours alone, so the application's is dropped, and ours stands last. What is no header at all is left to
 * undici, which refuses it with a message.
 */
export function requestHeaders(given: Dispatcher.DispatchOptions["headers"], host: string, peer: string): string[] {
  const flat = ["host", host];
  if (Array.isArray(given)) {
    if (given.length % 2 !== 0) throw new TypeError("headers array must be even");
    for (let i = 0; i < given.length; i += 2) add(flat, given[i] as string, given[i + 1]);
  } else if (given !== null && typeof given === "object") {
    if (Symbol.iterator in given) for (const [name, value] of given) add(flat, name, value);
    // Not Object.keys: its array would be garbage with every request.
    else for (const name in given) if (Object.hasOwn(given, name)) add(flat, name, given[name]);
  } else if (given !== undefined && given !== null) throw new TypeError("headers must be an object or an array");
  if (peer !== "") flat.push(peerHeader, peer);
  return flat;
}

function add(flat: string[], name: string, value: unknown): void {
  if (value === undefined) return;
  if (name.length === 4 && name.toLowerCase() === "host") {
    // The application's own Host goes out as it is; which service is called is decided by the URL.
    flat[1] = text(name, value);
    return;
  }
  if (name.length === peerHeader.length && name.toLowerCase() === peerHeader) return;
  if (Array.isArray(value)) for (const one of value as unknown[]) flat.push(name, text(name, one));
  else flat.push(name, text(name, value));
}

function text(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (value === null) return "";
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return String(value);
  throw new TypeError(`invalid ${name} header`);
}
