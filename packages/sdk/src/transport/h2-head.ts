import type { Attempt } from "@trama/engine";

import { formatTimeout } from "./grpc-timeout.ts";
import type { PoolOptions } from "./endpoint-pools.ts";
import type { SendableBody } from "./h2-body.ts";
import { attemptCountField, previousAttemptsField, putHopFields } from "./hop-fields.ts";
import { peerHeader } from "./upstream-request.ts";

/** Of one HTTP/1.1 connection and never of a request (RFC 9113 §8.2.2); `host` is `:authority` here, and an Expect was answered before. */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

function pseudo({ call }: Attempt, { tls }: PoolOptions, authority: string): string[] {
  const scheme = tls === undefined ? "http" : "https";
  return [":method", call.method, ":scheme", scheme, ":path", call.path, ":authority", authority];
}

/** The pseudo fields, the call's own, and what is left of its time. */
export function grpcHead(attempt: Attempt, options: PoolOptions, authority: string): string[] {
  const { call } = attempt;
  const head = pseudo(attempt, options, authority);
  const flat = call.headers.flat();
  for (let i = 0; i < flat.length; i += 2) head.push(flat[i]!, flat[i + 1]!);
  if (options.peer !== "") head.push(peerHeader, options.peer);
  const { total } = attempt;
  if (total > 1) head.push(previousAttemptsField, String(total - 1));
  if (call.tellAttempt) head.push(attemptCountField, String(total));
  if (call.deadlineMs !== Infinity) head.push("grpc-timeout", formatTimeout(call.deadlineMs - options.clock.now()));
  return head;
}

/**
 * The head of an HTTP request: the adapter has put the application's own `host` first, which goes out as long as no layer rewrote
 * the authority.
 */
export function httpHead(attempt: Attempt, options: PoolOptions, rewritten: boolean, body: SendableBody): string[] {
  const { call } = attempt;
  const flat = call.headers.flat();
  const named = rewritten ? undefined : call.headers.get("host");
  const head = pseudo(attempt, options, named ?? call.authority);
  let length = false;
  let type = false;
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!.toLowerCase();
    const value = flat[i + 1]!;
    if (hopByHop.has(name)) continue;
    if (name === "te" && value.toLowerCase() !== "trailers") continue;
    if (name === "content-length") length = true;
    else if (name === "content-type") type = true;
    head.push(name, value);
  }
  if (!type && body.type !== undefined) head.push("content-type", body.type);
  if (!length && body.length !== undefined) head.push("content-length", String(body.length));
  if (options.peer !== "") head.push(peerHeader, options.peer);
  putHopFields(head, head.length, attempt, options.clock);
  return head;
}

/** nghttp2 sends no larger head, and Node gives up the whole connection over one. It reckons 12 bytes beside each field, and 12 for the head. */
const maxSent = 65_536;

/**
 * Why this head cannot be sent: it is larger than the peer said that it takes, in its settings (RFC 9113 §6.5.2, 32 bytes beside each field), or
 * than we can send. Nothing of it is the endpoint's fault, so it is not tried there.
 */
export function tooLarge(flat: readonly string[], peerMax: number = Infinity): string | undefined {
  let bytes = 0;
  for (let i = 0; i < flat.length; i++) bytes += flat[i]!.length;
  const fields = flat.length / 2;
  if (bytes + 12 * fields + 12 <= maxSent && bytes + 32 * fields <= peerMax) return undefined;
  const limit = Math.min(peerMax, maxSent);
  return `a request head of ${bytes} bytes in ${fields} fields is too large: HTTP/2 to this endpoint takes ${limit}`;
}
