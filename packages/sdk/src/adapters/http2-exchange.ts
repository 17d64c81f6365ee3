import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";

import type { Connection } from "./connection.ts";
import { type EntryPoint, Exchange } from "./exchange.ts";
import { own, type StreamOwner } from "./stream-owner.ts";

/** Fields that an answer of the mesh's own may have from HTTP/1.1, and HTTP/2 has not. */
const connectionFields: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade"]);

/** One stream at a protected `http2` server. The application answers Node's own stream, or the objects that Node makes of it, as ever. */
export class StreamExchange extends Exchange implements StreamOwner {
  readonly #stream: ServerHttp2Stream;
  readonly #into: EntryPoint;
  /** What comes with the stream. */
  readonly #values: readonly unknown[];

  /** `into`, the session's own `emit`, hands the stream and the `values` that came with it to the application. */
  constructor(stream: ServerHttp2Stream, connection: Connection, into: EntryPoint, values: readonly unknown[]) {
    super(connection);
    this.#stream = stream;
    this.#into = into;
    this.#values = values;
    own(stream, this);
  }

  /** Its connection says that by GOAWAY. */
  announceClose(): void {}

  enter(): void {
    this.#into("stream", ...this.#values);
  }

  protected cut(): void {
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  protected addFields(fields: readonly string[]): void {
    const stream = this.#stream;
    const respond = stream.respond.bind(stream);
    stream.respond = (headers, options) => {
      const own: OutgoingHttpHeaders = {};
      for (let i = 0; i < fields.length; i += 2) own[fields[i]!] = fields[i + 1]!;
      if (Array.isArray(headers)) respond([...headers, ...fields] as never, options);
      else respond(Object.assign(own, headers), options);
    };
  }

  protected head(status: number, fields: readonly string[]): void {
    const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!.toLowerCase();
      const value = fields[i + 1]!;
      const before = headers[name];
      if (connectionFields.has(name)) continue;
      headers[name] = before === undefined ? value : [before, value].flat();
    }
    if (!this.#stream.destroyed) this.#stream.respond({ ...headers, ":status": status });
  }

  protected data(chunk: Uint8Array): void {
    if (!this.#stream.destroyed && !this.#stream.writableEnded) this.#stream.write(chunk);
  }

  protected finish(): void {
    // What the peer still sends is not wanted; reading it to its end lets the stream close.
    this.#stream.resume();
    this.#stream.end();
  }

  closed(): void {
    const stream = this.#stream;
    const sent = stream.sentHeaders as OutgoingHttpHeaders | undefined;
    this.finished(
      Number(sent?.[":status"] ?? 0),
      stream.headersSent && stream.writableEnded && stream.rstCode === constants.NGHTTP2_NO_ERROR,
    );
  }
}
