import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { numberField, scriptField, stepOf } from "./cases.ts";

export interface ScriptedBackend {
  readonly port: number;
  /** By the number of the request: how often it came. */
  readonly attempts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** Answers each attempt at a request as the request itself says. */
export function startScripted(host: string): Promise<ScriptedBackend> {
  const attempts = new Map<string, number>();
  const server = createServer((request, response) => {
    const number = String(request.headers[numberField]);
    const before = attempts.get(number) ?? 0;
    attempts.set(number, before + 1);
    const step = stepOf(String(request.headers[scriptField]).split("|"), before);
    if (step === "hang") return;
    if (step === "reset") request.socket.destroy();
    else
      response.writeHead(step.status, { ...step.headers, ...(step.status !== 204 && { "content-length": 0 }) }).end();
  });
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, host, () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        attempts,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      }),
    );
  });
}
