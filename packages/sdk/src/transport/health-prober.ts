import {
  Attempt,
  Call,
  type ClusterConfig,
  type EndpointConfig,
  type HealthAnswer,
  type HealthProber,
  type HealthQuestion,
  HeaderList,
  type HttpHealthQuestion,
  MeshError,
  type Sink,
  type Snapshot,
  type Timer,
} from "@trama/engine";

import { HttpBody } from "./body.ts";
import { frameMessage } from "@trama/xds";
import { type BodyWriter, StreamBody } from "./stream-body.ts";
import type { UndiciTransport } from "./undici.ts";

/** As much of an answer is read for the sake of its connection; Envoy looks at the first kilobyte. */
const answerBytes = 64 * 1024;
const agent = "trama-health-check";

export interface ProberOptions {
  readonly transport: () => UndiciTransport;
  readonly snapshot: () => Snapshot;
  readonly now: () => number;
}

/**
 * Asks over the connections that calls have too, with their TLS: what is found out is whether calls would get through. A check that
 * our own limits refuse says nothing of the endpoint.
 */
export class EndpointProber implements HealthProber {
  readonly #options: ProberOptions;

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  ask(cluster: ClusterConfig, endpoint: EndpointConfig, done: (answer: HealthAnswer) => void): Timer {
    const { ask } = cluster.healthCheck!;
    const { transport, snapshot, now } = this.#options;
    const own = ask.kind === "grpc" || (ask.kind === "http" && ask.http2 !== cluster.http2);
    const target = own ? { ...cluster, http2: ask.kind === "grpc" || ask.http2 } : cluster;
    const common = { snapshot: snapshot(), side: "outbound" as const, transport: transport(), startMs: now() };
    if (ask.kind === "tcp")
      return transport().reach(new Attempt(new Call({ ...common, ...nothing }), cluster, endpoint, 1), done);
    const call = new Call({
      ...common,
      ...(ask.kind === "http" ? httpRequest(ask, cluster) : grpcRequest(ask, cluster)),
    });
    const attempt = new Attempt(call, target, endpoint, 1);
    const answer = new Answer(attempt, ask, done);
    (ask.kind === "grpc" ? transport().http2 : transport()).send(attempt, answer);
    return { cancel: () => answer.cancel() };
  }
}

type Request = Pick<
  ConstructorParameters<typeof Call>[0],
  "protocol" | "method" | "authority" | "path" | "headers" | "body"
>;

function httpRequest(ask: HttpHealthQuestion, { name }: ClusterConfig): Request {
  const { method, path, headers } = ask;
  const authority = ask.authority || name;
  const fields: (readonly [string, string])[] = [["host", authority], ["user-agent", agent], ...headers];
  return {
    protocol: "http",
    method,
    authority,
    path,
    headers: HeaderList.ofFlat(fields.flat()),
    body: new NoContent(authority),
  };
}

function grpcRequest(ask: Extract<HealthQuestion, { kind: "grpc" }>, { name }: ClusterConfig): Request {
  const authority = ask.authority || name;
  return {
    protocol: "grpc",
    method: "POST",
    authority,
    path: "/grpc.health.v1.Health/Check",
    headers: HeaderList.ofFlat(["content-type", "application/grpc", "te", "trailers", "user-agent", agent]),
    body: new OneMessage(authority, Buffer.concat(frameMessage(healthRequest(ask.service), false))),
  };
}

/** grpc.health.v1.HealthCheckRequest: field 1 is the service. */
function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  // The decoder admits no name of 128 bytes, so its length is one byte.
  return name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
}

/** SERVING is 1; a frame is five bytes of prefix and, for it, the tag of field 1 and the number. */
function isServing(message: Buffer): boolean {
  return message.length >= 7 && message[0] === 0 && message[5] === 0x08 && message[6] === 1;
}

/** Judges what comes back, and reads it to its end so that the connection can be used again. */
class Answer implements Sink {
  readonly #attempt: Attempt;
  readonly #ask: Exclude<HealthQuestion, { kind: "tcp" }>;
  #done: ((answer: HealthAnswer) => void) | undefined;
  #status = 0;
  #message = Buffer.alloc(0);
  #bytes = 0;

  constructor(attempt: Attempt, ask: Exclude<HealthQuestion, { kind: "tcp" }>, done: (answer: HealthAnswer) => void) {
    this.#attempt = attempt;
    this.#ask = ask;
    this.#done = done;
  }

  cancel(): void {
    this.#done = undefined;
    this.#attempt.abort(new MeshError("ABORTED", "the health check is over"));
  }

  onHead({ status, headers }: Parameters<Sink["onHead"]>[0]): void {
    this.#status = status;
    if (this.#ask.kind === "http") this.#tell(this.#ofStatus(this.#ask, status));
    // Trailers-only: the answer without a message.
    else if (status !== 200 || (headers.get("grpc-status") ?? "0") !== "0") this.#tell("bad");
  }

  onData(chunk: Uint8Array): void {
    if (this.#ask.kind === "grpc" && this.#message.length < 7) this.#message = Buffer.concat([this.#message, chunk]);
    if ((this.#bytes += chunk.byteLength) > answerBytes) this.#attempt.abort(new MeshError("ABORTED", "a long answer"));
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.#tell(
      trailers?.get("grpc-status") === "0" && this.#status === 200 && isServing(this.#message) ? "well" : "bad",
    );
  }

  onError(error: MeshError): void {
    const ours = ["OVERFLOW", "CLOSED", "ABORTED", "BAD_REQUEST", "INTERNAL", "NO_CONFIG"].includes(error.code);
    this.#tell(ours ? "unknown" : "failed");
  }

  #ofStatus({ expected, retriable }: HttpHealthQuestion, status: number): HealthAnswer {
    const within = ({ from, to }: { from: number; to: number }): boolean => status >= from && status <= to;
    if (expected.length === 0 ? status === 200 : expected.some(within)) return "well";
    return retriable.some(within) ? "failed" : "bad";
  }

  #tell(answer: HealthAnswer): void {
    const done = this.#done;
    this.#done = undefined;
    done?.(answer);
  }
}

/** The body of a request without one, for both protocols. */
class NoContent extends HttpBody {
  readonly value = null;
  readonly authority: string;
  readonly headersTimeout = undefined;
  readonly bodyTimeout = undefined;
  readonly upgrade = null;
  readonly trailers = undefined;

  constructor(authority: string) {
    super();
    this.authority = authority;
  }

  informed(): void {}
  failed(): void {}
  switched(): void {}
}

class OneMessage extends StreamBody {
  readonly authority: string;
  readonly wireAuthority: string;
  readonly keepAlive = undefined;
  readonly #message: Buffer;

  constructor(authority: string, message: Buffer) {
    super();
    this.authority = authority;
    this.wireAuthority = authority;
    this.#message = message;
  }

  canReplay(): boolean {
    return true;
  }

  isOpen(): boolean {
    return false;
  }

  attach(writer: BodyWriter): void {
    writer.write(this.#message);
    writer.end();
  }

  detach(): void {}
}

/** Of a check that asks for nothing but a connection. */
const nothing: Request = {
  protocol: "http",
  method: "GET",
  authority: "",
  path: "/",
  headers: HeaderList.empty(),
  body: { canReplay: () => true } satisfies Pick<Request["body"], "canReplay">,
};
