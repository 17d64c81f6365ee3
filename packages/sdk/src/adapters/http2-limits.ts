import type { ServerHttp2Session, ServerOptions } from "node:http2";
import type { Clock } from "@trama/engine";

/** Time for a peer to say who it is: its settings come right behind the preface (RFC 9113 §3.4). */
const settingsTimeoutMs = 10_000;
/** Silence after which a peer is asked whether it is still there, and how long it may think about that. */
const pingAfterMs = 60_000;
const pingTimeoutMs = 10_000;

/** dataplane.md §8: what a peer may ask of one connection. Past the flood limits Node closes it. */
export const http2Limits: ServerOptions & { readonly streamResetBurst: number; readonly streamResetRate: number } = {
  settings: {
    enablePush: false,
    maxConcurrentStreams: 1_024,
    // Streams × window is what a peer can make us hold when no handler reads.
    initialWindowSize: 256 * 1024,
    maxHeaderListSize: 61_440,
  },
  maxHeaderListPairs: 104,
  maxSettings: 32,
  maxOutstandingPings: 10,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  // Bytes of heads and of what waits to be written, in megabytes: with Node's ten, two dozen slow readers would refuse everyone else.
  maxSessionMemory: 128,
  streamResetBurst: 200,
  streamResetRate: 33,
};

/** Ends a connection whose peer never says its settings, or no longer answers. */
export function watchSession(session: ServerHttp2Session, clock: Clock): void {
  let timer = clock.after(settingsTimeoutMs, () => session.destroy());
  const later = (): void => {
    timer = clock.after(pingAfterMs, () => {
      if (session.destroyed) return;
      timer = clock.after(pingTimeoutMs, () => session.destroy());
      try {
        session.ping(() => {
          timer.cancel();
          if (!session.destroyed) later();
        });
      } catch {
        session.destroy();
      }
    });
  };
  session.once("remoteSettings", () => {
    timer.cancel();
    if (!session.destroyed) later();
  });
  session.on("close", () => timer.cancel());
}
