import type { RequestListener, Server, ServerOptions } from "node:http";
import type { Http2Server } from "node:http2";

import { http } from "../env/node-http.ts";
import type { Mesh } from "../mesh-types.ts";

export { agents } from "./http-agent.ts";
export type { MeshAgents } from "./http-agent.ts";
export { intercept } from "./intercept.ts";
export type { InterceptOptions } from "./intercept.ts";
export { peerOf } from "./connection.ts";
export type { MeshRequest } from "./connection.ts";

/** Makes an `http.Server`, or a server of `http2.createServer`, that does not listen yet part of the mesh, on its own port. The same as `mesh.protect(server)`. */
export function protect<S extends Server | Http2Server>(mesh: Mesh, server: S): S {
  return mesh.protect(server);
}

/**
 * `http.createServer` as part of the mesh, with the limits of a mesh server, which cannot be set on a server afterwards: request heads
 * of up to 60 KiB (Envoy's `max_request_headers_kb`; Node's own limit is 16 KiB), and idle connections that outlive every client's.
 */
export function createServer(mesh: Mesh, handler?: RequestListener): Server;
export function createServer(mesh: Mesh, options: ServerOptions, handler?: RequestListener): Server;
export function createServer(mesh: Mesh, first?: ServerOptions | RequestListener, second?: RequestListener): Server {
  const [options, handler] = typeof first === "function" ? [{}, first] : [first ?? {}, second];
  return mesh.protect(http.createServer({ ...meshLimits, ...options }, handler));
}

/** Time-outs are Node's own where not named: 60 s for the head, 300 s for the whole request. */
export const meshLimits: ServerOptions = {
  maxHeaderSize: 61_440,
  keepAliveTimeout: 65_000,
};
