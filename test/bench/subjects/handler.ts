import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { answerBody } from "./workers.ts";

/** The application behind the servers of the benchmark. */
export function handler(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": answerBody.length });
  response.end(answerBody);
}

/** The same behind a server of `node:http2`, by the objects that Node makes in the likeness of `node:http`. */
export function http2Handler(_request: Http2ServerRequest, response: Http2ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": answerBody.length });
  response.end(answerBody);
}
