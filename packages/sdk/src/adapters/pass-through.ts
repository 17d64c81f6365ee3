import {
  type Abortable,
  type Call,
  type ClusterInfo,
  type Flow,
  MeshError,
  noFlow,
  type Service,
  type Sink,
} from "@trama/engine";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

import { UpstreamHead } from "../transport/upstream-request.ts";
import type { OutboundCall } from "./outbound-call.ts";

/** Istio's names for hosts that no service stands for (istio-api.md §18.2). */
export const passThroughCluster: ClusterInfo = { name: "PassthroughCluster", service: undefined };
const blackHoleCluster: ClusterInfo = { name: "BlackHoleCluster", service: undefined };

type Fields = Record<string, string | string[]>;

/** Sends a call past the mesh's own way of sending, as the application wrote it, through an agent of undici's. */
export function passThrough(agent: Dispatcher): Service {
  return (call, sink) => {
    const request = new PassThroughRequest(call, sink);
    call.active = request;
    agent.dispatch((call.body as OutboundCall).options, request);
  };
}

/** Refuses what the mesh does not know (`REGISTRY_ONLY`). */
export const blackHole: Service = (call, sink) => {
  call.record.cluster = blackHoleCluster;
  sink.onError(
    new MeshError(
      "BLOCKED",
      `${call.authority} is not known to the mesh, and outboundTrafficPolicy is REGISTRY_ONLY; add a ServiceEntry for it`,
    ),
  );
};

class PassThroughRequest implements Dispatcher.DispatchHandler, Flow, Abortable {
  readonly #call: Call;
  readonly #sink: Sink;
  #controller: Dispatcher.DispatchController | undefined = undefined;
  #over = false;
  #switched: Duplex | undefined = undefined;

  constructor(call: Call, sink: Sink) {
    this.#call = call;
    this.#sink = sink;
    call.record.cluster ??= passThroughCluster;
    call.record.attempts = 1;
  }

  abort(reason: MeshError): void {
    if (this.#over) return;
    this.#end();
    if (this.#switched !== undefined) this.#switched.destroy();
    else this.#controller?.abort(reason);
    this.#sink.onError(reason);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    if (!this.#over) this.#controller?.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#over) controller.abort(new Error("aborted before it was sent"));
    else this.#controller = controller;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Fields,
    statusText?: string,
  ): void {
    if (this.#over) return;
    if (status < 200) return (this.#call.body as OutboundCall).informed(status, headers);
    this.#sink.onHead(new UpstreamHead(status, statusText, headers, controller.rawHeaders), this);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over) this.#sink.onData(chunk);
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: Fields): void {
    if (this.#over) return;
    this.#end();
    this.#sink.onEnd(new UpstreamHead(0, undefined, trailers, controller.rawTrailers).headers);
  }

  /** The error of undici goes to the application unchanged: nothing here is the mesh's doing. */
  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#over) return;
    this.#end();
    const sent = this.#controller !== undefined;
    (this.#call.body as OutboundCall).reason ??= error;
    this.#sink.onError(new MeshError(sent ? "RESET" : "CONNECT_FAILED", error.message, { cause: error, sent }));
  }

  onRequestUpgrade(_controller: Dispatcher.DispatchController, status: number, headers: Fields, socket: Duplex): void {
    if (this.#over) {
      socket.destroy();
      return;
    }
    const body = this.#call.body as OutboundCall;
    socket.once("close", () => {
      if (this.#over) return;
      this.#end();
      this.#sink.onEnd(undefined);
    });
    this.#switched = socket;
    this.#sink.onHead(new UpstreamHead(status, undefined, headers, null), noFlow);
    body.switched(status, headers, socket);
  }

  #end(): void {
    this.#over = true;
    if (this.#call.active === this) this.#call.active = undefined;
  }
}
