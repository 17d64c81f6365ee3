import type { Server } from "node:http";
import type { Clock, Engine, Logger } from "@trama/engine";
import type { IdentitySource, XdsClient } from "@trama/xds";

import type { ProtectedServer } from "./adapters/http-server.ts";
import type { MeshListener } from "./adapters/listener.ts";
import type { MeshDispatcher } from "./adapters/undici.ts";
import type { H2Transport } from "./transport/h2.ts";
import type { Mesh } from "./mesh-types.ts";

/** A server that the mesh looks after, whatever it speaks. */
export interface GuardedServer {
  /** Whether somebody has told it to listen; before that nobody waits for it. */
  readonly listens: boolean;
  readonly listener: MeshListener;
  readonly requestsInFlight: number;
  /** Says good-bye to its peers; everything is still served. */
  drain(): void;
  /** Accepts nothing more, serves what is open for `lingerMs`, and waits for what is under way, at most `deadlineMs`. */
  stop(deadlineMs: number, lingerMs: number): Promise<void>;
}

/** What adapters with dependencies of their own need of a mesh that was joined without them. */
export interface MeshInternals {
  readonly engine: Engine;
  readonly identity: IdentitySource;
  readonly discovery: Pick<XdsClient, "outbound" | "inbound">;
  readonly dispatcher: MeshDispatcher;
  /** HTTP/2 connections, of HTTP's calls and gRPC's; closes with the mesh. */
  readonly http2: H2Transport;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  /** False once `close` was called. */
  readonly open: boolean;
  /** Whether all that serves has what it needs, as `ready()` waits for it; false again from the moment `close` was called. */
  readonly ready: boolean;
  /** Something that others wait for in `ready()` has changed. */
  changed(): void;
  /** Is told whenever `ready` or `open` may have changed. */
  onChange(changed: () => void): void;
  /** From now on part of `ready`, `status` and `close`; returns an undo. */
  guard(server: GuardedServer): () => void;
  /** The guard of an HTTP server of this mesh. */
  guardOf(server: Server): ProtectedServer | undefined;
  /** Outbound connections that close with the mesh, when the last server has ended. */
  onClose(close: (deadlineMs: number) => Promise<void>): void;
}

/** Kept apart from the public type: an application has no business with these. */
export const internals: WeakMap<Mesh, MeshInternals> = new WeakMap();
