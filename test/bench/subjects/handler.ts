import type { IncomingMessage, ServerResponse } from "node:http";
import { answerBody } from "./workers.ts";

/** The application behind the servers of the benchmark. */
export function handler(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": answerBody.length });
  response.end(answerBody);
}
