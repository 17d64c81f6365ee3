import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { type PeerCertificate, checkServerIdentity } from "node:tls";

import {
  type ChannelOptions,
  type ClientDuplexStream,
  ChannelCredentials,
  Client,
  Metadata,
  type MethodDefinition,
  type VerifyOptions,
  connectivityState,
  status,
} from "@grpc/grpc-js";

import type { CallCredentials, PemSource, XdsServer } from "../bootstrap.ts";
import { textOf } from "../errors.ts";
import { boundHandshakes } from "./handshakes.ts";
import type { BidiStream, ClientCertificate, StreamHandlers, StreamTransport } from "./transport.ts";

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
}

/** ADS over grpc-js. Each stream has a connection of its own, so what rotates (roots, certificate, token) is always fresh. */
export function createGrpcTransport(options: GrpcTransportOptions): StreamTransport {
  return {
    open: (method, handlers) => new GrpcStream(options, method, handlers),
  };
}

/** From `new` to `close` or `onEnd`: credentials are read, then the channel connects, then messages flow. */
class GrpcStream<Request, Response> implements BidiStream<Request> {
  readonly #handlers: StreamHandlers<Response>;
  /** Messages sent before the credentials were there. Bounded by what the state machine says at the start of a stream. */
  #early: Request[] = [];
  #client: Client | undefined;
  /** Ends a handshake that is under way. */
  #abandon: (() => void) | undefined;
  #call: ClientDuplexStream<Request, Response> | undefined;
  #opened = false;
  #paused = false;
  #done = false;

  constructor(
    options: GrpcTransportOptions,
    method: MethodDefinition<Request, Response>,
    handlers: StreamHandlers<Response>,
  ) {
    this.#handlers = handlers;
    this.#start(options, method).catch((error: unknown) => {
      this.#end(error instanceof CredentialError ? error.code : status.UNAVAILABLE, textOf(error));
    });
  }

  send(message: Request): void {
    if (this.#done) return;
    if (this.#call === undefined) this.#early.push(message);
    else this.#call.write(message);
  }

  pause(): void {
    this.#paused = true;
    this.#call?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#call?.resume();
  }

  close(): void {
    if (this.#done) return;
    this.#done = true;
    this.#release();
  }

  async #start(options: GrpcTransportOptions, method: MethodDefinition<Request, Response>): Promise<void> {
    const [credentials, metadata] = await Promise.all([channelCredentials(options), callMetadata(options.server.call)]);
    if (this.#done) return;
    this.#abandon = boundHandshakes(credentials);
    const client = new Client(options.server.uri, credentials, channelOptions(options));
    this.#client = client;
    const call = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      metadata,
      {},
    );
    this.#call = call;
    call.on("error", () => {}); // told by the status, which always comes
    call.on("status", (end) => this.#end(end.code, end.details));
    call.on("data", (message: Response) => {
      if (this.#done) return;
      this.#open();
      this.#handlers.onMessage(message);
    });
    if (this.#paused) call.pause();
    for (const message of this.#early) call.write(message);
    this.#early = [];
    this.#watch(client);
  }

  /** grpc-js tells of a call's connection only with the first answer, so the channel is asked (R10). */
  #watch(client: Client): void {
    if (this.#done) return;
    const channel = client.getChannel();
    const state = channel.getConnectivityState(false);
    if (state === connectivityState.READY) return this.#open();
    if (state === connectivityState.SHUTDOWN) return;
    channel.watchConnectivityState(state, Infinity, () => this.#watch(client));
  }

  #open(): void {
    if (this.#opened || this.#done) return;
    this.#opened = true;
    this.#handlers.onOpen();
  }

  #end(code: number, message: string): void {
    if (this.#done) return;
    this.#done = true;
    this.#release();
    this.#handlers.onEnd({ code, message });
  }

  #release(): void {
    this.#early = [];
    this.#call?.cancel();
    this.#client?.close();
    this.#abandon?.();
  }
}

export class CredentialError extends Error {
  readonly code: number;

  constructor(code: number, message: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export function channelOptions(options: GrpcTransportOptions): ChannelOptions {
  const { channel } = options.server;
  const serverName = channel.kind === "tls" ? channel.serverName : undefined;
  const address = dialledAddress(options.server.uri);
  return {
    "grpc.max_receive_message_length": options.maxMessageBytes ?? 64 * 1024 * 1024,
    "grpc.keepalive_time_ms": options.keepAliveMs ?? 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.use_local_subchannel_pool": 1, // a connection of its own
    "grpc.enable_http_proxy": 0, // the control plane is inside; a proxy of the environment is for the outside
    "grpc.enable_retries": 0, // the state machine decides when a stream is tried again
    "grpc.service_config_disable_resolution": 1,
    ...(serverName !== undefined && {
      "grpc.ssl_target_name_override": serverName,
      "grpc.default_authority": serverName,
    }),
    ...(serverName === undefined && address !== undefined && { "grpc.ssl_target_name_override": noName }),
  };
}

/**
 * RFC 6066 §3 knows no addresses in SNI, and Node warns of one (DEP0123), yet grpc-js names whatever was dialled. So where
 * that is an address, a name that nobody can have stands in, and the certificate is checked against the address itself.
 */
const noName = "address.invalid";

function dialledAddress(uri: string): string | undefined {
  const host = /^(?:\w+:\/*)?\[?([^\]/]*?)\]?:\d+$/.exec(uri)?.[1] ?? "";
  return isIP(host) === 0 ? undefined : host;
}

export async function channelCredentials(options: GrpcTransportOptions): Promise<ChannelCredentials> {
  const { channel } = options.server;
  if (channel.kind === "insecure") return ChannelCredentials.createInsecure();
  const roots = channel.roots === undefined ? null : await pem(channel.roots);
  const own = (await options.certificate?.()) ?? (channel.certificate && (await readPair(channel.certificate)));
  const address = channel.serverName === undefined ? dialledAddress(options.server.uri) : undefined;
  const verify: VerifyOptions =
    address === undefined
      ? {}
      : { checkServerIdentity: (_name, certificate) => checkServerIdentity(address, certificate as PeerCertificate) };
  try {
    return own === undefined
      ? ChannelCredentials.createSsl(roots, null, null, verify)
      : ChannelCredentials.createSsl(roots, Buffer.from(own.privateKeyPem), Buffer.from(own.certificatePem), verify);
  } catch (error) {
    const message = `the TLS material for ${options.server.uri} is unusable (${textOf(error)}); check the root certificate and our own pair`;
    throw new CredentialError(status.UNAVAILABLE, message, error);
  }
}

/** All blocks of the file count, not only the first (I3). */
async function pem(source: PemSource): Promise<Buffer> {
  if ("pem" in source) return Buffer.from(source.pem);
  return Buffer.from(await read(source.file, status.UNAVAILABLE, "root certificate of the control plane"));
}

async function readPair(files: { certificateFile: string; privateKeyFile: string }): Promise<ClientCertificate> {
  const [certificatePem, privateKeyPem] = await Promise.all([
    read(files.certificateFile, status.UNAVAILABLE, "certificate for the control plane"),
    read(files.privateKeyFile, status.UNAVAILABLE, "key for the control plane"),
  ]);
  return { certificatePem, privateKeyPem };
}

/** Read for each stream: the token of start-up may have expired (I4). */
export async function callMetadata(credentials: readonly CallCredentials[]): Promise<Metadata> {
  const metadata = new Metadata();
  for (const one of credentials) {
    const text = await token(one);
    if (!/^[\x21-\x7e]+$/.test(text)) {
      // Refused here, because grpc-js would print the token in its own message.
      throw new CredentialError(status.UNAUTHENTICATED, "the join token is empty or not one line of ASCII", undefined);
    }
    metadata.add("authorization", `Bearer ${text}`);
  }
  return metadata;
}

async function token(credentials: CallCredentials): Promise<string> {
  if (credentials.kind === "token_file") {
    return (await read(credentials.file, status.UNAUTHENTICATED, "join token")).trim();
  }
  try {
    return (await credentials.read()).trim();
  } catch (error) {
    throw new CredentialError(status.UNAUTHENTICATED, `the join token could not be had (${textOf(error)})`, error);
  }
}

async function read(file: string, code: number, what: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CredentialError(code, `the ${what} in ${file} cannot be read (${textOf(error)})`, error);
  }
}
