import { randomInt } from "node:crypto";
import net from "node:net";

/**
 * A free port that the system gives to nobody by itself: below the range of ephemeral ports (32768 and up on Linux, 49152
 * elsewhere). For a server that goes away and must find its port again; any other takes port 0.
 */
export async function lastingPort(): Promise<number> {
  for (let tries = 0; tries < 50; tries++) {
    const port = randomInt(20_000, 32_000);
    if (await isFree(port)) return port;
  }
  throw new Error("no free port between 20000 and 32000 in 50 tries");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
