import { hasAsciiLower } from "@trama/engine";

/** Pieces of one write, as streams hand them over. */
export interface Written {
  readonly chunk: string | Buffer;
  readonly encoding: BufferEncoding;
}

/** A request that was written whole, body included. */
export interface WholeRequest {
  readonly method: string;
  /** Origin form. */
  readonly path: string;
  /** `[name, value, …]` as written, without the fields of the connection. */
  readonly fields: string[];
  readonly body: Buffer | null;
}

/** A larger body is read from the stream, piece by piece. Envoy's default of `per_request_buffer_limit_bytes`, as for replays. */
const maxBody = 1024 * 1024;
const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const version = " HTTP/1.1\r\n";

/**
 * Reads a request that Node's own client wrote in one piece. Answers `undefined` to whatever is not plain: a body that is still to come or
 * has no length, Expect, a switch of protocols, `Connection` with anything but `keep-alive`, a form that Node does not write. That is for the
 * parser. What is read here is what the parser would read: nothing is trimmed or joined, and names and values are checked again where
 * they are sent.
 */
export function wholeRequest(
  first: string | Buffer,
  encoding: BufferEncoding,
  more: readonly Written[],
): WholeRequest | undefined {
  const text = typeof first === "string" ? first : first.toString("latin1");
  const firstSpace = text.indexOf(" ");
  const secondSpace = text.indexOf(" ", firstSpace + 1);
  const method = text.slice(0, firstSpace);
  if (!methods.has(method) || !text.startsWith(version, secondSpace)) return undefined;
  const path = text.slice(firstSpace + 1, secondSpace);
  if (!/^\/[!"$-~]*$/.test(path)) return undefined;
  const fields: string[] = [];
  let length: string | undefined;
  let at = secondSpace + version.length;
  while (text.charCodeAt(at) !== carriageReturn) {
    const colon = nameEnd(text, at);
    const valueAt = colon + 2;
    if (colon <= at || text.charCodeAt(valueAt - 1) !== space) return undefined;
    const end = valueEnd(text, valueAt);
    if (end < 0 || text.charCodeAt(end + 1) !== lineFeed) return undefined;
    const name = text.slice(at, colon);
    const value = text.slice(valueAt, end);
    at = end + 2;
    switch (kindOf(name)) {
      case "connection":
        if (value !== "keep-alive") return undefined;
        continue;
      case "length":
        if (length !== undefined) return undefined;
        length = value;
        break;
      case "special":
        return undefined;
      case "plain":
    }
    fields.push(name, value);
  }
  if (text.charCodeAt(at + 1) !== lineFeed) return undefined;
  const body = bodyOf(text, at + 2, typeof first === "string" ? encoding : "latin1", more);
  if (body === undefined || (length ?? "0") !== String(body.length)) return undefined;
  return { method, path, fields, body: body.length === 0 ? null : body };
}

const space = 0x20;
const carriageReturn = 0x0d;
const lineFeed = 0x0a;

/** Where the colon behind a name is; -1 when something else ends it. */
function nameEnd(text: string, from: number): number {
  for (let at = from; ; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x3a) return at;
    // Also at the end of the text, where it is not a number.
    if (!(code > space && code < 0x7f)) return -1;
  }
}

/** Where the line break behind a value is; -1 for a value that the parser would cut, or that is not plain ASCII. */
function valueEnd(text: string, from: number): number {
  for (let at = from; ; at++) {
    const code = text.charCodeAt(at);
    if (code === carriageReturn)
      return at > from && (text.charCodeAt(from) === space || text.charCodeAt(at - 1) === space) ? -1 : at;
    if (!(code >= space && code < 0x7f)) return -1;
  }
}

/** Fields that say something of the connection or of what follows. */
function kindOf(name: string): "connection" | "length" | "special" | "plain" {
  switch (name.length) {
    case 6:
      return hasAsciiLower(name, "expect", 0) ? "special" : "plain";
    case 7:
      return hasAsciiLower(name, "upgrade", 0) ? "special" : "plain";
    case 10:
      if (hasAsciiLower(name, "connection", 0)) return "connection";
      return hasAsciiLower(name, "keep-alive", 0) ? "special" : "plain";
    case 14:
      if (hasAsciiLower(name, "content-length", 0)) return "length";
      return hasAsciiLower(name, "http2-settings", 0) ? "special" : "plain";
    case 16:
      return hasAsciiLower(name, "proxy-connection", 0) ? "special" : "plain";
    case 17:
      return hasAsciiLower(name, "transfer-encoding", 0) ? "special" : "plain";
    default:
      return "plain";
  }
}

const empty = Buffer.alloc(0);

/** What came behind the head: in the same piece, or in more of them. */
function bodyOf(text: string, from: number, encoding: BufferEncoding, more: readonly Written[]): Buffer | undefined {
  if (from === text.length && more.length === 0) return empty;
  const pieces = more.map((each) => bytesOf(each.chunk, each.encoding));
  if (from < text.length) pieces.unshift(Buffer.from(text.slice(from), encoding));
  const body = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  return body.length > maxBody ? undefined : body;
}

export function bytesOf(chunk: string | Buffer, encoding: BufferEncoding): Buffer {
  return typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk;
}
