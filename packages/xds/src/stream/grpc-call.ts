import { type ClientHttp2Session, type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";

import { grpcStatusOf } from "@trama/engine";
import type { GrpcMethod } from "@trama/proto/lean";

import type { XdsServer } from "../bootstrap.ts";
import { textOf } from "../errors.ts";
import { codeOfReset, codes } from "./codes.ts";
import { authorizations, CallError, tlsMaterial } from "./credentials.ts";
import {
  type ConnectionOptions,
  type ConnectionUser,
  GrpcConnection,
  type SharedConnection,
} from "./grpc-connection.ts";
import { frameMessage, type Message, MessageReader } from "./grpc-frames.ts";
import { parseTarget } from "./target.ts";
import type { BidiStream, ClientCertificate, StreamHandlers } from "./transport.ts";

export interface GrpcTransportOptions extends ConnectionOptions {
  /** Where to, and how to trust and be trusted; from the bootstrap. */
  readonly server: XdsServer;
  /**
   * Asked for each new connection: the certificate to show, `undefined` for none (then a token must prove us). Goes before
   * the bootstrap's own certificate files.
   */
  readonly certificate?: (() => Promise<ClientCertificate | undefined>) | undefined;
  /** Largest response, in bytes; a larger one ends the stream. Default 64 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** With whom calls without a certificate of ours share a connection. Default: nobody. */
  readonly shared?: SharedConnection | undefined;
}

/**
 * One call of a gRPC method over HTTP/2 (grpc `doc/PROTOCOL-HTTP2.md`), on a connection of its own, so that what rotates (roots, certificate,
 * token) is always fresh: credentials are read, then it connects, then the request goes out with the first bytes, and it is open
 * when the server has said its settings. From there to `close` or `onEnd`. docs/adr/0007 says why grpc-js does not do this.
 */
export class GrpcCall<Request, Response> implements BidiStream<Request>, ConnectionUser {
  readonly #options: GrpcTransportOptions;
  readonly #method: GrpcMethod<Request, Response>;
  readonly #handlers: StreamHandlers<Response>;
  readonly #reader: MessageReader;
  /** Sent before there was a stream. Bounded by what the state machine says at the start of one. */
  #early: Request[] = [];
  #endEarly = false;
  /** Complete, and not handed on while paused. No more than one chunk's. */
  #unread: Message[] = [];
  #connection: GrpcConnection | undefined;
  /** What the request begins with, once there are credentials. */
  #head: Record<string, string | string[]> = {};
  #stream: ClientHttp2Stream | undefined;
  #encoding = "identity";
  #httpStatus = 0;
  /** The type of a body that is not gRPC's. */
  #foreignType: string | undefined;
  /** The fields that hold the status: trailers, or a head without a body. */
  #trailers: IncomingHttpHeaders | undefined;
  #paused = false;
  #allRead = false;
  #done = false;

  constructor(
    options: GrpcTransportOptions,
    method: GrpcMethod<Request, Response>,
    handlers: StreamHandlers<Response>,
  ) {
    this.#options = options;
    this.#method = method;
    this.#handlers = handlers;
    this.#reader = new MessageReader(options.maxMessageBytes ?? 64 * 1024 * 1024);
    this.#start().catch((error: unknown) => {
      this.#end(error instanceof CallError ? error.code : codes.unavailable, textOf(error));
    });
  }

  send(message: Request): void {
    if (this.#done) return;
    if (this.#stream === undefined) this.#early.push(message);
    else for (const part of frameMessage(this.#method.requestSerialize(message), false)) this.#stream.write(part);
  }

  /** No more messages from us. */
  end(): void {
    if (this.#stream === undefined) this.#endEarly = true;
    else this.#stream.end();
  }

  pause(): void {
    this.#paused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
    if (!this.#paused) this.#stream?.resume();
  }

  close(): void {
    if (this.#done) return;
    this.#done = true;
    this.#release(false);
  }

  // ── the connection ─────────────────────────────────────────────────────────────────────────────────────────────

  async #start(): Promise<void> {
    const { server, certificate, shared } = this.#options;
    const target = parseTarget(server.uri);
    if (target === undefined) throw new CallError(codes.unavailable, `${server.uri} is not the address of a server`);
    const [tls, tokens] = await Promise.all([tlsMaterial(server, certificate), authorizations(server.call)]);
    if (this.#done) return;
    const serverName = server.channel.kind === "tls" ? server.channel.serverName : undefined;
    this.#head = {
      ":method": "POST",
      ":scheme": tls === undefined ? "http" : "https",
      ":path": this.#method.path,
      ":authority": serverName ?? target.authority,
      "content-type": "application/grpc",
      te: "trailers",
      "user-agent": "trama",
      "grpc-accept-encoding": "identity,deflate,gzip",
      ...(tokens.length > 0 && { authorization: tokens }),
    };
    const make = (): GrpcConnection => new GrpcConnection(this.#options, target, tls, serverName);
    this.#connection = shared === undefined ? make() : shared.get(server, tls, make);
    this.#connection.join(this);
  }

  /** See {@link ConnectionUser}. */
  onConnected(session: ClientHttp2Session): void {
    const stream = this.#request(session);
    if (stream === undefined) return;
    this.#stream = stream;
    stream.on("response", (fields) => this.#onHead(fields));
    stream.on("trailers", (fields: IncomingHttpHeaders) => (this.#trailers = fields));
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
    stream.on("error", () => {}); // told by the close, which always comes
    stream.on("close", () => this.#onClose(stream));
    if (this.#paused) stream.pause();
    for (const message of this.#early) this.send(message);
    this.#early = [];
    if (this.#endEarly) stream.end();
  }

  /** See {@link ConnectionUser}. */
  onOpen(): void {
    this.#handlers.onOpen();
  }

  /** See {@link ConnectionUser}. */
  onLost(reason: string | undefined): void {
    if (reason !== undefined) this.#fail(reason);
    else if (this.#trailers !== undefined) this.#finish();
    else this.#fail("the connection was lost");
  }

  #request(session: ClientHttp2Session): ClientHttp2Stream | undefined {
    try {
      return session.request(this.#head, { endStream: false });
    } catch (error) {
      this.#fail(textOf(error)); // two tokens, for instance
      return undefined;
    }
  }

  // ── what comes back ────────────────────────────────────────────────────────────────────────────────────────────

  #onHead(fields: IncomingHttpHeaders & { ":status"?: number | undefined }): void {
    this.#httpStatus = fields[":status"] ?? 0;
    const encoding = fields["grpc-encoding"];
    if (typeof encoding === "string") this.#encoding = encoding;
    if (fields["grpc-status"] !== undefined) this.#trailers = fields;
    const type = fields["content-type"];
    if (type !== undefined && !/^application\/grpc(?:$|[+;])/.test(type)) this.#foreignType = type;
  }

  #onData(chunk: Buffer): void {
    if (this.#done || this.#httpStatus !== 200 || this.#foreignType !== undefined) return; // he speaks no gRPC
    const tooLarge = this.#reader.read(chunk, (message) => this.#unread.push(message));
    if (tooLarge !== undefined)
      return this.#end(codes.resourceExhausted, `a message of ${tooLarge} bytes is too large`);
    this.#deliver();
  }

  #deliver(): void {
    while (!this.#paused && !this.#done) {
      const message = this.#unread.shift();
      if (message === undefined) {
        if (this.#allRead) this.#finish();
        return;
      }
      let response: Response;
      try {
        response = this.#method.responseDeserialize(message.compressed ? this.#unpack(message.bytes) : message.bytes);
      } catch (error) {
        return this.#end(codes.internal, `a response cannot be read (${textOf(error)})`);
      }
      this.#handlers.onMessage(response);
    }
  }

  /** Rare, and so of no trouble to the event loop, and loaded when it comes. A small message may claim to be a huge one. */
  #unpack(bytes: Buffer): Buffer {
    const { gunzipSync, inflateSync } = process.getBuiltinModule("node:zlib");
    const limit = { maxOutputLength: this.#options.maxMessageBytes ?? 64 * 1024 * 1024 };
    if (this.#encoding === "gzip") return gunzipSync(bytes, limit);
    if (this.#encoding === "deflate") return inflateSync(bytes, limit);
    throw new Error(`it is compressed by ${JSON.stringify(this.#encoding.slice(0, 40))}`);
  }

  #onEnd(): void {
    this.#allRead = true;
    this.#deliver();
  }

  /** A paused stream closes before its end was read. */
  #onClose(stream: ClientHttp2Stream): void {
    if (this.#trailers !== undefined) return this.#finish();
    const { rstCode } = stream;
    if (rstCode !== constants.NGHTTP2_NO_ERROR)
      return this.#end(codeOfReset(rstCode), `the server reset the stream with HTTP/2 code ${rstCode}`);
    this.#finish();
  }

  /** The server's own word. */
  #finish(): void {
    const { "grpc-status": status, "grpc-message": message } = this.#trailers ?? {};
    if (typeof status === "string")
      return this.#end(
        /^\d{1,3}$/.test(status) ? Number(status) : codes.unknown,
        percentDecoded(String(message ?? "")),
      );
    if (this.#httpStatus === 200)
      return this.#end(
        codes.unknown,
        this.#foreignType === undefined
          ? "the answer ended without a gRPC status"
          : `it answered with ${this.#foreignType.slice(0, 100)}, which is not gRPC`,
      );
    this.#end(grpcStatusOf(this.#httpStatus), `it answered with HTTP status ${this.#httpStatus}`);
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────

  #fail(reason: string): void {
    this.#end(codes.unavailable, reason);
  }

  #end(code: number, message: string): void {
    if (this.#done) return;
    this.#done = true;
    this.#release(true);
    this.#handlers.onEnd({ code, message });
  }

  #release(answered: boolean): void {
    this.#early = [];
    this.#unread = [];
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#connection?.leave(this, answered);
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
