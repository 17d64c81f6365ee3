import type { CallCredentials, experimental, InterceptingListener } from "@grpc/grpc-js";
import type { Call, Clock, Engine, Service, Sink, Transport } from "@trama/engine";

import type { packerOf } from "../transport/grpc-compression.ts";
import type { KeepAlive } from "../transport/stream-body.ts";
import type { Target } from "./grpc-target.ts";
import type { HostLookup } from "./host-lookup.ts";

/** What all channels of a process share. */
export interface GrpcClient {
  readonly engine: Engine;
  readonly transport: Transport;
  readonly lookup: HostLookup;
  readonly clock: Clock;
  readonly random: () => number;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly closed: boolean;
}

/** The options of a channel that the mesh honours; routing, balancing, retries and connections are the mesh's own. */
export interface ChannelSettings {
  /** -1: no limit, gRPC's default. */
  readonly maxSendBytes: number;
  /** 4 MiB by default. */
  readonly maxReceiveBytes: number;
  readonly userAgent: string;
  readonly authority: string | undefined;
  readonly packer: ReturnType<typeof packerOf>;
  readonly keepAlive: KeepAlive | undefined;
}

/** What a call needs of its channel. */
export interface ChannelCore extends Omit<GrpcClient, "outboundTrafficPolicy"> {
  readonly target: Target;
  readonly settings: ChannelSettings;
  readonly credentials: CallCredentials | undefined;
  /** Whether hosts that the mesh does not know are refused. */
  readonly refusing: boolean;
  readonly refused: Service;
  outside(call: Call, sink: Sink, owner: OutsideOwner, options: CallOptions): void;
}

/** What an application asks for with a call. */
export interface CallOptions {
  readonly path: string;
  /** Milliseconds since the epoch, as grpc-js has deadlines. */
  readonly deadline: Date | number;
  readonly host: string | undefined;
}

/** A call that may have to go past the mesh. */
export interface OutsideOwner {
  /** The call goes to a host that the mesh does not know, over grpc-js's own channel. */
  passTo(outside: experimental.CallStream, listener: Pick<InterceptingListener, "onReceiveStatus">): void;
}
