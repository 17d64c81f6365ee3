import type { IncomingHttpHeaders } from "node:http2";
import { canonicalHost } from "@trama/engine";

import type { Connection } from "./connection.ts";
import { forgetLast, isInternal, noteInternal, type Refusal } from "./request-check.ts";
import type { RequestHead } from "./serve-request.ts";

/** Envoy's default `max_request_headers_count`. */
const maxHeaders = 100;

const bad = (reason: string): Refusal => ({ status: 400, reason });

/**
 * Brings the head of a stream into the one form that policy and application both see, or says why it is refused (dataplane.md §23 rules 1,
 * 3, 4, 5). `headers` and `raw` are what the application will read, so they are changed with it.
 */
export function checkHttp2Request(
  headers: IncomingHttpHeaders,
  raw: string[],
  connection: Connection,
): RequestHead | Refusal {
  const method = headers[":method"] ?? "";
  // RFC 8441 as well, which is not offered.
  if (method === "CONNECT") return { status: 501, reason: "CONNECT is not served here" };
  const path = headers[":path"] ?? "";
  if (path.includes("#")) return bad("a fragment in the request target");
  if (!path.startsWith("/") && !(path === "*" && method === "OPTIONS"))
    return bad("a request target that this method does not take");
  let authority: string | undefined = headers[":authority"];
  let kept = 0;
  const flat: string[] = [];
  forgetLast(connection);
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (isInternal(name)) {
      const wrong = noteInternal(connection, name, value);
      if (wrong !== undefined) return bad(wrong);
      delete headers[name];
      continue;
    }
    raw[kept++] = name;
    raw[kept++] = value;
    if (name.startsWith(":")) continue;
    if (name === "host") {
      if (authority !== undefined && authority.toLowerCase() !== value.toLowerCase())
        return bad("host and :authority differ");
      authority = value;
    }
    flat.push(name, value);
  }
  raw.length = kept;
  if (flat.length > 2 * maxHeaders) return { status: 431, reason: `more than ${maxHeaders} header fields` };
  const { host } = connection;
  if (authority === undefined) return bad("no authority");
  if (authority !== host.text) {
    if (!canonicalHost(authority).ok) return bad("malformed authority");
    host.text = authority;
    host.authority = authority.toLowerCase();
  }
  return { method, path, flat };
}
