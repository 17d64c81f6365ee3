import { MeshError } from "./errors.ts";
import type { Hash64 } from "./hash/xxhash64.ts";
import type { HeaderList } from "./headers.ts";
import type { Transport } from "./transport.ts";
import { CallRecord } from "./record.ts";
import type { Snapshot } from "./snapshot.ts";

/** Something that is under way and can be told to stop: an attempt, a timer that waits, a chain of filters. */
export interface Abortable {
  /** Idempotent. Whoever is told to stop answers the sink with `reason`. */
  abort(reason: MeshError): void;
}

/** The questions the engine asks of a request body. The bytes themselves are the transport's business. */
export interface RequestBody {
  /** True when the body can be sent once more from its first byte (absent, or held in memory). */
  canReplay(): boolean;
  /**
   * True while the caller may still add to the body. The head of a gRPC answer is then never held back for the sake of a
   * retry: a caller that waits for it before it goes on would wait for ever. Absent: the body is whole.
   */
  isOpen?(): boolean;
  /**
   * How much of the body has moved so far, in any unit that grows with it, for whoever watches for silence; first asked before the first
   * attempt. Absent: the body is whole.
   */
  moved?(): number;
  /**
   * The same bytes for a copy of the call, asked for before its first attempt (mirroring). Never holds the body itself back: what
   * the copy's reader does not take in time is given up, and the copy with it. Absent, or `undefined`: there can be no copy.
   */
  copy?(budget: CopyBudget): RequestBody | undefined;
  /** Of a `tcp` call: the bytes of the application that went both ways so far. Neither ever falls. */
  traffic?(): Traffic;
}

/** Bytes towards the server, and back. */
export interface Traffic {
  readonly request: number;
  readonly response: number;
}

/** What a copy of a body may hold in memory. */
export interface CopyBudget {
  /** False when there is no room for them; the copy is then lost. */
  take(bytes: number): boolean;
  give(bytes: number): void;
  /** The copy will never be whole. */
  lost(): void;
}

/** A body that is not there. */
export const noBody: RequestBody = { canReplay: () => true };

/** What consistent hashing goes by for one call. */
export interface CallKey extends Hash64 {
  /** Whether there is a key at all; then `high` and `low` are it. Worked out when it is first asked for. */
  known(call: Call): boolean;
}

/** Who is at the other end of an inbound connection, established from the verified certificate of that connection. */
export interface Peer {
  /** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, or `undefined` for plaintext: then the peer is nobody. */
  readonly spiffeId: string | undefined;
  /** Parts of the SPIFFE id; empty text when there is none. */
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The socket's own remote address, IPv4-mapped IPv6 already normalised (R55). */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** Whether the connection is mutually authenticated TLS. */
  readonly mtls: boolean;
  /** Server name the client asked for; empty text when none. */
  readonly serverName: string;
  /** Wall-clock milliseconds at which the peer's certificate ends; `Infinity` without one. Checked per request. */
  readonly notAfterMs: number;
}

/** A typed place for what one filter or adapter attaches to a call. Made once per module, never per call. */
export interface Slot<T> {
  readonly index: number;
  readonly name: string;
  /** Only carries the type. */
  readonly type?: T;
}

let slots = 0;
export function slot<T>(name: string): Slot<T> {
  return { index: slots++, name };
}

/** `tcp`: the call is a whole connection, of which nothing is read. */
export type Protocol = "http" | "grpc" | "tcp";

export interface CallInit {
  readonly snapshot: Snapshot;
  readonly side: "outbound" | "inbound";
  readonly protocol: Protocol;
  readonly method: string;
  /** Scheme of the URL that the caller wrote; default `http`. How the call travels is the mesh's business, and is not told by it. */
  readonly scheme?: "http" | "https" | undefined;
  /** Host and port as the caller wrote them; lower case, no user info. */
  readonly authority: string;
  /** Origin form, query included, starting with `/`. */
  readonly path: string;
  readonly headers: HeaderList;
  readonly body: RequestBody;
  readonly transport: Transport;
  readonly peer?: Peer | undefined;
  /** Monotonic milliseconds of the start (`Clock.now()`). */
  readonly startMs: number;
}

/**
 * One request on its way through the mesh, on the client or on the server side. It pins the snapshot that was
 * current when it was made and keeps it to the end (law 6). Adapters make it; layers read it and may change
 * `authority`, `path` and `headers` before the first attempt.
 */
export class Call extends CallRecord {
  readonly snapshot: Snapshot;
  readonly side: "outbound" | "inbound";
  readonly protocol: Protocol;
  readonly scheme: "http" | "https";
  method: string;
  authority: string;
  path: string;
  readonly headers: HeaderList;
  readonly body: RequestBody;
  readonly transport: Transport;
  readonly peer: Peer | undefined;
  /** Absolute end on the monotonic clock in milliseconds; `Infinity` = none. Layers only ever bring it nearer. */
  deadlineMs: number = Infinity;
  /**
   * Which attempt of its caller's this call is made for: 2 or more says that the whole of what happens here is a retry
   * already, made by somebody above (see `RetryPlan`). Outbound: of the call that is being served; inbound: of this one.
   */
  callerAttempt = 1;
  /** Whether peers are told the number of each attempt, the first one's too (`include_request_attempt_count`). */
  tellAttempt = false;
  /** Set once by {@link abort}. */
  aborted: MeshError | undefined = undefined;
  /** What is under way right now, for {@link abort}. The stage that waits or sends sets it, and clears it when done. */
  active: Abortable | undefined = undefined;
  /** What consistent hashing goes by, where the route says something about it. */
  key: CallKey | undefined = undefined;
  #slots: unknown[] | undefined = undefined;

  constructor(init: CallInit) {
    super(init.startMs);
    this.snapshot = init.snapshot;
    this.side = init.side;
    this.protocol = init.protocol;
    // A server knows only its connection: what came over TLS was an `https` request to Envoy, too.
    this.scheme = init.scheme ?? (init.peer?.mtls === true ? "https" : "http");
    this.method = init.method;
    this.authority = init.authority;
    this.path = init.path;
    this.headers = init.headers;
    this.body = init.body;
    this.transport = init.transport;
    this.peer = init.peer;
  }

  /** What is told of it; one object with it, for they begin and end together. */
  get record(): CallRecord {
    return this;
  }

  get<T>(slot: Slot<T>): T | undefined {
    return this.#slots?.[slot.index] as T | undefined;
  }

  put<T>(slot: Slot<T>, value: T): void {
    (this.#slots ??= [])[slot.index] = value;
  }

  /**
   * Stops the call. Idempotent: the first reason stays. Whatever is under way is told and answers the sink with
   * this very error, so that the caller gets back its own reason (law 5). A call that is aborted before it was
   * given to a Service is refused by the first layer that looks at `aborted`.
   */
  abort(reason: unknown): void {
    if (this.aborted !== undefined) return;
    const error =
      reason instanceof MeshError
        ? reason
        : new MeshError("ABORTED", "the caller aborted the call", { cause: reason, sent: true });
    this.aborted = error;
    this.active?.abort(error);
  }
}
