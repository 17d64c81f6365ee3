import type { Clock, Engine, Logger } from "@trama/engine";
import type { XdsClient } from "@trama/xds";
import type { IdentitySource } from "@trama/xds/ca";

import type { Mesh, ServerStatus } from "./mesh-types.ts";

/** A server that the mesh looks after, whatever it speaks. */
export interface GuardedServer {
  /** Whether somebody has told it to listen; before that nobody waits for it. */
  readonly listens: boolean;
  readonly waitingFor: string | undefined;
  readonly status: ServerStatus;
  /** Configuration or identity changed. */
  refresh(): void;
  /** Says good-bye to its peers; everything is still served. */
  drain(): void;
  /** Accepts nothing more and waits for what is under way, at most `deadlineMs`. */
  stop(deadlineMs: number): Promise<void>;
}

/** What adapters with dependencies of their own need of a mesh that was joined without them. */
export interface MeshInternals {
  readonly engine: Engine;
  readonly identity: IdentitySource;
  readonly discovery: Pick<XdsClient, "outbound" | "inbound">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  /** Value of the peer header (docs/wire.md). */
  readonly peer: string;
  readonly open: boolean;
  /** Something that others wait for in `ready()` has changed. */
  readonly changed: () => void;
  /** From now on part of `ready`, `status` and `close`; returns an undo. */
  guard(server: GuardedServer): () => void;
  /** Outbound connections that close with the mesh, when the last server has ended. */
  onClose(close: (deadlineMs: number) => Promise<void>): void;
}

/** Kept apart from the public type: an application has no business with these. */
export const internals: WeakMap<Mesh, MeshInternals> = new WeakMap();
