import { Server } from "node:net";
import type { Clock } from "@trama/engine";

import type { MeshListener } from "./listener.ts";

/** Both in milliseconds from now. */
export interface StopTimes {
  /** What is left then is cut. */
  readonly deadlineMs: number;
  /** How long open connections are served on: a request may be under way that has not arrived yet, and closing it then would lose it. */
  readonly lingerMs: number;
}

/** Accepts nothing more, serves on for a while, closes what is idle, and waits for the answers under way. `late`: the deadline has come. */
export async function stopListening(
  server: Server,
  listener: MeshListener,
  clock: Clock,
  { deadlineMs, lingerMs }: StopTimes,
  late?: () => void,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  // Not the close of http.Server, which ends idle connections at once. It calls back with an error when the application has
  // closed the server itself; then it is closed.
  Server.prototype.close.call(server, () => resolve());
  const idle = clock.after(Math.min(lingerMs, deadlineMs), () => {
    listener.stop();
    for (const connection of listener.connections) connection.close();
  });
  const end = clock.after(deadlineMs, () => {
    for (const { socket } of listener.connections) socket.destroy();
    late?.();
  });
  await promise;
  idle.cancel();
  end.cancel();
  listener.stop();
}
