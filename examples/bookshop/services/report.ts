import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Mesh } from "trama";

/**
 * Serves `/metrics` beside the mesh port, where Prometheus would scrape it, and tells whoever started this process (the
 * demo) both ports. A service of yours would need neither: it listens where it always did.
 */
export async function report(mesh: Mesh, port: number): Promise<void> {
  const metrics = http.createServer((request, response) => {
    if (request.url !== "/metrics") {
      response.writeHead(404).end();
      return;
    }
    mesh.metricsText().then(
      (text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => metrics.listen(0, "127.0.0.1", resolve));
  metrics.unref();
  process.send?.({ kind: "listening", port, metricsPort: (metrics.address() as AddressInfo).port });
}

/** The demo went away: nobody is left to talk to. */
process.on("disconnect", () => process.exit(0));
