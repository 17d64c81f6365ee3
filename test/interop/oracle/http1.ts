import type { Socket } from "node:net";

/** A request as it goes onto the wire; nothing between here and the peer tidies it up. */
export interface WireRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly target: string;
  readonly host: string;
  /** In order, duplicates kept; one character a byte. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export interface WireResponse {
  readonly status: number;
  /** By lower-case name; of several with one name all, joined by a comma. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/**
 * Sends requests over keep-alive connections, each when the one before it was answered (Envoy drops pipelined requests that follow
 * two answers of its own), and gives the answers in the order of the requests. When the peer closes after an answer, as it does when it
 * found a request malformed, the next goes over a new connection; a request on which a fresh connection dies without
 * an answer is answered with status 0.
 */
export async function exchange(
  connect: () => Promise<Socket>,
  requests: readonly WireRequest[],
  signal: AbortSignal,
  /** Connections that share the requests. */
  width = 8,
): Promise<WireResponse[]> {
  const responses: WireResponse[] = [];
  const work = requests.entries();
  const worker = async (): Promise<void> => {
    let line: Line | undefined;
    const stop = (): void => line?.close();
    signal.addEventListener("abort", stop);
    try {
      for (const [at, request] of work) {
        signal.throwIfAborted();
        let answer = await line?.ask(request);
        if (answer === undefined) {
          // The old connection was closed, perhaps just now; only a new one's silence says something of the request.
          line?.close();
          line = new Line(await connect());
          answer = await line.ask(request);
        }
        responses[at] = answer ?? { status: 0, headers: new Map(), body: "" };
      }
    } finally {
      signal.removeEventListener("abort", stop);
      line?.close();
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, requests.length) }, worker));
  return responses;
}

/** One connection, one request at a time. Reads just enough of HTTP/1.1: every answer here has a length or no body. */
class Line {
  readonly #socket: Socket;
  #pending: Buffer = Buffer.alloc(0);
  #open = true;
  #answer: ((response: WireResponse | undefined) => void) | undefined = undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", () => {});
    socket.on("close", () => this.close());
    socket.setTimeout(10_000, () => this.close());
  }

  /** `undefined`: the connection is closed. */
  ask(request: WireRequest): Promise<WireResponse | undefined> {
    if (!this.#open) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.#socket.write(Buffer.from(requestText(request), "latin1"));
    });
  }

  close(): void {
    this.#open = false;
    this.#socket.destroy();
    this.#settle(undefined);
  }

  #settle(response: WireResponse | undefined): void {
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(response);
  }

  #read(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end < 0) return;
    const [status = "", ...fields] = this.#pending.toString("latin1", 0, end).split("\r\n");
    const headers = headersOf(fields);
    const length = Number(headers.get("content-length") ?? 0);
    if (this.#pending.length < end + 4 + length) return;
    const body = this.#pending.toString("latin1", end + 4, end + 4 + length);
    this.#pending = this.#pending.subarray(end + 4 + length);
    this.#settle({ status: Number(status.split(" ")[1]), headers, body });
    if (headers.get("connection") === "close") this.close();
  }
}

function headersOf(fields: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, colon).toLowerCase();
    const value = field.slice(colon + 1).trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before},${value}`);
  }
  return headers;
}

function requestText({ method, target, host, headers }: WireRequest): string {
  // No request has a body, and none says a length: after one Envoy closes the connection when it answers by itself.
  const fields = [["host", host] as const, ...headers];
  return `${method} ${target} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}
