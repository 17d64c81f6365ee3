import type { RequestListener, Server, ServerOptions } from "node:http";

import type { Mesh } from "../mesh-types.ts";
import { createServer } from "./http.ts";

export { peerOf } from "./connection.ts";
export type { MeshRequest } from "./connection.ts";

/**
 * A server for an Express application, part of the mesh: `serve(mesh, app).listen(8080)` in place of `app.listen(8080)`. Handlers find
 * who is calling in `request.mesh.peer`. Takes any request listener, so Connect, Koa's `app.callback()` and their like will do as well.
 */
export function serve(mesh: Mesh, app: RequestListener, options: ServerOptions = {}): Server {
  return createServer(mesh, options, app);
}
