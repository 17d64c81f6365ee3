import type { IncomingMessage } from "node:http";
import { canonicalHost, hasAsciiLower } from "@trama/engine";

import { readHopField } from "../transport/hop-fields.ts";
import { peerHeader } from "../transport/upstream-request.ts";
import type { Connection } from "./connection.ts";

/** Envoy's default `max_request_headers_count`. */
const maxHeaders = 100;

/** Why a request is refused before anything looks at it. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
}

const bad = (reason: string): Refusal => ({ status: 400, reason });
const twoHosts = bad("more than one Host");
const badHost = bad("malformed Host");
const fragment = bad("a fragment in the request target");
const target = bad("a request target that this method does not take");
const mismatch = bad("the request target names another host");
const tooMany: Refusal = { status: 431, reason: `more than ${maxHeaders} header fields` };

/**
 * Brings a request into the one form that policy and application both see, or refuses it (dataplane.md §23 rules 1, 3, 5; §24: Node
 * passes all of this on as it came). Removes what only the mesh may say, and notes what the peer's mesh said of itself.
 */
export function checkRequest(request: IncomingMessage, connection: Connection): Refusal | undefined {
  const { rawHeaders } = request;
  if (rawHeaders.length > 2 * maxHeaders) return tooMany;
  let host: string | undefined;
  let internal = false;
  forgetLast(connection);
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && hasAsciiLower(name, "host", 0)) {
      if (host !== undefined) return twoHosts;
      host = rawHeaders[i + 1]!;
    } else if (isInternal(name)) {
      internal = true;
      const wrong = noteInternal(connection, name, rawHeaders[i + 1]!);
      if (wrong !== undefined) return bad(wrong);
    }
  }
  if (internal) removeInternal(request);
  const kept = connection.host;
  if (host !== undefined && host !== kept.text) {
    if (!canonicalHost(host).ok) return badHost;
    kept.text = host;
    kept.authority = host.toLowerCase();
  } else if (host === undefined) kept.text = kept.authority = "";
  return checkTarget(request, kept.authority);
}

function checkTarget(request: IncomingMessage, authority: string): Refusal | undefined {
  const url = request.url!;
  const { method } = request;
  if (url.includes("#")) return fragment;
  if (method === "CONNECT") return url.startsWith("/") ? target : undefined;
  if (url.startsWith("/")) return undefined;
  if (url === "*") return method === "OPTIONS" ? undefined : target;
  const absolute = /^https?:\/\/([^/?]+)(.*)$/is.exec(url);
  if (absolute === null) return target;
  const wanted = canonicalHost(absolute[1]!);
  const named = canonicalHost(authority);
  if (!wanted.ok || !named.ok || wanted.host !== named.host) return mismatch;
  // From here on everyone reads the same: frameworks route absolute targets by their path.
  const rest = absolute[2]!;
  request.url = rest.startsWith("/") ? rest : `/${rest}`;
  return undefined;
}

/** `x-…` names that speak for the mesh: identity, and Envoy's overrides of retries, time-outs and paths. */
export function isInternal(name: string): boolean {
  // Said first, for nearly every field is done with by it.
  if (name.length < 8 || (name.charCodeAt(0) | 0x20) !== 0x78 || name.charCodeAt(1) !== 0x2d) return false;
  return is(name, peerHeader) || is(name, "x-forwarded-client-cert") || hasAsciiLower(name, "x-envoy-", 0);
}

function is(name: string, lower: string): boolean {
  return name.length === lower.length && hasAsciiLower(name, lower, 0);
}

/**
 * Node derives two objects from the raw fields when they are first asked for, and remembers how many fields there were: both are made
 * before the raw ones are cut.
 */
function removeInternal(request: IncomingMessage): void {
  const { rawHeaders, headers, headersDistinct } = request;
  let kept = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (isInternal(name)) {
      const lower = name.toLowerCase();
      delete headers[lower];
      delete headersDistinct[lower];
    } else {
      rawHeaders[kept++] = name;
      rawHeaders[kept++] = rawHeaders[i + 1]!;
    }
  }
  rawHeaders.length = kept;
}

/** What a request says of its call is gone with the next. */
export function forgetLast({ hop }: Connection): void {
  hop.timeoutMs = Infinity;
  hop.attempt = 1;
}

/**
 * Keeps what the peer's mesh says with an internal field, or says why it cannot be: identity, deadline, attempt. Of strangers
 * nothing is believed, so that nobody outside the mesh can shorten a call or switch retries off.
 */
export function noteInternal(connection: Connection, name: string, value: string): string | undefined {
  if (name.length === peerHeader.length) noteWorkload(connection, value);
  else if (connection.mesh.peer.mtls) return readHopField(connection.hop, name, value);
  return undefined;
}

/** Believed only over mTLS, and only for the namespace that the certificate proves; holds until the peer says otherwise (docs/wire.md). */
function noteWorkload({ workload, mesh: { peer } }: Connection, text: string): void {
  if (text === workload.text) return;
  workload.text = text;
  const valid = peer.mtls && text.length <= 512 && text.split(";", 3)[1] === peer.namespace;
  workload.believed = valid ? text : undefined;
}
