import type { Socket } from "node:net";

import type { Round } from "./rounds.ts";

/** A round of connections, one after the other. */
export async function oneRound(calls: number, call: () => Promise<string>): Promise<Round> {
  const say: Record<string, number> = {};
  const errors: Record<string, number> = {};
  for (let n = 0; n < calls; n++) {
    const [answers, what] = await call().then(
      (text) => [say, text] as const,
      (error: unknown) => [errors, String(error)] as const,
    );
    answers[what] = (answers[what] ?? 0) + 1;
  }
  return { say, errors, secret: "" };
}

/** Says a line, and resolves to the one that is answered; an end without it is an error. Envoy tells the end of a tunnel a second late. */
export function exchange(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (!text.endsWith("\n")) return;
      resolve(text.trimEnd());
      socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed without a word")));
    socket.setTimeout(5_000, () => socket.destroy(new Error("nothing came for 5 s")));
    socket.write("hello\n");
  });
}
