import {
  type CallCredentials,
  type ChannelCredentials,
  type ChannelInterface,
  type ClientOptions,
  connectivityState,
  credentials as makeCredentials,
  propagate,
} from "@grpc/grpc-js";
import { createRequire } from "node:module";

import { packerOf } from "../transport/grpc-compression.ts";
import { MeshCall } from "./grpc-call.ts";
import type { ChannelCore, ChannelSettings, GrpcClient } from "./grpc-core.ts";
import { OutsideChannel, passOutside, refuseOutside } from "./grpc-outside.ts";
import { parseTarget } from "./grpc-target.ts";

type CreateCall = ChannelInterface["createCall"];

/** A channel of grpc-js's that leads into the mesh. */
export class MeshChannel implements ChannelInterface {
  readonly #client: GrpcClient;
  readonly #core: ChannelCore;
  readonly #outside: OutsideChannel;
  #closed = false;

  constructor(client: GrpcClient, text: string, credentials: ChannelCredentials, options: ClientOptions) {
    const target = parseTarget(text);
    const outside = (this.#outside = new OutsideChannel(text, credentials, options));
    const observed = client.engine.observe(passOutside);
    this.#client = client;
    this.#core = {
      ...client,
      get closed() {
        return client.closed;
      },
      target,
      settings: settingsOf(options),
      credentials: callCredentials(credentials, options),
      refusing: client.outboundTrafficPolicy === "REGISTRY_ONLY",
      refused: client.engine.observe(refuseOutside),
      outside(call, sink, owner, callOptions) {
        outside.prepare(call, owner, callOptions);
        observed(call, sink);
      },
    };
  }

  createCall(...[path, deadline, host, parent, flags]: Parameters<CreateCall>): ReturnType<CreateCall> {
    if (this.#closed) throw new Error("Channel has been shut down");
    const inherited = flags ?? propagate.DEFAULTS;
    const limit =
      parent !== null && (inherited & propagate.DEADLINE) !== 0 ? Math.min(+deadline, +parent.getDeadline()) : deadline;
    const call = new MeshCall(this.#core, { path, deadline: limit, host: host ?? undefined });
    if (parent !== null && (inherited & propagate.CANCELLATION) !== 0) {
      const cancel = (): void => call.cancelWithStatus(1, "Cancelled by parent call");
      parent.on("cancelled", cancel);
      call.tie(() => parent.removeListener("cancelled", cancel));
    }
    return call;
  }

  getTarget(): string {
    return this.#core.target.text;
  }

  /** READY means that the mesh knows the way; connections belong to its endpoints and come and go below. */
  getConnectivityState(tryToConnect: boolean): connectivityState {
    const { lookup, target } = this.#core;
    if (this.#closed || this.#client.closed) return connectivityState.SHUTDOWN;
    if (target.loopback || lookup.of(target.listener) !== "unasked") return connectivityState.READY;
    if (lookup.asking(target.listener)) return connectivityState.CONNECTING;
    if (!tryToConnect) return connectivityState.IDLE;
    void lookup.ask(target.listener);
    return connectivityState.CONNECTING;
  }

  watchConnectivityState(current: connectivityState, deadline: Date | number, callback: (error?: Error) => void): void {
    const { clock, lookup, target } = this.#core;
    if (this.getConnectivityState(false) !== current) return process.nextTick(callback);
    const leftMs = Math.min(+deadline - clock.wall(), 0x7fff_ffff);
    let done = false;
    const end = (error?: Error): void => {
      if (done) return;
      done = true;
      timer.cancel();
      callback(error);
    };
    const timer = clock.after(leftMs, () => end(new Error("Deadline passed without connectivity state change")));
    if (current === connectivityState.CONNECTING || current === connectivityState.IDLE)
      void lookup.ask(target.listener).then((answer) => {
        // A host that could not be asked for is asked for anew by the caller, who waits for READY.
        if (typeof answer === "string") end();
      });
  }

  /** grpc-js's channelz does not know channels that are not its own. */
  getChannelzRef(): ReturnType<ChannelInterface["getChannelzRef"]> {
    return { kind: "channel", id: 0, name: this.#core.target.text } as ReturnType<ChannelInterface["getChannelzRef"]>;
  }

  close(): void {
    this.#closed = true;
    this.#outside.close();
  }
}

const { version } = createRequire(import.meta.url)("@grpc/grpc-js/package.json") as { version: string };

const noCredentials = makeCredentials.createEmpty();

const defaultMaxReceiveBytes = 4 * 1024 * 1024;
const keepAliveTimeoutMs = 20_000;
/** More often than this is a nuisance that servers punish (gRFC A8). */
const minKeepAliveMs = 10_000;

function settingsOf(options: ClientOptions): ChannelSettings {
  const {
    "grpc.keepalive_time_ms": timeMs = -1,
    "grpc.primary_user_agent": first,
    "grpc.secondary_user_agent": last,
  } = options;
  return {
    maxSendBytes: options["grpc.max_send_message_length"] ?? -1,
    maxReceiveBytes: options["grpc.max_receive_message_length"] ?? defaultMaxReceiveBytes,
    userAgent: [first, `grpc-node-js/${version}`, last].filter((part) => part !== undefined && part !== "").join(" "),
    authority: options["grpc.default_authority"],
    packer: packerOf(options["grpc.default_compression_algorithm"]),
    keepAlive:
      timeMs <= 0 || timeMs >= 0x7fff_ffff
        ? undefined
        : {
            timeMs: Math.max(timeMs, minKeepAliveMs),
            timeoutMs: options["grpc.keepalive_timeout_ms"] ?? keepAliveTimeoutMs,
            withoutCalls: options["grpc.keepalive_permit_without_calls"] === 1,
          },
  };
}

/**
 * Those that the application combined with its channel's (`combineChannelCredentials`): transport security is the mesh's business, but a
 * token that the application sends with each call stays the application's.
 */
function callCredentials(credentials: ChannelCredentials, options: ClientOptions): CallCredentials | undefined {
  if (!credentials._isSecure()) return undefined;
  const connector = credentials._createSecureConnector({ path: "unused" }, options);
  try {
    const found = connector.getCallCredentials();
    return found._equals(noCredentials) ? undefined : found;
  } finally {
    connector.destroy();
  }
}
