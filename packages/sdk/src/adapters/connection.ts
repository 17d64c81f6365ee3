import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { ConnectionFacts, InboundChain, InboundSnapshot, Peer } from "@trama/engine";

import type { Hop } from "../transport/hop-fields.ts";

/** What the mesh knows of a request, on the request itself. */
export interface MeshRequest {
  /** Who sent it. In plaintext, where policy permits that, nobody: `spiffeId` is undefined. */
  readonly peer: Peer;
}

/** One accepted connection, from the moment its peer is known. Everything that is the same for all its requests is established once. */
export class Connection {
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  readonly mesh: MeshRequest;
  /** The configuration by which it was last admitted, and the chain that took it. */
  inbound: InboundSnapshot;
  chain: InboundChain;
  /** Requests between their head and the end of their answer. */
  inFlight = 0;
  /** The newest of them. */
  current: { announceClose(): void } | undefined = undefined;
  /** No further request: it ends with the answer that is under way. */
  closing = false;
  /** The last Host seen here, with what became of it: it is nearly always the same. */
  readonly host = { text: "", authority: "" };
  /** The last peer header, and what is believed of it: one end of a connection is one workload, so it is said once (docs/wire.md). */
  readonly workload: { text: string; believed: string | undefined } = { text: "", believed: undefined };

  /** What the caller of the newest request says of it. */
  readonly hop: Hop = { timeoutMs: Infinity, attempt: 1 };

  /** How its protocol ends it, for one that can say so; otherwise the socket is closed between two answers. */
  leave: (() => void) | undefined = undefined;
  /** Told when the last of its requests has ended, where several are under way at once. */
  idle: (() => void) | undefined = undefined;

  constructor(socket: Socket, facts: ConnectionFacts, peer: Peer, inbound: InboundSnapshot, chain: InboundChain) {
    this.socket = socket;
    this.facts = facts;
    this.mesh = { peer };
    this.inbound = inbound;
    this.chain = chain;
  }

  /**
   * Whether the peer may use this connection by the configuration now in force (dataplane.md §23 rule 9). Nearly always
   * one comparison: a listener that did not change is the same object.
   */
  admitted(inbound: InboundSnapshot | undefined): boolean {
    if (inbound === undefined) return false;
    if (inbound !== this.inbound) {
      const chain = inbound.chain(this.facts);
      if (chain === undefined || (chain.config.tls !== undefined) !== (this.facts.transportProtocol === "tls"))
        return false;
      this.inbound = inbound;
      this.chain = chain;
    }
    return this.chain.admits(this.mesh.peer);
  }

  /** The same for a request that came at `wallMs`, which the peer's certificate must not have outlived (design, decision 6). */
  serves(inbound: InboundSnapshot | undefined, wallMs: number): boolean {
    if (wallMs >= this.mesh.peer.notAfterMs) return false;
    // Of an unchanged listener everything but the time was judged when it let the peer in.
    return (inbound !== undefined && inbound === this.inbound) || this.admitted(inbound);
  }

  /** Ends it with the answer under way, or at once when there is none. */
  close(): void {
    this.closing = true;
    if (this.leave !== undefined) return this.leave();
    if (this.inFlight === 0) this.socket.destroySoon();
  }
}

/** By the socket that the HTTP server sees, the decrypted one; by its session at a native HTTP/2 server. */
export const connections: WeakMap<object, Connection> = new WeakMap();

/** Who sent this request, established from the verified certificate of its connection; `undefined` on a server that is not protected. */
export function peerOf(
  request: IncomingMessage | Http2ServerRequest | Pick<ServerHttp2Stream, "session">,
): Peer | undefined {
  // A native HTTP/2 server gives streams, or requests that have one; their sockets are proxies that nobody can know.
  const { session } = "stream" in request ? request.stream : (request as Partial<Pick<ServerHttp2Stream, "session">>);
  if (session !== undefined) return connections.get(session)?.mesh.peer;
  const { mesh, socket } = request as IncomingMessage;
  return (mesh ?? connections.get(socket)?.mesh)?.peer;
}

declare module "node:http" {
  interface IncomingMessage {
    /** Set by a server that `protect` made part of the mesh. */
    mesh?: MeshRequest;
  }
}
