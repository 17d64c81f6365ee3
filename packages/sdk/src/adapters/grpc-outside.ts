import {
  Channel,
  type ChannelCredentials,
  type ChannelInterface,
  type ClientOptions,
  type StatusObject,
} from "@grpc/grpc-js";
import {
  type Abortable,
  type Call,
  type ClusterInfo,
  HeaderList,
  MeshError,
  noFlow,
  type Service,
  type Sink,
  slot,
  type Slot,
} from "@trama/engine";

import type { CallOptions, OutsideOwner } from "./grpc-core.ts";

/** Istio's names for hosts that no service stands for (istio-api.md §18.2). */
const passThroughCluster: ClusterInfo = { name: "PassthroughCluster", service: undefined };
const blackHoleCluster: ClusterInfo = { name: "BlackHoleCluster", service: undefined };

interface Outside {
  readonly owner: OutsideOwner;
  readonly options: CallOptions;
  readonly channel: ChannelInterface;
}

const outsideSlot: Slot<Outside> = slot<Outside>("a gRPC call past the mesh");

/** The channel that the application would have had without a mesh, made when a call first needs it. */
export class OutsideChannel {
  readonly #make: () => ChannelInterface;
  #channel: ChannelInterface | undefined = undefined;

  constructor(target: string, credentials: ChannelCredentials, options: ClientOptions) {
    this.#make = () => new Channel(target, credentials, options);
  }

  prepare(call: Call, owner: OutsideOwner, options: CallOptions): void {
    call.put(outsideSlot, { owner, options, channel: (this.#channel ??= this.#make()) });
  }

  close(): void {
    this.#channel?.close();
  }
}

/** Sends a call past the mesh, as the application wrote it; the engine counts it like any other. */
export const passOutside: Service = (call, sink) => {
  call.record.cluster = passThroughCluster;
  call.record.attempts = 1;
  call.record.reached = true;
  const { owner, options, channel } = call.get(outsideSlot)!;
  const inner = channel.createCall(options.path, options.deadline, options.host, null, null);
  let over = false;
  const active: Abortable = {
    abort(reason: MeshError): void {
      if (over) return;
      over = true;
      inner.cancelWithStatus(reason.grpcStatus ?? 1, reason.message);
      sink.onError(reason);
    },
  };
  call.active = active;
  owner.passTo(inner, {
    onReceiveStatus(status: StatusObject): void {
      if (over) return;
      over = true;
      call.active = undefined;
      report(sink, status);
    },
  });
};

/** The owner has the status itself; this is for whoever counts. */
function report(sink: Sink, { code }: StatusObject): void {
  sink.onHead({ status: 200, headers: HeaderList.ofFlat(["grpc-status", String(code)]) }, noFlow);
  sink.onEnd(undefined);
}

/** Refuses what the mesh does not know (`REGISTRY_ONLY`). */
export const refuseOutside: Service = (call, sink) => {
  call.record.cluster = blackHoleCluster;
  sink.onError(
    new MeshError(
      "BLOCKED",
      `${call.authority} is not known to the mesh, and outboundTrafficPolicy is REGISTRY_ONLY; add a ServiceEntry for it`,
    ),
  );
};
