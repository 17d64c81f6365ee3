import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface EchoBackend {
  readonly port: number;
  close(): Promise<void>;
}

/** What the backend saw of a request: the body of each of its answers, as JSON. */
export interface Seen {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  /** Flat, in order, without `host`. */
  readonly headers: readonly string[];
}

/** Answers 200 and says what it was asked, so that what a proxy changed can be compared. `saw`: is told, too, for whom nobody answers. */
export function startEcho(host: string, saw?: (seen: Seen) => void): Promise<EchoBackend> {
  const server = createServer((request, response) => {
    const headers: string[] = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      const name = request.rawHeaders[i]!.toLowerCase();
      if (name !== "host") headers.push(name, request.rawHeaders[i + 1]!);
    }
    const seen: Seen = {
      method: request.method ?? "",
      target: request.url ?? "",
      host: request.headers.host ?? "",
      headers,
    };
    saw?.(seen);
    const body = Buffer.from(JSON.stringify(seen), "latin1");
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
  });
  // Idle connections live as long as the proxy in front keeps them.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, host, () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      }),
    );
  });
}
