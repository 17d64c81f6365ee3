import { hasAsciiLower } from "@trama/engine";
import type { Dispatcher } from "undici";

import { attemptCountField, expectedTimeoutField } from "../transport/hop-fields.ts";
import { peerHeader } from "../transport/upstream-request.ts";

type Given = Dispatcher.DispatchOptions["headers"];

/**
 * The application's header fields as one flat array of our own, `host` first: undici takes records, flat arrays and iterables of
 * pairs. What only the mesh may say is dropped: the transport says it. What is no header at all is left to undici, which refuses it with a message.
 */
export function requestHeaders(given: Given, host: string): string[] {
  const flat = room(given);
  flat[0] = "host";
  flat[1] = host;
  let at = 2;
  if (Array.isArray(given)) {
    if (given.length % 2 !== 0) throw new TypeError("headers array must be even");
    for (let i = 0; i < given.length; i += 2) at = put(flat, at, given[i] as string, given[i + 1]);
  } else if (given !== null && typeof given === "object") {
    if (Symbol.iterator in given) for (const [name, value] of given) at = put(flat, at, name, value);
    // Not Object.keys: its array would be garbage with every request.
    else for (const name in given) if (Object.hasOwn(given, name)) at = put(flat, at, name, given[name]);
  } else if (given !== undefined && given !== null) throw new TypeError("headers must be an object or an array");
  flat.length = at;
  return flat;
}

/** As long as it will be, nearly always: an array that grows step by step leaves twice its size behind. */
function room(given: Given): string[] {
  let size = 2;
  if (Array.isArray(given)) size += given.length;
  else if (given !== null && typeof given === "object") for (const _ in given) size += 2;
  // oxlint-disable-next-line unicorn/no-new-array -- the one form that makes exactly this much room
  return new Array<string>(size);
}

/** What only the mesh may say; by length first, for most names are none of these. */
function isOurs(name: string): boolean {
  return is(name, peerHeader) || is(name, attemptCountField) || is(name, expectedTimeoutField);
}

function is(name: string, lower: string): boolean {
  return name.length === lower.length && hasAsciiLower(name, lower, 0);
}

/** Returns where the next field goes. */
function put(flat: string[], at: number, name: string, value: unknown): number {
  if (value === undefined) return at;
  if (name.length === 4 && name.toLowerCase() === "host") {
    // The application's own Host goes out as it is; which service is called is decided by the URL.
    flat[1] = text(name, value);
    return at;
  }
  if (isOurs(name)) return at;
  if (!Array.isArray(value)) {
    flat[at] = name;
    flat[at + 1] = text(name, value);
    return at + 2;
  }
  for (const one of value as unknown[]) {
    flat[at++] = name;
    flat[at++] = text(name, one);
  }
  return at;
}

function text(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (value === null) return "";
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return String(value);
  throw new TypeError(`invalid ${name} header`);
}
