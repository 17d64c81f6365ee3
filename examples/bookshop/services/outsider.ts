import http from "node:http";

/**
 * A process that has no identity and does not know the mesh: it speaks plain HTTP straight to the ports given as
 * arguments. Every attempt must be refused: cut, or answered 403. One report a round over IPC.
 */
const targets = process.argv.slice(2).map(Number);
process.on("disconnect", () => process.exit(0));

function attempt(port: number): Promise<boolean> {
  return new Promise((refused) => {
    const request = http.get({ host: "127.0.0.1", port, path: "/books", agent: false, timeout: 15_000 }, (response) => {
      response.resume();
      refused(response.statusCode === 403);
    });
    request.on("timeout", () => request.destroy(new Error("neither answered nor cut")));
    // Only a cut by the server counts; a time-out, or a port where nobody listens, proves nothing.
    request.on("error", (error) => refused((error as NodeJS.ErrnoException).code === "ECONNRESET"));
  });
}

function round(): void {
  void Promise.all(targets.map(attempt)).then((results) => {
    process.send?.({ kind: "outsider", attempts: results.length, refused: results.filter(Boolean).length });
    setTimeout(round, 200);
  });
}

if (targets.length === 0 || !targets.every((port) => Number.isInteger(port) && port > 0))
  throw new Error("usage: outsider.ts <port> …");
round();
