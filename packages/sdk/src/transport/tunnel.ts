import { type Abortable, type Call, HeaderList, MeshError, noFlow, type RequestBody, type Sink } from "@trama/engine";
import type { Socket } from "node:net";

import type { Connected, ConnectedPeer } from "./connect.ts";

/** The body of a call that is a whole connection: whoever asked for it. */
export interface ConnectionBody extends RequestBody {
  /** The connection stands; nothing was sent on it, and nothing read. Comes after the head. */
  connected(socket: Socket, peer: ConnectedPeer): void;
}

/** What a connection that stands answers to its call, which knows requests: there is no status, and nobody sees this one. */
const head = { status: 200, headers: HeaderList.ofFlat([]) };

/**
 * One connection for a call of protocol `tcp`, from dialling to its close: the answer of the call has no data, for the application reads the socket
 * itself, and ends when the socket is closed, whoever closed it.
 */
export class Tunnel implements Abortable {
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #ended: () => void;
  #socket: Socket | undefined = undefined;
  /** Ends the dialling, while it is under way. */
  #callOff: ((reason: MeshError) => void) | undefined = undefined;
  #over = false;

  /** `ended`: told once, when the connection is no more, or never came to be. */
  constructor(call: Call, sink: Sink, ended: () => void) {
    this.#call = call;
    this.#sink = sink;
    this.#ended = ended;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Its dialling has begun. */
  dialling(callOff: (reason: MeshError) => void): void {
    this.#callOff = callOff;
  }

  /** What has become of the dialling. */
  readonly dialled: Connected = (error, socket, peer) => {
    if (this.#over) {
      socket?.destroy();
      return;
    }
    if (error !== null) return this.fail(error);
    this.#socket = socket!;
    const { record, body } = this.#call;
    record.mtls = peer.mtls;
    record.peerPrincipal = peer.spiffeId;
    record.reached = true;
    // Its close tells what is to be done here; what was wrong is for the application, which may not listen yet.
    socket!.on("error", () => {});
    socket!.once("close", () => this.#closed());
    this.#sink.onHead(head, noFlow);
    if (!this.#over) (body as ConnectionBody).connected(socket!, peer);
  };

  /** Before it stands. */
  fail(error: MeshError): void {
    if (this.#end()) this.#sink.onError(error);
  }

  abort(reason: MeshError): void {
    if (!this.#end()) return;
    // Without this a peer that never answers would hold the process, after a mesh that is closed, for as long as the system tries.
    if (this.#socket === undefined) this.#callOff?.(reason);
    else this.#socket.destroy(reason);
    this.#sink.onError(reason);
  }

  #closed(): void {
    if (this.#end()) this.#sink.onEnd(undefined);
  }

  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#ended();
    return true;
  }
}

/** The mesh was closed while it stood. */
export function cut(): MeshError {
  return new MeshError("CLOSED", "the mesh was closed while the connection was open", { sent: true });
}
