import type { Clock, Logger } from "@trama/engine";
import type { Node } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { StreamStatus, StreamTransport } from "./transport.ts";

/**
 * One ADS stream, from its first request to its end. A new object for each stream: nonces and what was sent belong to it
 * alone, so that nothing of an ended stream reaches its successor (R2, R3). Delta is one form; state of the world is its
 * sibling.
 */
export interface Session {
  /** Tells the server what changed in {@link Subscriber.wanted} since the last time. Cheap when nothing did. */
  sync(): void;
  /** Ends the stream; no handler is called afterwards. Idempotent. */
  close(): void;
}

export type OpenSession = (options: SessionOptions) => Session;

export interface SessionOptions {
  readonly transport: StreamTransport;
  readonly node: Node;
  readonly clock: Clock;
  readonly log: Logger;
  readonly subscriber: Subscriber;
  /** R10. */
  readonly doesNotExistTimeoutMs: number;
  /** The connection stands. */
  readonly onOpened: () => void;
  /** The first response of this stream came: back-off may be reset, errors are over (R17). */
  readonly onAnswered: () => void;
  readonly onEnd: (status: StreamStatus) => void;
}

/** Who wants resources and takes them; outlives sessions. Its answers decide between ACK and NACK. */
export interface Subscriber {
  /** What is wanted now. Types in the order in which they are asked for; the very same set says that nothing has changed. */
  wanted(): ReadonlyMap<string, ReadonlySet<string>>;
  /** Name → version of the accepted resources of a type, for the first request of a stream (R22). */
  versions(typeUrl: string): Readonly<Record<string, string>>;
  /**
   * Told of each response before it is applied. A promise: there is work to do first that would hold the event loop; no other response is
   * read before it settles, and if the stream ends meanwhile this one is never applied.
   */
  prepare?(update: Update): Promise<void> | undefined;
  /** Takes one response. A promise: it is acknowledged, and the next one read, when that settles (R25). Never throws. */
  apply(update: Update): readonly Fault[] | Promise<readonly Fault[]>;
  /** These were asked for on a standing stream, and the server said nothing of them in time (R10). True if that changed anything: most such timers ring for what was answered long ago. */
  unanswered(typeUrl: string, names: readonly string[]): boolean;
}

/** What one response says, in one form for delta and state of the world. Names are unique. */
export interface Update {
  readonly typeUrl: string;
  readonly resources: readonly RawResource[];
  readonly removed: readonly string[];
  /** The versions are of the resources themselves, as in delta; else they are of the type at that moment. */
  readonly ownVersions: boolean;
}

export interface RawResource {
  readonly name: string;
  readonly version: string;
  /** `undefined`: a heartbeat, which only renews the time to live (R21). */
  readonly body: { readonly typeUrl: string; readonly value: Uint8Array } | undefined;
  readonly ttlMs: number | undefined;
}

/** Why a resource was refused: a line of the NACK. */
export interface Fault {
  readonly name: string;
  readonly message: string;
}

/** The gRPC status code of a NACK. */
export const invalidArgument = 3;

/** Keeps a NACK far below the size that servers accept in a request (I9), whatever the number of bad resources. */
const maxFaultText = 8_192;

/** The text of a NACK: one line for each bad resource. */
export function faultText(typeUrl: string, faults: readonly Fault[]): string {
  const type = typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
  let text = "";
  for (const [index, fault] of faults.entries()) {
    const line = `${type} ${JSON.stringify(fault.name)}: ${fault.message}`;
    if (index > 0 && text.length + line.length > maxFaultText) {
      return `${text}\nand ${faults.length - index} more`;
    }
    text += (index > 0 ? "\n" : "") + line.slice(0, maxFaultText);
  }
  return text;
}
