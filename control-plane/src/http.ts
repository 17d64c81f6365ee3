import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import type { Registry } from "prom-client";

import { listen } from "./server.ts";
import type { ControlPlaneStatus } from "./status.ts";

export interface StatusServerOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  readonly status: () => ControlPlaneStatus;
  readonly metrics: Registry;
}

export interface StatusServer {
  readonly url: string;
  close(): Promise<void>;
}

interface Page {
  readonly code: number;
  readonly type: string;
  readonly body: string;
}

/**
 * What people and Prometheus look at: `/healthz`, `/ready`, `/status`, `/metrics`. It has no authentication and shows who
 * is connected and what is configured (never a key): it belongs on loopback, where it is by default.
 */
export async function statusServer(options: StatusServerOptions): Promise<StatusServer> {
  const server = createServer((request, response) => {
    answer(request, options).then(
      (page) => send(request, response, page),
      () => send(request, response, text(500, "the status could not be made\n")),
    );
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 100;
  const port = await listen(server, options.host, options.port, "status");
  const host = isIP(options.host) === 6 ? `[${options.host}]` : options.host;
  return {
    url: `http://${host}:${port}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(request: IncomingMessage, { status, metrics, host }: StatusServerOptions): Promise<Page> {
  if (request.method !== "GET" && request.method !== "HEAD") return text(405, "GET or HEAD\n");
  // A web page may reach loopback under a name of its own (DNS rebinding): only addresses and our own names pass.
  if (!isOwnName(request.headers.host, host)) return text(421, "not a name of this server\n");
  switch ((request.url ?? "/").split("?")[0]) {
    case "/healthz":
      return text(200, "ok\n");
    case "/ready":
      return status().ready
        ? text(200, "ready\n")
        : text(503, "not ready: no valid configuration yet, or shutting down\n");
    case "/status":
      return { code: 200, type: "application/json", body: `${JSON.stringify(status(), undefined, 2)}\n` };
    case "/metrics":
      return { code: 200, type: metrics.contentType, body: await metrics.metrics() };
    default:
      return text(404, "/healthz, /ready, /status, /metrics\n");
  }
}

function isOwnName(header: string | undefined, bound: string): boolean {
  const name = (header ?? "").replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return name === "localhost" || name === bound || isIP(name) !== 0;
}

const text = (code: number, body: string): Page => ({ code, type: "text/plain; charset=utf-8", body });

function send(request: IncomingMessage, response: ServerResponse, { code, type, body }: Page): void {
  response.writeHead(code, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
