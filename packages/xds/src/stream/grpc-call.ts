import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

import { grpcStatusOf } from "@trama/engine";
import type { GrpcMethod } from "@trama/proto/lean";

import type { XdsServer } from "../bootstrap.ts";
import { textOf } from "../errors.ts";
import { codeOfReset, codes } from "./codes.ts";
import { authorizations, CallError, type TlsMaterial, tlsMaterial } from "./credentials.ts";
import { connectFailure, dial } from "./dial.ts";
import { frameMessage, type Message, MessageReader } from "./grpc-frames.ts";
import { parseTarget } from "./target.ts";
import type { BidiStream, ClientCertificate, StreamHandlers } from "./transport.ts";

export interface GrpcTransportOptions {
  /** Where to, and how to trust and be trusted; from the bootstrap. */
  readonly server: XdsServer;
  /**
   * Asked for each new connection: the certificate to show, `undefined` for none (then a token must prove us). Goes before
   * the bootstrap's own certificate files.
   */
  readonly certificate?: (() => Promise<ClientCertificate | undefined>) | undefined;
  /** Largest response, in bytes; a larger one ends the stream. Default 64 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** A ping after this long without traffic. Default 300,000: servers that follow gRPC's defaults cut off faster ones. */
  readonly keepAliveMs?: number | undefined;
  /** How long the server may be silent where it has to say something: while a connection is made, and after a ping. Default 20,000. */
  readonly silenceMs?: number | undefined;
}

/**
 * Bytes that the server may send before we have taken them. gRPC's usual 64 KiB make a large response wait for the way there and back too
 * often; a megabyte came in one turn of the event loop, and held it for 3 to 6 ms.
 */
const windowBytes = 256 * 1024;

/**
 * One call of a gRPC method over HTTP/2 (grpc `doc/PROTOCOL-HTTP2.md`), on a connection of its own, so that what rotates (roots, certificate,
 * token) is always fresh: credentials are read, then it connects, then the request goes out with the first bytes, and it is open
 * when the server has said its settings. From there to `close` or `onEnd`. docs/adr/0007 says why grpc-js does not do this.
 */
export class GrpcCall<Request, Response> implements BidiStream<Request> {
  readonly #options: GrpcTransportOptions;
  readonly #method: GrpcMethod<Request, Response>;
  readonly #handlers: StreamHandlers<Response>;
  readonly #reader: MessageReader;
  /** Sent before there was a stream. Bounded by what the state machine says at the start of one. */
  #early: Request[] = [];
  #endEarly = false;
  /** Complete, and not handed on while paused. No more than one chunk's. */
  #unread: Message[] = [];
  #socket: Socket | undefined;
  #session: ClientHttp2Session | undefined;
  #stream: ClientHttp2Stream | undefined;
  #encoding = "identity";
  #httpStatus = 0;
  /** The type of a body that is not gRPC's. */
  #foreignType: string | undefined;
  /** The fields that hold the status: trailers, or a head without a body. */
  #trailers: IncomingHttpHeaders | undefined;
  #opened = false;
  #pinged = false;
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
    this.#release();
  }

  // ── the connection ─────────────────────────────────────────────────────────────────────────────────────────────

  async #start(): Promise<void> {
    const { server, certificate } = this.#options;
    const target = parseTarget(server.uri);
    if (target === undefined) throw new CallError(codes.unavailable, `${server.uri} is not the address of a server`);
    const [tls, tokens] = await Promise.all([tlsMaterial(server, certificate), authorizations(server.call)]);
    if (this.#done) return;
    const serverName = server.channel.kind === "tls" ? server.channel.serverName : undefined;
    const socket = dial(target, tls, serverName);
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setTimeout(this.#silenceMs, () => this.#fail(`no connection within ${this.#silenceMs} ms`));
    socket.on("error", (error: Error) => this.#fail(connectFailure(error)));
    // Node closes the streams first and the session after them, as if the peer had cancelled each: this comes before both.
    socket.prependListener("close", () => this.#lost());
    const head = {
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
    socket.once(tls === undefined ? "connect" : "secureConnect", () => this.#connected(socket, tls, head));
  }

  #connected(socket: Socket, tls: TlsMaterial | undefined, head: Record<string, string | string[]>): void {
    if (this.#done) return;
    if (tls !== undefined && (socket as TLSSocket).alpnProtocol !== "h2") return this.#fail("it does not speak HTTP/2");
    socket.setTimeout(0);
    const session = connectHttp2("http://control-plane.invalid", {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: windowBytes },
    });
    this.#session = session;
    session.on("error", (error: Error) => this.#fail(error.message));
    session.on("timeout", () => this.#silent(session));
    session.setTimeout(this.#silenceMs);
    session.once("connect", () => {
      if (!session.destroyed) session.setLocalWindowSize(windowBytes); // it throws on one that was given up meanwhile
    });
    session.once("remoteSettings", () => this.#open(session));
    const stream = this.#request(session, head);
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

  #request(session: ClientHttp2Session, head: Record<string, string | string[]>): ClientHttp2Stream | undefined {
    try {
      return session.request(head, { endStream: false });
    } catch (error) {
      this.#fail(textOf(error)); // two tokens, for instance
      return undefined;
    }
  }

  /** Requests are on their way, to somebody who speaks HTTP/2 (R10). */
  #open(session: ClientHttp2Session): void {
    if (this.#opened || this.#done) return;
    this.#opened = true;
    session.setTimeout(this.#options.keepAliveMs ?? 300_000);
    this.#handlers.onOpen();
  }

  #silent(session: ClientHttp2Session): void {
    if (this.#done) return;
    if (!this.#opened) return this.#fail(`no answer within ${this.#silenceMs} ms`);
    if (this.#pinged) return this.#fail(`no answer to a ping within ${this.#silenceMs} ms`);
    this.#pinged = true;
    session.setTimeout(this.#silenceMs);
    session.ping(() => {
      this.#pinged = false;
      if (!this.#done) session.setTimeout(this.#options.keepAliveMs ?? 300_000);
    });
  }

  get #silenceMs(): number {
    return this.#options.silenceMs ?? 20_000;
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

  #lost(): void {
    if (this.#trailers !== undefined) this.#finish();
    else this.#fail("the connection was lost");
  }

  #fail(reason: string): void {
    this.#end(codes.unavailable, reason);
  }

  #end(code: number, message: string): void {
    if (this.#done) return;
    this.#done = true;
    this.#release();
    this.#handlers.onEnd({ code, message });
  }

  #release(): void {
    this.#early = [];
    this.#unread = [];
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#session?.destroy();
    this.#socket?.destroy();
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
