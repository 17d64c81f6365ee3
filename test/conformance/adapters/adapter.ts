import type { FilterConfig, MeshConfig } from "@trama/engine";

import type { TestIdentity } from "../../kit/identity.ts";

/** How a call ended, in words that HTTP and gRPC share. */
export type Ending = "ok" | "denied" | "unavailable" | "deadline" | "exhausted" | "other";

export interface Request {
  /** `/shop.Reviews/One` by default: a path for HTTP, a method for gRPC. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** HTTP: what else than GET, or PUT with a body. */
  readonly method?: string;
  /** HTTP: the body is a stream of unknown length. */
  readonly streams?: boolean;
  readonly signal?: AbortSignal;
}

export interface Reply {
  readonly ending: Ending;
  readonly text: string;
  /** What the caller was given in place of an answer. */
  readonly error?: unknown;
  /** Header of the answer, for gRPC its metadata; absent where none is looked at. */
  readonly header?: (name: string) => string | undefined;
  /** HTTP: statuses of interim answers. */
  readonly interim?: readonly number[] | undefined;
  /** HTTP: fields behind the body. */
  readonly trailers?: Readonly<Record<string, unknown>> | undefined;
}

/** What is recorded of a call, as far as scenarios ask. */
export interface Recorded {
  readonly attempts: number;
  readonly mtls: boolean;
  readonly peer: string | undefined;
  readonly cluster: string;
}

/** A client of one library, in a mesh whose configuration the scenario publishes. */
export interface ClientUnderTest {
  call(request?: Request): Promise<Reply>;
  publish(config: MeshConfig): void;
  /** Reads one long answer slowly: chunks that its server had written when the reader had stopped, and chunks read in the end. */
  readSlowly(): Promise<{ readonly ahead: number; readonly read: number; readonly total: number }>;
  /** HTTP: switches to the protocol `shout`, says a word, and returns what comes back. */
  upgrade?(word: string): Promise<string>;
  readonly recorded: readonly Recorded[];
  /** Hosts that the control plane was asked for. */
  readonly asked: readonly string[];
  readonly active: number;
}

/** What an honest server without a mesh does with a request. */
export type Behaviour = (request: {
  path: string;
  header(name: string): string;
  /** `host`, or `:authority`. */
  authority: string;
  body: string;
}) => Reply | Promise<Reply>;

export interface ClientAdapter {
  readonly name: string;
  /** Scenarios that mean nothing here, with the reason. */
  readonly lacks: Readonly<Record<string, string>>;
  open(
    scope: Scope,
    config: MeshConfig,
    identity?: TestIdentity,
    policy?: "ALLOW_ANY" | "REGISTRY_ONLY",
  ): ClientUnderTest;
  backend(scope: Scope, behaviour: Behaviour): Promise<string>;
  /** A protected server of the same protocol. */
  secured(scope: Scope, identity: TestIdentity): Promise<ServerUnderTest>;
}

export interface ServedRequest {
  readonly peer: string | undefined;
  readonly headers: readonly string[];
  /** What a call would inherit that its handler makes. */
  readonly handsOn: HandedOn | undefined;
}

export interface HandedOn {
  /** Milliseconds to the deadline; `Infinity` without one. */
  readonly leftMs: number;
  /** 2 or more: the request is a retry. */
  readonly attempt: number;
}

/** A server of one library, whose inbound configuration the scenario publishes. */
export interface ServerUnderTest {
  readonly address: string;
  publish(mode: "STRICT" | "PERMISSIVE" | "DISABLE", filters?: readonly FilterConfig["config"][]): void;
  /** Requests that reached the application. */
  readonly served: readonly ServedRequest[];
  readonly recorded: readonly (Recorded & {
    readonly status: number;
    readonly grpcStatus: number;
    readonly flag: string;
  })[];
  readonly active: number;
  /** From now on the application does not answer until it is told to. */
  hold(): () => void;
  stop(deadlineMs: number): Promise<void>;
}

export interface ServerAdapter {
  readonly name: string;
  readonly lacks: Readonly<Record<string, string>>;
  serve(scope: Scope, identity: TestIdentity): Promise<ServerUnderTest>;
  /** The client that speaks its protocol. */
  readonly client: ClientAdapter;
  /** A request without any mesh, in plaintext. */
  plain(scope: Scope, address: string, request?: Request): Promise<Reply>;
}

/** Closes what a scenario opened, last first. */
export class Scope {
  readonly #closers: (() => unknown)[] = [];

  defer(close: () => unknown): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) await close();
  }
}
