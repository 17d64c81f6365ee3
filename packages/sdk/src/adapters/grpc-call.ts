import {
  type CallCredentials,
  type experimental,
  type InterceptingListener,
  type Metadata,
  status as codes,
} from "@grpc/grpc-js";
import {
  Call,
  type Flow,
  handDown,
  HeaderList,
  MeshError,
  outOfTime,
  ownDelay,
  type ResponseHead,
  type Sink,
  type Timer,
} from "@trama/engine";

import { type CallContext, currentContext } from "../context.ts";
import { acceptedEncodings } from "../transport/grpc-compression.ts";
import type { CallOptions, ChannelCore, OutsideOwner } from "./grpc-core.ts";
import { Inbox, type Receiver } from "./grpc-inbox.ts";
import { OutboundMessages } from "./grpc-messages.ts";
import { appendMetadata, type MeshStatus, statusOfError, statusOfTrailers, toMetadata } from "./grpc-status.ts";

type GrpcCall = experimental.CallStream;
type AuthContext = ReturnType<GrpcCall["getAuthContext"]>;

/** Failures that may pass, before anything was sent: what `waitForReady` waits out. */
const notReady: ReadonlySet<string> = new Set(["NO_CONFIG", "NO_HEALTHY_ENDPOINT", "CONNECT_FAILED"]);
const readyBackoffMs = 100;
const readyBackoffMaxMs = 5_000;
/** The longest delay that timers of every kind can hold. */
const longestMs = 0x7fff_ffff;

let numbers = 0;

/**
 * A call of a client: grpc-js's `Call` towards the application, with serialized messages; the engine's sink towards the mesh. grpc-js has
 * no say below this point: routing, retries, deadlines and connections are the engine's.
 */
export class MeshCall implements GrpcCall, Sink, Receiver, OutsideOwner {
  readonly #core: ChannelCore;
  readonly #options: CallOptions;
  readonly #number = ++numbers;
  readonly #body: OutboundMessages;
  readonly #inbox: Inbox;
  /** On the monotonic clock. */
  readonly #deadlineMs: number;
  /** Of the call on whose behalf it is made. */
  readonly #context: CallContext | undefined;
  #credentials: CallCredentials | undefined;
  #metadata: Metadata | undefined = undefined;
  #listener: InterceptingListener | undefined = undefined;
  #call: Call | undefined = undefined;
  #deadlineTimer: Timer | undefined = undefined;
  #readyTimer: Timer | undefined = undefined;
  /** How often it waited for its host to be ready. */
  #waits = 0;
  #stopped = false;
  #head: ResponseHead | undefined = undefined;
  #status: MeshStatus | undefined = undefined;
  #outside: GrpcCall | undefined = undefined;
  #readWanted = false;
  #over = false;
  /** Undoes what ties this call to the one on whose behalf it is made. */
  #untie: (() => void) | undefined = undefined;

  constructor(core: ChannelCore, options: CallOptions) {
    const { clock, target, settings } = core;
    this.#core = core;
    this.#options = options;
    this.#credentials = core.credentials;
    this.#body = new OutboundMessages(
      target.authority,
      options.host ?? settings.authority ?? target.authority,
      settings.keepAlive,
      settings.packer,
    );
    this.#inbox = new Inbox(this, settings.maxReceiveBytes);
    const own = +options.deadline;
    const nowMs = clock.now();
    this.#context = currentContext(nowMs);
    this.#deadlineMs = Math.min(
      own === Infinity ? Infinity : nowMs + own - clock.wall(),
      handDown(this.#context?.deadlineMs ?? Infinity, nowMs),
    );
  }

  // ── towards the application ──

  /** Cancelled with the call that it is made for (`propagate_flags`). */
  tie(untie: () => void): void {
    this.#untie = untie;
  }

  setCredentials(credentials: CallCredentials): void {
    this.#credentials = this.#credentials === undefined ? credentials : this.#credentials.compose(credentials);
  }

  start(metadata: Metadata, listener: InterceptingListener): void {
    this.#metadata = metadata;
    this.#listener = listener;
    const { clock } = this.#core;
    const nowMs = clock.now();
    const leftMs = this.#deadlineMs - nowMs;
    if (leftMs <= 0)
      return this.#stop(new MeshError("TIMEOUT", "the deadline of the call had passed before it was sent"));
    if (leftMs < longestMs) {
      const stalledMs = clock.stalled(nowMs);
      this.#deadlineTimer = clock.after(leftMs, () => {
        const sent = (this.#call?.record.attempts ?? 0) > 0;
        this.#stop(outOfTime(leftMs, sent, ownDelay(clock, nowMs, stalledMs, leftMs)));
      });
    }
    if (this.#credentials === undefined) this.#run();
    else this.#runWith(this.#credentials);
  }

  sendMessageWithContext(
    context: { callback?: (error?: Error | null) => void; flags?: number },
    message: Buffer,
  ): void {
    const { maxSendBytes } = this.#core.settings;
    if (this.#over) {
      if (context.callback !== undefined) process.nextTick(context.callback);
    } else if (maxSendBytes >= 0 && message.length > maxSendBytes)
      this.cancelWithStatus(
        codes.RESOURCE_EXHAUSTED,
        `Attempted to send message with a size larger than ${maxSendBytes}`,
      );
    else this.#body.add(message, context.flags ?? 0, context.callback);
  }

  startRead(): void {
    if (this.#outside !== undefined) this.#outside.startRead();
    else {
      this.#readWanted = true;
      this.#inbox.read();
    }
  }

  halfClose(): void {
    if (!this.#over) this.#body.halfClose();
  }

  cancelWithStatus(status: number, details: string): void {
    if (this.#over) return;
    this.#outside?.cancelWithStatus(status, details);
    this.#stop(new MeshError("ABORTED", details, { sent: true, grpcStatus: status }));
  }

  getPeer(): string {
    return this.#outside?.getPeer() ?? this.#call?.record.endpoint?.address ?? this.#core.target.text;
  }

  getCallNumber(): number {
    return this.#number;
  }

  getAuthContext(): AuthContext {
    return this.#outside?.getAuthContext() ?? null;
  }

  // ── towards the mesh ──

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#over) return;
    this.#body.commit();
    this.#head = head;
    if (head.status !== 200 || head.headers.has("grpc-status")) return;
    this.#inbox.start(head.headers.get("grpc-encoding"), flow, this.#call!.record);
    this.#listener!.onReceiveMetadata(toMetadata(head.headers));
  }

  onData(chunk: Uint8Array): void {
    // What comes with another status is a page for people, not messages.
    if (!this.#over && this.#head!.status === 200) this.#inbox.data(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#over) return;
    const head = this.#head!;
    const trailersOnly = trailers?.has("grpc-status") !== true && head.headers.has("grpc-status");
    const status = (this.#status ??= statusOfTrailers(trailersOnly ? head.headers : trailers, head.status));
    if (!this.#inbox.complete && status.code === 0)
      this.#status = { ...status, code: codes.INTERNAL, details: "the answer ended inside a message" };
    this.#inbox.end(this.#status.code !== 0);
  }

  onError(error: MeshError): void {
    if (this.#over) return;
    if (!this.#waitsOut(error)) this.#finish(statusOfError(error));
  }

  // ── from the inbox ──

  deliver(message: Buffer): void {
    this.#readWanted = false;
    this.#listener!.onReceiveMessage(message);
  }

  refuse(code: number, details: string): void {
    this.#stop(new MeshError("PROTOCOL_ERROR", details, { sent: true, grpcStatus: code }));
  }

  drained(): void {
    if (!this.#over) this.#finish(this.#status!);
  }

  // ── past the mesh ──

  /** The call goes to a host that the mesh does not know, over grpc-js's own channel; see {@link ./grpc-outside.ts}. */
  passTo(outside: GrpcCall, listener: Pick<InterceptingListener, "onReceiveStatus">): void {
    this.#outside = outside;
    outside.start(this.#metadata!, {
      onReceiveMetadata: (metadata) => this.#listener!.onReceiveMetadata(metadata),
      onReceiveMessage: (message: Buffer) => {
        this.#call!.record.responseMessages++;
        this.deliver(message);
      },
      onReceiveStatus: (status) => {
        this.#status = status;
        listener.onReceiveStatus(status);
      },
    });
    this.#body.passTo(outside);
    if (this.#readWanted) outside.startRead();
  }

  #runWith(credentials: CallCredentials): void {
    const { path } = this.#options;
    const service = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    const { authority } = this.#core.target;
    const host = authority.endsWith(":443") ? authority.slice(0, -4) : authority;
    credentials
      .generateMetadata({ method_name: path.slice(service.length + 1), service_url: `https://${host}${service}` })
      .then(
        (extra) => {
          if (this.#over) return;
          const all = this.#metadata!.clone();
          all.setOptions(this.#metadata!.getOptions());
          all.merge(extra);
          this.#metadata = all;
          this.#run();
        },
        (error: Error & { code?: unknown }) => {
          const code = typeof error.code === "number" ? error.code : codes.UNAUTHENTICATED;
          this.#stop(
            new MeshError("ABORTED", `getting metadata from credentials failed: ${error.message}`, {
              cause: error,
              grpcStatus: code,
            }),
          );
        },
      );
  }

  #run(): void {
    const { lookup, target, closed } = this.#core;
    if (this.#over) return;
    if (closed) return this.onError(new MeshError("CLOSED", "the mesh is closed"));
    if (target.listener === "") return this.#goOutside();
    const standing = lookup.of(target.listener);
    // What the engine says of an opaque port is what the caller should hear.
    if (standing === "mesh" || standing === "opaque") this.#goMesh();
    else if (target.loopback && !target.meshOnly) this.#goOutside();
    else if (standing === "stranger") this.#stranger();
    else void this.#ask();
  }

  async #ask(): Promise<void> {
    const answer = await this.#core.lookup.ask(this.#core.target.listener);
    if (this.#over) return;
    if (answer instanceof MeshError) this.onError(answer);
    else if (answer === "stranger") this.#stranger();
    else this.#goMesh();
  }

  #goMesh(): void {
    this.#core.engine.outbound(this.#core.target.listener, this.#newCall(), this);
  }

  #stranger(): void {
    const { target, refusing } = this.#core;
    if (refusing) this.#core.refused(this.#newCall(), this);
    else if (target.meshOnly)
      this.onError(
        new MeshError(
          "NO_CONFIG",
          `the mesh knows no ${target.listener}, and ${target.text} can be resolved by nobody else`,
        ),
      );
    else this.#goOutside();
  }

  #goOutside(): void {
    this.#core.outside(this.#newCall(), this, this, this.#options);
  }

  #newCall(): Call {
    const { engine, transport, clock, target, settings } = this.#core;
    const flat = [
      "te",
      "trailers",
      "content-type",
      "application/grpc",
      "user-agent",
      settings.userAgent,
      "grpc-accept-encoding",
      acceptedEncodings,
    ];
    if (settings.packer !== undefined) flat.push("grpc-encoding", settings.packer.name);
    appendMetadata(flat, this.#metadata!);
    const call = new Call({
      snapshot: engine.current,
      side: "outbound",
      protocol: "grpc",
      method: "POST",
      authority: target.authority,
      path: this.#options.path,
      headers: HeaderList.ofFlat(flat),
      body: this.#body,
      transport,
      startMs: clock.now(),
    });
    call.deadlineMs = this.#deadlineMs;
    call.callerAttempt = this.#context?.attempt ?? 1;
    call.record.operation = this.#options.path;
    this.#body.countAt(call.record);
    this.#call = call;
    return call;
  }

  /** Whatever is under way answers through `onError`; if nothing is, the application is told here. */
  #stop(error: MeshError): void {
    if (this.#over) return;
    this.#stopped = true;
    this.#call?.abort(error);
    if (!this.#over) this.#finish(statusOfError(error));
  }

  #waitsOut(error: MeshError): boolean {
    const { clock, random } = this.#core;
    if (this.#stopped || error.sent || !notReady.has(error.code) || this.#metadata?.getOptions().waitForReady !== true)
      return false;
    const most = Math.min(readyBackoffMs * 2 ** this.#waits++, readyBackoffMaxMs);
    this.#readyTimer = clock.after(most * (0.5 + random() / 2), () => this.#run());
    return true;
  }

  /** Later, as grpc-js does: a status must not come before the call that it answers has returned. */
  #finish(status: MeshStatus): void {
    this.#over = true;
    this.#deadlineTimer?.cancel();
    this.#readyTimer?.cancel();
    this.#inbox.close();
    this.#body.close();
    this.#untie?.();
    process.nextTick(() => this.#listener?.onReceiveStatus(status));
  }
}
