import type { IncomingMessage } from "node:http";

import type { PipeSocket } from "./pipe-socket.ts";

/** A request of Node's client: it notes its answer there as soon as the application has it. */
interface Message {
  readonly res?: IncomingMessage | null;
}

/**
 * Ends the connection of a request that cannot be completed. Before its answer that is the error of the request. Once the application has the
 * answer, Node's client tells of a lost connection by the answer alone, and so many an application listens to the request no longer: an error
 * there would end its process. The answer's error is Node's own, and has the mesh's as its `cause`.
 */
export function cutAnswer(client: PipeSocket, error: Error): void {
  const answer = (client as { _httpMessage?: Message | null })._httpMessage?.res;
  if (answer === undefined || answer === null) {
    client.destroy(error);
    return;
  }
  client.destroy();
  answer.destroy(Object.assign(new Error("aborted", { cause: error }), { code: "ECONNRESET" }));
}
